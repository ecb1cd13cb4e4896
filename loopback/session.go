package loopback

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/callback"
	"github.com/piecesauth/piecesauth/internal/page"
)

const (
	maxBody   = 64 << 10 // of a form_post callback
	maxHeader = 40 << 10 // cookies of everything on localhost included; few connections bound the memory

	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second // headers and body
	pageTimeout    = 5 * time.Second
)

// session is one Wait: a server and what it has received.
type session struct {
	state     string
	path      string
	page      func(http.ResponseWriter, error)
	server    *http.Server
	gate      *gate
	callbacks chan received // the first one that a browser brought
	failed    chan error    // no more connections can be accepted
	done      chan struct{} // nobody waits any more
	decided   chan struct{} // outcome is set
	outcome   error
	serving   sync.WaitGroup
	conns     sync.WaitGroup

	mu      sync.Mutex
	first   url.Values   // the callback that counts, nil until there is one
	waiting []*gatedConn // of browsers that brought it and wait for the page
}

// received is a callback with the right state. If err is set, it can't be used.
type received struct {
	values url.Values
	err    error
}

// claim makes values the callback that counts, unless there is one already. It
// reports whether it did, and whether values equal that callback. conn, if not
// nil, then waits for the page.
func (s *session) claim(values url.Values, conn *gatedConn) (first, same bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first = s.first == nil; first {
		s.first = values
	}
	if same = callback.Equal(s.first, values); same && conn != nil {
		conn.claimed.Store(true)
		s.waiting = append(s.waiting, conn)
	}
	return first, same
}

// claimed reports whether there is a callback.
func (s *session) claimed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first != nil
}

// finish has the page written to all connections that wait for it, and returns
// when it has been sent and they are closed.
func (s *session) finish(err error) {
	s.outcome = err
	close(s.decided)
	for {
		s.mu.Lock()
		conns := s.waiting
		s.waiting = nil
		s.mu.Unlock()
		if len(conns) == 0 {
			return
		}
		for _, c := range conns {
			<-c.closed
		}
	}
}

func (r *Receiver) serve(state string) (*session, error) {
	if state == "" {
		return nil, errors.New("loopback: Wait needs the state of the attempt") // a missing one would equal it
	}
	s := &session{
		state:     state,
		path:      r.path,
		page:      r.Page,
		callbacks: make(chan received, 1),
		failed:    make(chan error, len(r.listeners)),
		done:      make(chan struct{}),
		decided:   make(chan struct{}),
		gate:      newGate(),
	}
	s.server = &http.Server{
		Handler:                      s,
		DisableGeneralOptionsHandler: true, // it would answer 200 to OPTIONS *
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  requestTimeout,
		MaxHeaderBytes:               maxHeader,
		ErrorLog:                     log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.conns.Add(1)
			case http.StateHijacked, http.StateClosed:
				s.conns.Done()
			}
		},
	}
	s.server.SetKeepAlivesEnabled(false) // the page is the last thing a connection sees
	for _, l := range r.listeners {
		s.serving.Go(func() {
			err := s.server.Serve(gatedListener{l, s.gate})
			s.failed <- fmt.Errorf("loopback: the receiver is closed: %w", err)
		})
	}
	return s, nil
}

// stop closes everything and returns when it has ended.
func (s *session) stop() {
	close(s.done)
	_ = s.server.Close()
	s.serving.Wait()
	_ = s.server.Close() // a connection that was accepted during the first
	s.conns.Wait()
}

func (s *session) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page.SetHeaders(w.Header())
	values, unreadable, status := s.parameters(w, r)
	if status != 0 {
		refuse(w, status, "It is not what a browser sends when a sign-in ends.")
		return
	}
	if !carries(values["state"], s.state) {
		refuse(w, http.StatusBadRequest, "Its address has "+stateProblem(values["state"], s.state)+".")
		return
	}
	conn := r.Context().Value(connKey{}).(*gatedConn) // ours: see Accept
	first, same := s.claim(values, conn)
	if !same {
		refuse(w, http.StatusConflict, "The sign-in has another answer already.")
		return
	}
	err := unusable(values, unreadable)
	if first {
		s.callbacks <- received{values, err}
	}
	select {
	case <-s.decided:
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(pageTimeout))
		if s.page != nil {
			s.page(w, s.outcome)
			return
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		writePage(w, s.outcome)
	case <-s.done:
	}
}

// parameters returns the parameters of a request that may be the redirect: of a
// POST from its body only, of a GET from its query only. A status other than 0
// refuses the request.
func (s *session) parameters(w http.ResponseWriter, r *http.Request) (values url.Values, unreadable string, status int) {
	switch {
	case !isLoopback(r.Host):
		// A web page whose name was rebound to 127.0.0.1 still sends that name.
		return nil, "", http.StatusMisdirectedRequest
	case r.URL.Path != s.path:
		return nil, "", http.StatusNotFound
	case speculative(r.Header):
		return nil, "", http.StatusForbidden
	}
	raw := r.URL.RawQuery
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		if raw, status = readForm(w, r); status != 0 {
			return nil, "", status
		}
	default: // HEAD, too: whatever checks links must not use up the code
		w.Header().Set("Allow", "GET, POST")
		return nil, "", http.StatusMethodNotAllowed
	}
	values, unreadable = callback.Parse(raw)
	return values, unreadable, 0
}

// readForm reads the body of a POST.
func readForm(w http.ResponseWriter, r *http.Request) (raw string, status int) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return "", http.StatusUnsupportedMediaType
	}
	if r.ContentLength > maxBody {
		return "", http.StatusRequestEntityTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return "", http.StatusRequestEntityTooLarge
	}
	if err != nil {
		return "", http.StatusBadRequest
	}
	return string(body), 0
}

// speculative reports whether a browser fetches the page before anybody wants
// to see it; it will ask again then.
func speculative(h http.Header) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		purpose := strings.ToLower(h.Get(name))
		if strings.Contains(purpose, "prefetch") || strings.Contains(purpose, "prerender") || strings.Contains(purpose, "preview") {
			return true
		}
	}
	return false
}

// carries reports whether the state of the attempt is among those of a request.
func carries(got []string, want string) bool {
	found := false
	for _, state := range got {
		found = subtle.ConstantTimeCompare([]byte(state), []byte(want)) == 1 || found
	}
	return found
}

// stateProblem returns what is wrong with the state of a callback, or "".
func stateProblem(got []string, want string) string {
	switch {
	case len(got) == 0:
		return "no state"
	case len(got) > 1:
		return "the state more than once"
	case !carries(got, want):
		return "the state of another sign-in"
	}
	return ""
}

// unusable returns why a callback with the right state can't be used. Only the
// server that the browser was sent to can have sent it.
func unusable(values url.Values, unreadable string) error {
	repeated := callback.Repeated(values)
	switch {
	case unreadable != "":
		return &piecesauth.Error{Op: "callback", Err: fmt.Errorf("%s in the redirect can't be read: sign in again", unreadable)}
	case repeated == "state":
		return &piecesauth.Error{Op: "callback", Err: &caused{"the redirect has state more than once (RFC 6749 §3.1): sign in again", piecesauth.ErrStateMismatch}}
	case repeated != "":
		return &piecesauth.Error{Op: "callback", Err: fmt.Errorf("the redirect has %s more than once (RFC 6749 §3.1): sign in again", repeated)}
	}
	return nil
}
