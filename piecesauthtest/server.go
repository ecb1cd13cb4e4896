// Package piecesauthtest is a Pieces authorization server in memory, for tests
// of code that uses package piecesauth, in the spirit of net/http/httptest.
//
// [NewServer] starts one on a loopback port, and its zero [Options] work:
//
//	server := piecesauthtest.NewServer(piecesauthtest.Options{})
//	defer server.Close()
//	auth, err := piecesauth.New(server.Config())
//
// Its routes are generated from the same document as the client, so the two
// cannot drift apart. It is as strict as a server may be: it checks the raw
// request first, and says what is wrong with it. StrictRedirects and
// StrictAudience make it as strict as a server where applications are
// registered.
//
// # Signing in
//
// GET /authorize leads to a sign-in page, as at real servers. A real browser
// can use it. [Server.Browser] is a person at a browser for tests, and
// [Server.BrowserAs] another person:
//
//	callback, err := server.Browser().SignIn(ctx, attempt.URL)
//
// # Looking at requests
//
// [Server.Requests] returns what the server was sent: headers, forms and
// bodies, secrets included. Use them for assertions, not for logs.
// [Server.Count] counts requests by operation, and [Server.Families] returns
// what became of each sign-in.
//
// # Misbehaving
//
// [Server.Fail] decides what happens to the next requests of an operation, and
// [Server.FailFunc] decides request by request. [Server.BendJSON] edits an
// answer, [Server.BendIDToken] an ID token before it is signed, and
// [Server.BendCallback] the values that the redirect URI receives. Each bend
// applies to one answer; several are used in turn. Lasting faults are in the
// [Options]: a clock that is wrong, odd claims, keys that fail. [Server.Change]
// changes them while the server runs. [Server.RotateKey] changes the signing
// key, and [Server.Revoke] revokes what somebody granted.
//
// # Stores
//
// [TestStore] is the suite that every piecesauth.TokenStore has to pass,
// [TestSharedStore] the one for stores that several processes share, and
// [TestDB] the one for every tokenkv.DB.
package piecesauthtest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest/internal/routes"
)

// Op names an operation of the server, like the Op of piecesauth.Error.
type Op string

// The operations.
const (
	Authorize Op = "authorize" // GET /authorize
	Login     Op = "login"     // the sign-in page, GET and POST /login
	Exchange  Op = "exchange"  // POST /oauth/token, except for a refresh
	Refresh   Op = "refresh"   // POST /oauth/token with grant_type=refresh_token
	UserInfo  Op = "userinfo"  // GET /userinfo
	Logout    Op = "logout"    // GET /v2/logout
	Discovery Op = "discovery" // GET /.well-known/openid-configuration
	JWKS      Op = "jwks"      // GET /.well-known/jwks.json
)

// ops lists the operations of the generated routes, and of the sign-in page.
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

	http    *httptest.Server
	done    chan struct{} // closed by Close
	closing sync.Once

	mu            sync.Mutex
	options       Options
	requests      []*Request
	counts        map[Op]int
	faults        map[Op][]Fault
	failFuncs     map[Op]func(*Request) Fault
	bendIDToken   []func(*IDToken)
	bendCallback  []func(url.Values)
	keys          []*key // the newest, which signs, first
	sessions      map[string]*session
	codes         map[string]*code
	accessTokens  map[string]*accessToken
	refreshTokens map[string]*refreshToken
	families      []*family
	revocations   int
}

// NewServer starts a server like [Start], for tests: like httptest.NewServer it
// panics if that fails. The caller must call Close.
func NewServer(options Options) *Server {
	s, err := Start(options)
	if err != nil {
		panic(err)
	}
	return s
}

// Start starts a server. The caller must call Close.
func Start(options Options) (*Server, error) {
	options.complete()
	if err := options.check(); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", options.Addr) //nolint:noctx // listening takes no time
	if err != nil {
		return nil, fmt.Errorf("piecesauthtest: Addr: %w", err)
	}
	s := &Server{
		ClientID:      options.ClientID,
		options:       options,
		done:          make(chan struct{}),
		counts:        map[Op]int{},
		faults:        map[Op][]Fault{},
		failFuncs:     map[Op]func(*Request) Fault{},
		keys:          []*key{firstKey()},
		sessions:      map[string]*session{},
		codes:         map[string]*code{},
		accessTokens:  map[string]*accessToken{},
		refreshTokens: map[string]*refreshToken{},
	}
	s.URL = baseURL(options, listener.Addr())
	s.Issuer = s.URL + "/"
	s.http = &httptest.Server{Listener: listener, Config: &http.Server{ //nolint:gosec // its clients are tests
		Handler: s.handler(),
		// What a client under test does to a connection is no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}}
	if options.TLS {
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
	return s, nil
}

// baseURL has the requested host, and the port that was found.
func baseURL(options Options, found net.Addr) string {
	host, _, _ := net.SplitHostPort(options.Addr) // it was listened on
	_, port, _ := net.SplitHostPort(found.String())
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if options.TLS {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// Close ends requests that hang, and shuts the server down completely.
func (s *Server) Close() {
	s.closing.Do(func() { close(s.done) })
	s.http.Close()
}

// Client returns an HTTP client that trusts the server's certificate. Close
// closes its idle connections.
func (s *Server) Client() *http.Client { return s.http.Client() }

// Certificate returns the server's certificate, or nil without Options.TLS.
func (s *Server) Certificate() *x509.Certificate { return s.http.Certificate() }

// Config returns a configuration for [piecesauth.New] that signs in at this
// server, with full verification of ID tokens. Nobody listens on its redirect
// URL, which is meant for [Browser.SignIn].
func (s *Server) Config() piecesauth.Config {
	o := s.settings()
	config := piecesauth.Config{
		BaseURL:     s.URL,
		ClientID:    s.ClientID,
		RedirectURL: "http://127.0.0.1/callback",
		Audience:    o.Audience,
		Issuer:      s.Issuer,
	}
	if o.StrictRedirects {
		config.RedirectURL = o.RedirectURLs[0]
	}
	if s.Certificate() != nil {
		config.HTTPClient = s.Client()
	}
	return config
}

// handler answers the operations. ServerInterface stands for operations that
// the document may gain; the router lets no request through to it.
type handler struct {
	*Server
	routes.ServerInterface
}

// handler wraps the generated routes, and the sign-in page, in the code that
// records, checks and applies faults.
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

// unbound answers requests that the generated code could not bind.
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

// pop removes the first item of a queue that the server's lock guards.
func pop[T any](s *Server, queue *[]T) (first T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*queue) > 0 {
		first, *queue = (*queue)[0], (*queue)[1:]
	}
	return first
}
