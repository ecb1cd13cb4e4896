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
	"sync/atomic"
	"syscall"
	"time"
)

const (
	defaultRedirectURL = "http://127.0.0.1:0/callback"

	maxBody       = 64 << 10 // of a form_post callback
	maxHeader     = 16 << 10 // cookies of everything on localhost included
	maxParameters = 64       // callbacks of real servers have up to ten

	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second // headers and body
	pageTimeout    = 5 * time.Second
)

// A Receiver waits for the redirect of one sign-in. Its port is bound from
// [Listen] on, so that a browser can be sent there; requests are answered
// while Wait runs.
type Receiver struct {
	// Page is as in [Options]. Set it before Wait.
	Page func(w http.ResponseWriter, err error)

	redirectURL string
	path        string
	listeners   []net.Listener
}

// Listen binds the port of redirectURL on the loopback interface, never on any
// other (RFC 8252 §7.3, §8.3). The host localhost means both 127.0.0.1 and
// ::1, where the machine has them; an IP address means itself. Port 0 takes a
// free port, no port means 80. An empty redirectURL is
// http://127.0.0.1:0/callback.
//
// A redirectURL that isn't http on a loopback host is an error; so is a port
// in use: the text says where, and errors.Is finds syscall.EADDRINUSE.
func Listen(ctx context.Context, redirectURL string) (*Receiver, error) {
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	if redirectURL == "" {
		redirectURL = defaultRedirectURL
	}
	u, err := url.Parse(redirectURL)
	switch {
	case err != nil:
		return nil, errors.New("loopback: RedirectURL is not a valid URL")
	case u.Scheme != "http":
		return nil, errors.New("loopback: RedirectURL must begin with http://, which is what can be received on this machine")
	case !isLoopback(u.Host):
		return nil, fmt.Errorf("loopback: RedirectURL: host %q is not this machine: use localhost, 127.0.0.1 or [::1]", u.Hostname())
	case u.User != nil || strings.Contains(redirectURL, "#"):
		return nil, errors.New("loopback: RedirectURL must have neither user nor fragment") // RFC 6749 §3.1.2
	}
	listeners, err := listen(ctx, u.Hostname(), u.Port())
	if err != nil {
		return nil, err
	}
	if port := u.Port(); port != "" && strings.Trim(port, "0") == "" {
		_, port, _ = net.SplitHostPort(listeners[0].Addr().String())
		u.Host = strings.TrimRight(u.Host, "0") + port
		redirectURL = u.String()
	}
	if u.Path == "" {
		u.Path = "/" // what a browser asks for
	}
	return &Receiver{redirectURL: redirectURL, path: u.Path, listeners: listeners}, nil
}

// RedirectURL is what Listen was given, with the port that was found for port 0.
func (r *Receiver) RedirectURL() string { return r.redirectURL }

// Wait answers requests until one brings the state, in the query of a GET or
// in the form of a POST. It hands the parameters of that request to complete,
// keeps the browser waiting meanwhile, shows the person the page for the error
// that complete returned, and returns that error. complete usually calls
// piecesauth.Authenticator.Complete, which tells a code from an error:
//
//	err := receiver.Wait(ctx, attempt.State, func(callback url.Values) (err error) {
//		token, err = auth.Complete(ctx, attempt, callback)
//		return err
//	})
//
// Every other request gets a 4xx and changes nothing. When ctx ends first, so
// does the wait. The receiver is closed when Wait returns; no goroutine of it
// is left.
func (r *Receiver) Wait(ctx context.Context, state string, complete func(callback url.Values) error) error {
	s, err := r.serve(state)
	if err != nil {
		return err
	}
	defer s.stop()
	select {
	case cb := <-s.callbacks:
		err := complete(cb.values)
		cb.finish(err)
		return err
	case err := <-s.failed:
		return err
	case <-ctx.Done():
		return ended(ctx)
	}
}

// Close stops listening, and ends a Wait that is under way. It may be called
// again, and after Wait.
func (r *Receiver) Close() {
	for _, l := range r.listeners {
		_ = l.Close()
	}
}

// isLoopback takes the host of a URL or a Host header.
func isLoopback(host string) bool {
	host = (&url.URL{Host: host}).Hostname()
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func listen(ctx context.Context, host, port string) ([]net.Listener, error) {
	addrs := []string{host}
	if strings.EqualFold(host, "localhost") {
		addrs = []string{"127.0.0.1", "::1"} // whatever the resolver says
	}
	if port == "" {
		port = "80"
	}
	for tries := 10; ; tries-- {
		listeners, err := listenAll(ctx, addrs, port)
		switch {
		case err == nil:
			return listeners, nil
		case !inUse(err):
			return nil, fmt.Errorf("loopback: RedirectURL: %w", err)
		case strings.Trim(port, "0") == "" && tries > 1:
			continue // the port that is free on 127.0.0.1 is taken on ::1
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: %w", err, syscall.EADDRINUSE) // Windows has a number of its own
		}
		return nil, fmt.Errorf("loopback: RedirectURL: the port is in use: %w", err)
	}
}

// listenAll binds the same port on every address that this machine has.
func listenAll(ctx context.Context, addrs []string, port string) ([]net.Listener, error) {
	var (
		config    net.ListenConfig
		listeners []net.Listener
		missing   error
	)
	for _, addr := range addrs {
		l, err := config.Listen(ctx, "tcp", net.JoinHostPort(addr, port))
		if err == nil {
			listeners = append(listeners, l)
			_, port, _ = net.SplitHostPort(l.Addr().String())
			continue
		}
		if missing = err; inUse(err) {
			// Half of localhost would leave the other half to somebody else.
			for _, l := range listeners {
				_ = l.Close()
			}
			return nil, err
		}
	}
	if len(listeners) == 0 {
		return nil, missing
	}
	return listeners, nil
}

func inUse(err error) bool {
	const wsaeaddrinuse = syscall.Errno(10048) // Windows; no other system counts so far
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaeaddrinuse)
}

// session is one Wait: a server and what it has received.
type session struct {
	state     string
	path      string
	page      func(http.ResponseWriter, error)
	server    *http.Server
	claimed   atomic.Bool   // a callback was accepted; there is no second
	callbacks chan callback // that one
	failed    chan error    // no more connections can be accepted
	done      chan struct{} // nobody waits any more
	serving   sync.WaitGroup
	conns     sync.WaitGroup
}

// callback is a request with the right state, whose sender waits for a page.
type callback struct {
	values  url.Values
	outcome chan<- error
	closed  <-chan struct{}
}

// finish has the page written, and returns when it is on its way and the
// connection closed.
func (c callback) finish(err error) {
	c.outcome <- err
	<-c.closed
}

func (r *Receiver) serve(state string) (*session, error) {
	if state == "" {
		return nil, errors.New("loopback: Wait needs the state of the attempt") // a missing one would equal it
	}
	s := &session{
		state:     state,
		path:      r.path,
		page:      r.Page,
		callbacks: make(chan callback, 1),
		failed:    make(chan error, len(r.listeners)),
		done:      make(chan struct{}),
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
	g := newGate()
	for _, l := range r.listeners {
		s.serving.Go(func() {
			err := s.server.Serve(gatedListener{l, g})
			s.failed <- fmt.Errorf("loopback: %w", err)
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
	setHeaders(w.Header())
	// A web page whose name was rebound to 127.0.0.1 still sends that name.
	if !isLoopback(r.Host) {
		refuse(w, http.StatusMisdirectedRequest)
		return
	}
	if r.URL.Path != s.path {
		refuse(w, http.StatusNotFound)
		return
	}
	values, status := parameters(w, r)
	if status != 0 {
		refuse(w, status)
		return
	}
	if !answers(values, s.state) {
		refuse(w, http.StatusBadRequest)
		return
	}
	if !s.claimed.CompareAndSwap(false, true) {
		refuse(w, http.StatusConflict)
		return
	}
	conn := r.Context().Value(connKey{}).(*gatedConn) // ours: see Accept
	conn.claimed.Store(true)
	outcome := make(chan error, 1)
	s.callbacks <- callback{values, outcome, conn.closed}
	select {
	case err := <-outcome:
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(pageTimeout))
		if s.page != nil {
			s.page(w, err)
		} else {
			writePage(w, err)
		}
	case <-s.done:
	}
}

// refuse answers a request that is not the redirect.
func refuse(w http.ResponseWriter, status int) {
	http.Error(w, "This is not the answer that the sign-in waits for.", status)
}

// parameters reads a POST from its body alone and a GET from its query alone.
// A status that isn't 0 refuses the request.
func parameters(w http.ResponseWriter, r *http.Request) (url.Values, int) {
	raw := r.URL.RawQuery
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || mediaType != "application/x-www-form-urlencoded" {
			return nil, http.StatusUnsupportedMediaType
		}
		if r.ContentLength > maxBody {
			return nil, http.StatusRequestEntityTooLarge
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return nil, http.StatusRequestEntityTooLarge
		}
		if err != nil {
			return nil, http.StatusBadRequest
		}
		raw = string(body)
	default:
		w.Header().Set("Allow", "GET, POST")
		return nil, http.StatusMethodNotAllowed
	}
	if strings.Count(raw, "&") >= maxParameters {
		return nil, http.StatusBadRequest
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, http.StatusBadRequest
	}
	return values, 0
}

// answers reports whether a callback belongs to the attempt: it has the state,
// and nothing twice (RFC 6749 §3.1).
func answers(values url.Values, state string) bool {
	for _, v := range values {
		if len(v) != 1 {
			return false
		}
	}
	return subtle.ConstantTimeCompare([]byte(values.Get("state")), []byte(state)) == 1
}
