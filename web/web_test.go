package web_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const appURL = "https://app.example.com"

func newServer(t testing.TB, edit ...func(*piecesauthtest.Options)) *piecesauthtest.Server {
	t.Helper()
	options := piecesauthtest.Options{
		RedirectURLs: []string{appURL + "/auth/callback", appURL + "/app/auth/callback"},
		ReturnToURLs: []string{appURL + "/"},
	}
	for _, edit := range edit {
		edit(&options)
	}
	server := piecesauthtest.NewServer(options)
	t.Cleanup(server.Close)
	return server
}

func newSealer(t testing.TB, keys ...byte) *seal.Sealer {
	t.Helper()
	var all [][]byte
	for _, key := range keys {
		all = append(all, []byte(strings.Repeat(string(rune('a'+key)), 32)))
	}
	sealer, err := seal.New(all...)
	require.NoError(t, err)
	return sealer
}

// stores is what replicas share.
type stores struct {
	mu    sync.Mutex
	all   map[string]piecesauth.TokenStore
	loads atomic.Int64
	fail  atomic.Pointer[error] // of every call
}

func (s *stores) Store(id string) piecesauth.TokenStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]piecesauth.TokenStore{}
	}
	if s.all[id] == nil {
		s.all[id] = new(piecesauth.MemoryStore)
	}
	return countingStore{s.all[id], s}
}

func (s *stores) ids() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, store := range maps.All(s.all) {
		if _, err := store.Load(context.Background()); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

type countingStore struct {
	piecesauth.TokenStore

	all *stores
}

func (c countingStore) Load(ctx context.Context) (*piecesauth.Token, error) {
	c.all.loads.Add(1)
	if err := c.all.fail.Load(); err != nil {
		return nil, *err
	}
	return c.TokenStore.Load(ctx)
}

func (c countingStore) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	if err := c.all.fail.Load(); err != nil {
		return *err
	}
	return c.TokenStore.Update(ctx, fn)
}

// setup is what a test may change of an application.
type setup struct {
	auth piecesauth.Config
	web  web.Config
}

// newHandler returns the handler that package web makes.
func newHandler(t testing.TB, server *piecesauthtest.Server, edit ...func(*setup)) *web.Handler {
	t.Helper()
	s := setup{server.Config(), web.Config{URL: appURL, Sealer: newSealer(t, 0)}}
	s.auth.HTTPClient = server.Client()
	for _, edit := range edit {
		edit(&s)
	}
	auth, err := piecesauth.New(s.auth)
	require.NoError(t, err)
	s.web.Auth = auth
	handler, err := web.New(s.web)
	require.NoError(t, err)
	return handler
}

// newApp returns an application: pages that anybody sees, and such that need a
// sign-in.
func newApp(t testing.TB, server *piecesauthtest.Server, edit ...func(*setup)) http.Handler {
	t.Helper()
	return pages(newHandler(t, server, edit...))
}

func pages(h *web.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/auth/", h)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if s, ok := h.Session(r); ok {
			_, _ = io.WriteString(w, "hello "+s.Name)
			return
		}
		_, _ = io.WriteString(w, "hello stranger")
	})
	mux.Handle("/account", h.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := h.Session(r)
		_, _ = io.WriteString(w, s.ID+" "+s.Subject+" "+s.Name+" "+s.Email)
	})))
	mux.Handle("/api", h.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := h.Session(r)
		user, err := s.TokenSource().UserInfo(r.Context())
		if err != nil {
			h.Error(w, r, err)
			return
		}
		_, _ = io.WriteString(w, user.Sub+" "+s.Subject)
	})))
	return mux
}

func byQuery(s *setup) { s.auth.ResponseMode = piecesauth.ResponseModeQuery }

func withTokens(all *stores) func(*setup) { return func(s *setup) { s.web.Tokens = all.Store } }

// client is a browser at the application: it keeps cookies, and brings them as
// their SameSite has it.
type client struct {
	t       testing.TB
	app     http.Handler
	server  *piecesauthtest.Server
	cookies map[string]*http.Cookie
	person  *piecesauthtest.Person
}

func newClient(t testing.TB, server *piecesauthtest.Server, app http.Handler) *client {
	return &client{t: t, app: app, server: server, cookies: map[string]*http.Cookie{}}
}

type headers map[string]string

// request sends a request with a browser's headers and cookies. What header
// says stands in place of the usual; "" leaves it out.
func (c *client) request(method, target string, form url.Values, header headers) *http.Response {
	c.t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, target, strings.NewReader(form.Encode()))
	all := headers{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
	if form != nil {
		all["Content-Type"] = "application/x-www-form-urlencoded"
		all["Origin"] = appURL
	}
	maps.Copy(all, header)
	for name, value := range all {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	cross := all["Sec-Fetch-Site"] == "cross-site"
	for _, cookie := range c.cookies {
		if !cross || cookie.SameSite == http.SameSiteNoneMode || method == http.MethodGet && all["Sec-Fetch-Mode"] == "navigate" {
			r.AddCookie(cookie)
		}
	}
	w := httptest.NewRecorder()
	c.app.ServeHTTP(w, r)
	response := w.Result()
	for _, cookie := range response.Cookies() {
		if cookie.MaxAge < 0 {
			delete(c.cookies, cookie.Name)
		} else {
			c.cookies[cookie.Name] = cookie
		}
	}
	return response
}

func (c *client) get(target string) *http.Response {
	c.t.Helper()
	return c.request(http.MethodGet, target, nil, nil)
}

func (c *client) text(target string) string {
	c.t.Helper()
	return text(c.t, c.get(target))
}

// begin begins a sign-in, and has the person go through with it at the server.
func (c *client) begin(target string) url.Values {
	c.t.Helper()
	response := c.get(target)
	require.Equal(c.t, http.StatusSeeOther, response.StatusCode, text(c.t, response))
	return c.atServer(response.Header.Get("Location"))
}

func (c *client) atServer(location string) url.Values {
	c.t.Helper()
	browser := c.server.Browser()
	if c.person != nil {
		browser = c.server.BrowserAs(*c.person)
	}
	values, err := browser.SignIn(context.Background(), location)
	require.NoError(c.t, err)
	return values
}

// post delivers a callback as the page of the server does.
func (c *client) post(values url.Values) *http.Response {
	c.t.Helper()
	return c.request(http.MethodPost, "/auth/callback", values, headers{"Origin": "null", "Sec-Fetch-Site": "cross-site"})
}

// query delivers a callback by a redirect.
func (c *client) query(values url.Values) *http.Response {
	c.t.Helper()
	return c.request(http.MethodGet, "/auth/callback?"+values.Encode(), nil, headers{"Sec-Fetch-Site": "cross-site"})
}

// signIn signs the person in.
func (c *client) signIn() {
	c.t.Helper()
	response := c.post(c.begin("/auth/signin"))
	require.Equal(c.t, http.StatusSeeOther, response.StatusCode, text(c.t, response))
}

func (c *client) signOut() *http.Response {
	c.t.Helper()
	return c.request(http.MethodPost, "/auth/signout", url.Values{}, nil)
}

// copied returns another browser with the same cookies, as a thief has it.
func (c *client) copied() *client {
	d := *c
	d.cookies = maps.Clone(c.cookies)
	return &d
}

// named returns the cookies whose names contain the text.
func (c *client) named(text string) (found []*http.Cookie) {
	for name, cookie := range c.cookies {
		if strings.Contains(name, text) {
			found = append(found, cookie)
		}
	}
	return found
}

// session returns the session's cookie.
func (c *client) session() *http.Cookie {
	for name, cookie := range c.cookies {
		if !strings.Contains(name, "-a-") && !strings.Contains(name, "-seen-") {
			return cookie
		}
	}
	return nil
}

func text(t testing.TB, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

func TestNewRefuses(t *testing.T) {
	server := newServer(t)
	for want, edit := range map[string]func(*setup){
		"Auth has no Issuer":         func(s *setup) { s.auth.Issuer, s.auth.BaseURL = "", "https://auth.example.com" },
		"Scopes without openid":      func(s *setup) { s.auth.Scopes = piecesauth.Scopes{"profile"} },
		"no Audience":                func(s *setup) { s.auth.Audience = "" },
		"ResponseMode":               func(s *setup) { s.auth.ResponseMode = piecesauth.ResponseModeFragment },
		"Sealer is nil":              func(s *setup) { s.web.Sealer = nil },
		"URL is not an absolute URL": func(s *setup) { s.web.URL = "app.example.com" },
		"URL is http":                func(s *setup) { s.web.URL = "http://app.example.com" },
		"URL has a query":            func(s *setup) { s.web.URL = appURL + "/?a=b" },
		"a path that no page":        func(s *setup) { s.web.URL = appURL + "/a/../b" },
		"URL is not a URL":           func(s *setup) { s.web.URL = "https://a b\x00" },
		"Prefix is not":              func(s *setup) { s.web.Prefix = "auth" },
		"Idle is longer":             func(s *setup) { s.web.Lifetime, s.web.Idle = 1, 2 },
		"is negative":                func(s *setup) { s.web.CheckStore = -1 },
	} {
		t.Run(want, func(t *testing.T) {
			s := setup{server.Config(), web.Config{URL: appURL, Sealer: newSealer(t, 0)}}
			edit(&s)
			auth, err := piecesauth.New(s.auth)
			require.NoError(t, err)
			s.web.Auth = auth
			_, err = web.New(s.web)
			require.ErrorContains(t, err, want)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
	_, err := web.New(web.Config{})
	require.ErrorContains(t, err, "Auth is nil")
}

func TestRoutes(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newHandler(t, server))
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodGet, "/auth/signin", 303, ""},
		{http.MethodGet, "/signin", 303, ""}, // a router took off the prefix
		{http.MethodPost, "/auth/signin", 405, "GET"},
		{http.MethodHead, "/auth/signin", 405, "GET"},
		{http.MethodPut, "/auth/callback", 405, "GET, POST"},
		{http.MethodGet, "/auth/signout", 405, "POST"},
		{http.MethodGet, "/auth/", 404, ""},
		{http.MethodGet, "/auth/other", 404, ""},
		{http.MethodGet, "/auth/xsignin", 404, ""},
		{http.MethodGet, "/other/signin", 404, ""},
		{http.MethodGet, "/auth/signin/", 404, ""},
	} {
		response := c.request(test.method, test.path, nil, nil)
		assert.Equal(t, test.status, response.StatusCode, "%s %s", test.method, test.path)
		assert.Equal(t, test.allow, response.Header.Get("Allow"), "%s %s", test.method, test.path)
		assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		assert.Equal(t, "Cookie", response.Header.Get("Vary"))
		assert.Equal(t, "no-referrer", response.Header.Get("Referrer-Policy"))
	}
}
