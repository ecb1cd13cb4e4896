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

// Fault describes what goes wrong with a request. The zero value is no fault.
type Fault struct {
	// Times is for how many requests in a row the fault happens; 0 means one.
	Times int

	// Delay is how long to wait first, by the real clock. The wait ends early
	// if the client gives up or the server is closed; the server then does not
	// act on the request.
	Delay time.Duration

	// Status, if it is not 0, is answered with Header and Body instead of
	// acting on the request: a code or refresh token in it stays valid. If
	// Header has no Content-Type, a Body that looks like JSON is labelled as
	// such, and net/http guesses other types.
	Status int
	Header http.Header
	Body   string
	// AfterActing makes the server act on the request first, and then answer
	// with Status, Header and Body: a code in the request is spent, a refresh
	// token is rotated.
	AfterActing bool

	// RetryAfter is sent as Retry-After, in seconds or, with RetryDate, as a
	// date by the server's clock.
	RetryAfter time.Duration
	RetryDate  bool

	// Bend edits the answer before it is sent. Without a Status the server has
	// acted by then.
	Bend func(*Response)

	// Hang sends no answer, for as long as the client waits. Without a Status
	// the server has acted by then.
	Hang bool
	// Drop closes the connection instead of answering. Without a Status the
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

// FailFunc makes choose decide about each well-formed request of op for which
// no fault is queued: for example at random, by a header, or after doing
// something before the server acts. choose may be called by several requests at
// once, and must not change the request. Its Times are ignored. A nil choose
// removes it.
func (s *Server) FailFunc(op Op, choose func(*Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failFuncs[op] = choose
}

// Heal removes the queued faults and the FailFunc of the given operations, or
// of all.
func (s *Server) Heal(only ...Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	concerned := func(op Op) bool { return len(only) == 0 || slices.Contains(only, op) }
	maps.DeleteFunc(s.faults, func(op Op, _ []Fault) bool { return concerned(op) })
	maps.DeleteFunc(s.failFuncs, func(op Op, _ func(*Request) Fault) bool { return concerned(op) })
}

// fault returns what happens to a request.
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
// changed. It is a [Fault] with Bend, and is queued with those of Fail.
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

// BendCallback edits the values that the redirect URI receives from the next
// sign-in, in any response mode: code, state and iss, or an error.
func (s *Server) BendCallback(edit func(url.Values)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bendCallback = append(s.bendCallback, edit)
}

// Response is an answer that has not been sent yet.
type Response struct {
	Request *Request // what is answered
	Status  int
	Header  http.Header // a Content-Length set here is sent, whether it is true or not
	Body    []byte
}

// respond fills in the answer, by calling act unless f has one of its own.
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

// replace replaces any answer with that of the fault.
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
