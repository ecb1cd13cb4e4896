// Package piecesauthtest is a Pieces authorization server in memory, for the
// tests of whatever uses package piecesauth, in the spirit of net/http/httptest.
//
// [NewServer] starts one on a loopback port, and its zero [Options] work:
//
//	server := piecesauthtest.NewServer(piecesauthtest.Options{})
//	defer server.Close()
//	auth, err := piecesauth.New(server.Config())
//
// Its routes are generated from the document that the client is generated
// from, so the two cannot drift apart. It is as strict as a server may be: it
// checks the raw request first, and says what is wrong with it.
//
// # Signing in
//
// GET /authorize leads to a sign-in page, as it does at real servers. A real
// browser can use it; [Server.Browser] is a person at a browser for tests:
//
//	callback, err := server.Browser().SignIn(ctx, attempt.URL)
//
// # What was asked
//
// [Server.Requests] lists what the server was sent: headers, forms and bodies,
// secrets included. That is for assertions, not for logs.
//
// # Misbehaving
//
// [Server.Fail] says what happens to the next requests of an operation,
// [Server.BendJSON] edits an answer, [Server.BendIDToken] an ID token before
// it is signed, [Server.BendCallback] what the redirect URI gets, and
// [Server.RotateKey] changes the signing key. Each bend is good for one answer;
// several are used in turn.
//
// # Stores
//
// [TestStore] is the suite that any piecesauth.TokenStore has to pass.
package piecesauthtest

import (
	"bytes"
	"errors"
	"io"
	"log"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest/internal/routes"
)

// Options says how a [Server] differs from the usual one.
type Options struct {
	// ClientID is the one application that the server knows; default
	// "piecesauthtest".
	ClientID string
	// RedirectURLs may be redirected to besides URLs on 127.0.0.1, [::1] and
	// localhost, which are good with any port and path (RFC 8252 §7.3). They
	// are compared as strings. The first serves where a request names none.
	RedirectURLs []string
	// ReturnToURLs are what logout may lead to. They are compared as strings,
	// but for the port of those on loopback that have none, which is any.
	ReturnToURLs []string
	// User holds the claims of the person who signs in; default: Ada Lovelace.
	// Where it lacks sub, the default's is added.
	User map[string]any
	// TokenLifetime is how long an access token is good for, in whole seconds;
	// default 24 h.
	TokenLifetime time.Duration
	// CodeLifetime is how long a code is good for; default one minute.
	CodeLifetime time.Duration
	// RefreshLeeway is how long after its first use a refresh token still gives
	// tokens. After it, or at once by default, using it again revokes all that
	// came of its sign-in (RFC 9700 §4.14.2).
	RefreshLeeway time.Duration
	// NoRotation keeps the refresh token of a sign-in good: a refresh then
	// answers without a new one.
	NoRotation bool
	// FormPostErrorStatus is the status of a form_post page that holds an error;
	// default 200. Some servers send 400.
	FormPostErrorStatus int
	// TLS serves https, with a certificate that [Server.Client] trusts.
	TLS bool
	// Now is the clock that lifetimes go by; default [time.Now].
	Now func() time.Time
}

// Op names an operation of the server, as piecesauth.Error.Op does.
type Op string

// The operations.
const (
	Authorize Op = "authorize" // GET /authorize
	Login     Op = "login"     // the sign-in page, GET and POST /login
	Exchange  Op = "exchange"  // POST /oauth/token, but for a refresh
	Refresh   Op = "refresh"   // POST /oauth/token with grant_type=refresh_token
	UserInfo  Op = "userinfo"  // GET /userinfo
	Logout    Op = "logout"    // GET /v2/logout
	Discovery Op = "discovery" // GET /.well-known/openid-configuration
	JWKS      Op = "jwks"      // GET /.well-known/jwks.json
)

// ops gives the operations of the generated routes, and of the sign-in page.
var ops = map[string]Op{
	"GET /authorize":                        Authorize,
	"GET /login":                            Login,
	"POST /login":                           Login,
	"POST /oauth/token":                     Exchange,
	"GET /userinfo":                         UserInfo,
	"GET /v2/logout":                        Logout,
	"GET /.well-known/openid-configuration": Discovery,
	"GET /.well-known/jwks.json":            JWKS,
}

// Server is a Pieces authorization server. Its methods are safe for concurrent
// use.
type Server struct {
	URL      string // base URL, without a slash at the end
	Issuer   string // URL with a slash at the end, as Auth0 has it
	ClientID string

	options Options
	http    *httptest.Server
	done    chan struct{} // closed by Close
	closing sync.Once

	mu            sync.Mutex
	requests      []*Request
	faults        map[Op][]Fault
	bendIDToken   []func(*IDToken)
	bendCallback  []func(url.Values)
	keys          []*key // the newest, which signs, first
	sessions      map[string]*session
	codes         map[string]*code
	accessTokens  map[string]*accessToken
	refreshTokens map[string]*refreshToken
	revocations   int
}

// NewServer starts a server on a free port of 127.0.0.1. The caller calls Close.
func NewServer(options Options) *Server {
	if options.ClientID == "" {
		options.ClientID = "piecesauthtest"
	}
	user := defaultUser()
	if options.User != nil {
		sub := user["sub"]
		user = maps.Clone(options.User)
		if user["sub"] == nil {
			user["sub"] = sub
		}
	}
	options.User = user
	if options.TokenLifetime == 0 {
		options.TokenLifetime = 24 * time.Hour
	}
	if options.CodeLifetime == 0 {
		options.CodeLifetime = time.Minute
	}
	if options.FormPostErrorStatus == 0 {
		options.FormPostErrorStatus = http.StatusOK
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	s := &Server{
		ClientID:      options.ClientID,
		options:       options,
		done:          make(chan struct{}),
		faults:        map[Op][]Fault{},
		keys:          []*key{firstKey()},
		sessions:      map[string]*session{},
		codes:         map[string]*code{},
		accessTokens:  map[string]*accessToken{},
		refreshTokens: map[string]*refreshToken{},
	}
	s.http = httptest.NewUnstartedServer(s.handler())
	// What a client under test does to a connection is no news.
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	if options.TLS {
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
	s.URL = s.http.URL
	s.Issuer = s.URL + "/"
	return s
}

// Close ends what hangs, and shuts the server down; nothing of it is left.
func (s *Server) Close() {
	s.closing.Do(func() { close(s.done) })
	s.http.Close()
}

// Client gives an HTTP client that trusts the server's certificate. Close
// closes its idle connections.
func (s *Server) Client() *http.Client { return s.http.Client() }

// Config is a configuration for [piecesauth.New] that signs in here, with full
// verification of ID tokens. Its redirect URL, which nobody listens on, serves
// for [Browser.SignIn].
func (s *Server) Config() piecesauth.Config {
	config := piecesauth.Config{
		BaseURL:     s.URL,
		ClientID:    s.ClientID,
		RedirectURL: "http://127.0.0.1/callback",
		Audience:    "https://pieces.us.auth0.com/api/v2/",
		Issuer:      s.Issuer,
	}
	if s.options.TLS {
		config.HTTPClient = s.Client()
	}
	return config
}

// Request is a request that the server got. It holds secrets.
type Request struct {
	Op     Op // "" for what is no operation, such as /favicon.ico
	Method string
	URL    *url.URL
	Header http.Header
	Form   url.Values // the fields of a POST's body; else those of the query
	Body   []byte
	Status int // of the answer; 0 until there is one, or where there was none
}

// Requests lists the requests so far in order of arrival: those of the given
// operations, or all. Change nothing that they point to.
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

// Count says how many requests there were of the given operations, or of all.
func (s *Server) Count(only ...Op) int { return len(s.Requests(only...)) }

// handler puts the generated routes, and the sign-in page's, behind what
// records, checks and spoils.
func (s *Server) handler() http.Handler {
	router := &router{server: s, mux: http.NewServeMux()}
	h := &handler{Server: s}
	routes.HandlerWithOptions(h, routes.StdHTTPServerOptions{BaseRouter: router, ErrorHandlerFunc: h.unbound})
	// The sign-in page carries the request to /authorize in its own query, and
	// has it bound and checked by the same generated code.
	router.HandleFunc("GET /login", router.authorize)
	router.HandleFunc("POST /login", router.authorize)
	return router
}

// router is the ServeMux of the generated code.
type router struct {
	server    *Server
	mux       *http.ServeMux
	authorize http.HandlerFunc
}

func (m *router) HandleFunc(pattern string, act func(http.ResponseWriter, *http.Request)) {
	op, known := ops[pattern]
	if !known {
		// An operation that the document gained. Its requests are recorded, and
		// can be answered by Fail.
		op = Op(pattern)
		act = func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "piecesauthtest doesn't know "+pattern, http.StatusNotImplemented)
		}
	}
	if op == Authorize {
		m.authorize = act
	}
	m.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { m.server.serve(op, act, w, r) })
}

func (m *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, pattern := m.mux.Handler(r); pattern == "" {
		// The mux answers 404 or 405 itself.
		m.server.serve("", m.mux.ServeHTTP, w, r)
		return
	}
	m.mux.ServeHTTP(w, r)
}

// serve answers one request: recorded, checked, and spoiled if so told.
func (s *Server) serve(op Op, act http.HandlerFunc, w http.ResponseWriter, r *http.Request) {
	const most = 1 << 20
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	r.Body = io.NopCloser(bytes.NewReader(body))
	record := &Request{Method: r.Method, URL: r.URL, Header: r.Header.Clone(), Body: body}
	problem := record.read(op, err)
	if op == Exchange && record.Form.Get("grant_type") == string(piecesauth.GrantTypeRefreshToken) {
		op = Refresh
	}
	record.Op = op
	r.PostForm, r.Form = url.Values{}, record.Form
	if r.Method == http.MethodPost {
		r.PostForm = record.Form
	}

	var fault Fault
	s.mu.Lock()
	s.requests = append(s.requests, record)
	if queue := s.faults[op]; problem == "" && len(queue) > 0 {
		fault, s.faults[op] = queue[0], queue[1:]
	}
	s.mu.Unlock()

	answer := &Response{Request: record, Header: http.Header{}}
	if fault.Delay > 0 {
		s.wait(r, time.After(fault.Delay))
	}
	switch {
	case problem != "":
		refuse(writer{answer}, op, problem)
	case fault.Status != 0:
		fault.answer(answer)
	default:
		act(writer{answer}, r)
	}
	if answer.Status == 0 {
		answer.Status = http.StatusOK
	}
	if fault.Bend != nil {
		fault.Bend(answer)
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
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body) // the client may be gone
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

// read fills in the form, and says what is wrong with the raw request. A
// server may let some of it pass; a client has no reason to send it.
func (r *Request) read(op Op, bodyErr error) (problem string) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	r.Form = query
	if op == "" {
		return ""
	}
	if err != nil {
		return "the query cannot be parsed: " + err.Error()
	}
	fields := query
	if r.Method == http.MethodPost {
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
		case op == Exchange && r.URL.RawQuery != "":
			return "parameters go into the body, not into the URL (RFC 6749 §4.1.3)"
		}
		fields = maps.Clone(query)
		maps.Copy(fields, form)
	} else if len(r.Body) > 0 || bodyErr != nil {
		return "a " + r.Method + " has no body"
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch values := fields[name]; {
		case len(values) > 1:
			return "parameter " + name + " is repeated (RFC 6749 §3.1)"
		case values[0] == "":
			return "parameter " + name + " is empty: leave it out"
		}
	}
	if op != UserInfo && r.Header.Values("Authorization") != nil {
		return "a public client sends no Authorization header here"
	}
	if op == UserInfo {
		switch {
		case r.URL.RawQuery != "":
			return "the access token goes into the Authorization header, and there are no parameters (RFC 6750 §2.1)"
		case len(r.Header.Values("Authorization")) > 1:
			return "the Authorization header is repeated"
		case r.Header.Values("X-Application-ID") != nil:
			return "X-Application-ID goes to every operation but this"
		}
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

// unbound answers what the generated code could not bind.
func (h *handler) unbound(w http.ResponseWriter, r *http.Request, err error) {
	problem := err.Error()
	var missing *routes.RequiredParamError
	if errors.As(err, &missing) {
		problem = "parameter " + missing.ParamName + " is missing"
	}
	if !strings.HasPrefix(r.URL.Path, "/v2/") {
		h.refuseAuthorization(w, r, "invalid_request", problem)
		return
	}
	errorPage(w, problem)
}
