package piecesauthtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Always is the Times of a [Fault] that lasts until [Server.Heal].
const Always = -1

// Fault is what goes wrong with a request. Its zero value is nothing.
type Fault struct {
	// Times is how many requests in a row it happens to; 0 is one.
	Times int

	// Delay is waited for first, by the real clock. It ends early when the
	// client gives up or the server is closed.
	Delay time.Duration

	// Status, where it is not 0, is answered with Header and Body *instead* of
	// acting: a code or refresh token in the request stays as good as it was.
	// Where Header has no Content-Type, a Body that begins like JSON is labelled
	// as such, and net/http guesses at others.
	Status int
	Header http.Header
	Body   string
	// AfterActing has the server act first, and then answer Status, Header and
	// Body all the same: a code in the request is spent, a refresh token rotated.
	AfterActing bool

	// RetryAfter is sent as Retry-After, in seconds; with RetryDate as a date, by
	// the server's clock.
	RetryAfter time.Duration
	RetryDate  bool

	// Bend edits the answer before it is sent. Without a Status the server has
	// acted by then.
	Bend func(*Response)

	// Hang sends no answer, for as long as the client waits. Without a Status
	// the server has acted by then.
	Hang bool
	// Drop closes the connection in place of the answer. Without a Status the
	// server has acted by then.
	Drop bool
}

// Fail queues faults for the next well-formed requests of op. Fault{} lets one
// pass.
func (s *Server) Fail(op Op, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[op] = append(s.faults[op], faults...)
}

// FailFunc has choose say what happens to each well-formed request of op that
// no queued fault is for: at random, by header, or with something done before
// the server acts. choose is called by several requests at once, and changes
// nothing in the request. Its Times are of no account. A nil choose ends it.
func (s *Server) FailFunc(op Op, choose func(*Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failFuncs[op] = choose
}

// Heal drops the queued faults of the given operations, or of all, and what
// FailFunc was told.
func (s *Server) Heal(only ...Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	concerned := func(op Op) bool { return len(only) == 0 || slices.Contains(only, op) }
	maps.DeleteFunc(s.faults, func(op Op, _ []Fault) bool { return concerned(op) })
	maps.DeleteFunc(s.failFuncs, func(op Op, _ func(*Request) Fault) bool { return concerned(op) })
}

// fault says what happens to a request.
func (s *Server) fault(record *Request) Fault {
	s.mu.Lock()
	queue, choose := s.faults[record.Op], s.failFuncs[record.Op]
	if len(queue) > 0 {
		defer s.mu.Unlock()
		fault := queue[0]
		switch {
		case fault.Times > 1:
			queue[0].Times--
		case fault.Times >= 0:
			s.faults[record.Op] = queue[1:]
		}
		return fault
	}
	s.mu.Unlock()
	if choose == nil {
		return Fault{}
	}
	return choose(record)
}

// BendJSON edits the JSON object that the next request of op is answered with:
// tokens, a profile, metadata or keys. Numbers are json.Number before they are
// changed. It is a [Fault] with Bend, and queues with those of Fail.
func (s *Server) BendJSON(op Op, edit func(object map[string]any)) {
	s.Fail(op, Fault{Bend: func(r *Response) {
		object := map[string]any{}
		decoder := json.NewDecoder(bytes.NewReader(r.Body))
		decoder.UseNumber()
		err := decoder.Decode(&object)
		if err == nil {
			edit(object)
			r.Body, err = json.Marshal(object)
		}
		if err != nil {
			r.Status, r.Body = http.StatusInternalServerError, fmt.Appendf(nil, "piecesauthtest: BendJSON: %v", err)
		}
	}})
}

// BendIDToken edits the next ID token before it is signed.
func (s *Server) BendIDToken(edit func(*IDToken)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bendIDToken = append(s.bendIDToken, edit)
}

// BendCallback edits what the redirect URI gets of the next sign-in, by
// whichever response mode: code, state and iss, or an error.
func (s *Server) BendCallback(edit func(url.Values)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bendCallback = append(s.bendCallback, edit)
}

// Response is an answer that has not been sent yet.
type Response struct {
	Request *Request // what is answered
	Status  int
	Header  http.Header // a Content-Length set here is sent, true or not
	Body    []byte
}

// respond fills in the answer, by act unless f has one of its own.
func (f Fault) respond(answer *Response, act http.HandlerFunc, r *http.Request, o *Options) {
	if f.Status == 0 || f.AfterActing {
		act(writer{answer}, r)
	}
	if f.Status != 0 {
		f.replace(answer)
	}
	if answer.Status == 0 {
		answer.Status = http.StatusOK
	}
	switch {
	case f.RetryAfter != 0 && f.RetryDate:
		answer.Header.Set("Retry-After", o.now().Add(f.RetryAfter).UTC().Format(http.TimeFormat))
	case f.RetryAfter != 0:
		answer.Header.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	if f.Bend != nil {
		f.Bend(answer)
	}
}

// replace puts the fault's own answer in the place of any other.
func (f Fault) replace(answer *Response) {
	answer.Status, answer.Header, answer.Body = f.Status, http.Header{}, []byte(f.Body)
	for name, values := range f.Header {
		answer.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	if answer.Header.Get("Content-Type") == "" && len(f.Body) > 0 && (f.Body[0] == '{' || f.Body[0] == '[') {
		answer.Header.Set("Content-Type", "application/json")
	}
}

// writer collects an answer.
type writer struct{ r *Response }

func (w writer) Header() http.Header { return w.r.Header }

func (w writer) WriteHeader(status int) {
	if w.r.Status == 0 {
		w.r.Status = status
	}
}

func (w writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.r.Body = append(w.r.Body, p...)
	return len(p), nil
}
