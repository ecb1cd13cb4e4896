package piecesauthtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Fault is what goes wrong with one request. Its zero value is nothing.
type Fault struct {
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

// Fail queues faults for the next well-formed requests of op, one for each.
// Fault{} lets one pass.
func (s *Server) Fail(op Op, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[op] = append(s.faults[op], faults...)
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

// BendCallback edits what the next sign-in gives to the redirect URI, by
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

func (f Fault) answer(r *Response) {
	r.Status, r.Body = f.Status, []byte(f.Body)
	for name, values := range f.Header {
		r.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	if r.Header.Get("Content-Type") == "" && len(f.Body) > 0 && (f.Body[0] == '{' || f.Body[0] == '[') {
		r.Header.Set("Content-Type", "application/json")
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
