package piecesauthtest

import (
	"bytes"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/piecesauth/piecesauth"
)

// Request is a request that the server received. It holds secrets.
type Request struct {
	Op     Op // "" for anything that is not an operation, such as /favicon.ico
	Method string
	URL    *url.URL
	Header http.Header
	Form   url.Values // the fields of a POST's body, otherwise those of the query
	Body   []byte
	Status int // of the answer; 0 until there is one, or if there was none
}

// Requests returns the requests so far in order of arrival: those of the given
// operations, or all. Don't change anything that they point to.
func (s *Server) Requests(only ...Op) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Request{}
	for _, r := range s.requests {
		if len(only) == 0 || slices.Contains(only, r.Op) {
			list = append(list, *r)
		}
	}
	return list
}

// Count returns how many requests there were of the given operations, or of
// all. Unlike Requests it includes those that are no longer kept.
func (s *Server) Count(only ...Op) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for op, n := range s.counts {
		if len(only) == 0 || slices.Contains(only, op) {
			sum += n
		}
	}
	return sum
}

// serve answers one request: it records and checks it, and applies faults.
func (s *Server) serve(op Op, act http.HandlerFunc, w http.ResponseWriter, r *http.Request) {
	record, problem := receive(op, w, r)
	s.keep(record)
	fault := Fault{}
	if problem == "" {
		fault = s.fault(record)
	}
	if fault.Delay > 0 {
		s.wait(r, time.After(fault.Delay))
	}
	answer := &Response{Request: record, Header: http.Header{}}
	switch {
	case problem != "":
		refuse(writer{answer}, record.Op, problem)
	default:
		fault.respond(answer, act, r, s.settings())
	}
	if fault.Hang {
		s.wait(r, nil)
	}
	if fault.Drop {
		panic(http.ErrAbortHandler) // net/http's way to close the connection
	}
	s.mu.Lock()
	record.Status = answer.Status
	s.mu.Unlock()
	s.send(w, answer)
}

// send writes an answer, dated by the server's clock.
func (s *Server) send(w http.ResponseWriter, answer *Response) {
	maps.Copy(w.Header(), answer.Header)
	if w.Header().Values("Date") == nil {
		w.Header().Set("Date", s.settings().now().UTC().Format(http.TimeFormat))
	}
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body) // the client may be gone
}

// receive reads a request, and returns what is wrong with it.
func receive(op Op, w http.ResponseWriter, r *http.Request) (record *Request, problem string) {
	const most = 1 << 20
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	r.Body = io.NopCloser(bytes.NewReader(body))
	record = &Request{Op: op, Method: r.Method, URL: r.URL, Header: r.Header.Clone(), Body: body}
	problem = record.read(err)
	if op == Exchange && record.Form.Get("grant_type") == string(piecesauth.GrantTypeRefreshToken) {
		record.Op = Refresh
	}
	r.PostForm, r.Form = url.Values{}, record.Form
	if r.Method == http.MethodPost {
		r.PostForm = record.Form
	}
	return record, problem
}

// keep records a request.
func (s *Server) keep(record *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[record.Op]++
	s.requests = append(s.requests, record)
	if n := s.options.RequestsKept; n > 0 && len(s.requests) > n {
		s.requests = slices.Clone(s.requests[len(s.requests)-n:])
	}
}

// wait returns after c, and ends the connection when the client goes away or
// the server is closed.
func (s *Server) wait(r *http.Request, c <-chan time.Time) {
	select {
	case <-c:
		return
	case <-r.Context().Done():
	case <-s.done:
	}
	panic(http.ErrAbortHandler)
}

// read sets the form, and returns what is wrong with the raw request. A server
// may accept some of it; a client has no reason to send it.
func (r *Request) read(bodyErr error) (problem string) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	r.Form = query
	if r.Op == "" {
		return ""
	}
	if err != nil {
		return "the query cannot be parsed: " + err.Error()
	}
	fields := query
	if r.Method == http.MethodPost {
		if problem := r.readForm(bodyErr); problem != "" {
			return problem
		}
		fields = maps.Clone(query)
		maps.Copy(fields, r.Form)
	} else if len(r.Body) > 0 || bodyErr != nil {
		return "a " + r.Method + " has no body"
	}
	if problem := checkFields(fields); problem != "" {
		return problem
	}
	return r.checkHeader()
}

// readForm reads the form in the body of a POST.
func (r *Request) readForm(bodyErr error) (problem string) {
	form, err := url.ParseQuery(string(r.Body))
	r.Form = form
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case bodyErr != nil:
		return "the body cannot be read: " + bodyErr.Error()
	case mediaType != "application/x-www-form-urlencoded":
		return "the Content-Type has to be application/x-www-form-urlencoded"
	case err != nil:
		return "the body cannot be parsed: " + err.Error()
	case r.Op == Exchange && r.URL.RawQuery != "":
		return "parameters go into the body, not into the URL (RFC 6749 §4.1.3)"
	}
	return ""
}

func checkFields(fields url.Values) (problem string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		values := fields[name]
		switch {
		case len(values) > 1 && name != "resource": // RFC 8707 §2 lets that one be
			return "parameter " + name + " is repeated (RFC 6749 §3.1)"
		case slices.Contains(values, ""):
			return "parameter " + name + " is empty: leave it out"
		}
	}
	return ""
}

func (r *Request) checkHeader() (problem string) {
	switch {
	case r.Op != UserInfo && r.Header.Values("Authorization") != nil:
		return "a public client sends no Authorization header here"
	case r.Op != UserInfo:
		return ""
	case r.URL.RawQuery != "":
		return "the access token goes into the Authorization header, and there are no parameters (RFC 6750 §2.1)"
	case len(r.Header.Values("Authorization")) > 1:
		return "the Authorization header is repeated"
	case r.Header.Values("X-Application-ID") != nil:
		return "X-Application-ID goes to every operation but this"
	}
	return ""
}

// refuse answers a malformed request in the operation's own way.
func refuse(w http.ResponseWriter, op Op, problem string) {
	switch op {
	case Exchange, Refresh:
		oauthError(w, http.StatusBadRequest, "invalid_request", problem)
	case UserInfo:
		challenge(w, http.StatusBadRequest, "invalid_request", problem)
	case Authorize, Login, Logout:
		errorPage(w, problem)
	default:
		http.Error(w, problem, http.StatusBadRequest)
	}
}
