package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/web"
)

// TestRequireSignedOut: a page leads to the sign-in and back; anything else gets
// 401, and no body is lost on the way.
func TestRequireSignedOut(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server))
	none := headers{"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "Sec-Fetch-Site": ""}
	with := func(h headers, more headers) headers {
		all := headers{}
		for _, from := range []headers{h, more} {
			for k, v := range from {
				all[k] = v
			}
		}
		return all
	}
	for name, test := range map[string]struct {
		method string
		header headers
		status int
	}{
		"a page":                       {http.MethodGet, nil, 303},
		"a page, by a link elsewhere":  {http.MethodGet, headers{"Sec-Fetch-Site": "cross-site"}, 303},
		"a page's head":                {http.MethodHead, nil, 303},
		"a page, for an older browser": {http.MethodGet, with(none, headers{"Accept": "text/html,*/*"}), 303},
		"a program":                    {http.MethodGet, with(none, headers{"Accept": "*/*"}), 401},
		"a program that says nothing":  {http.MethodGet, with(none, headers{"Accept": ""}), 401},
		"JSON":                         {http.MethodGet, with(none, headers{"Accept": "application/json"}), 401},
		"a script":                     {http.MethodGet, headers{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 401},
		"an image":                     {http.MethodGet, headers{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 401},
		"a frame":                      {http.MethodGet, headers{"Sec-Fetch-Dest": "iframe"}, 401},
		"a prefetch":                   {http.MethodGet, headers{"Sec-Purpose": "prefetch"}, 401},
		"a form":                       {http.MethodPost, nil, 401},
		"a script's PUT":               {http.MethodPut, headers{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			response := c.request(test.method, "/account", nil, test.header)
			require.Equal(t, test.status, response.StatusCode)
			assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
			assert.Contains(t, response.Header.Values("Vary"), "Cookie")
			if test.status == http.StatusUnauthorized {
				assert.Equal(t, `SignIn url="`+appURL+`/auth/signin"`, response.Header.Get("WWW-Authenticate"))
				assert.Contains(t, text(t, response), "Please sign in.")
			}
			assert.Empty(t, response.Cookies())
		})
	}
}

// TestRequireCSRF: what another origin's page sends is not carried out, although
// the browser may bring the cookie: SameSite takes a neighbour for the same site.
func TestRequireCSRF(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server))
	c.signIn()
	for name, test := range map[string]struct {
		method string
		header headers
		status int
	}{
		"of our own":                         {http.MethodPost, nil, 200},
		"of our own, in an older browser":    {http.MethodPost, headers{"Sec-Fetch-Site": "", "Origin": appURL}, 200},
		"a neighbour's":                      {http.MethodPost, headers{"Sec-Fetch-Site": "same-site", "Origin": "https://other.example.com"}, 403},
		"another site's":                     {http.MethodPost, headers{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		"another site's, in an older one":    {http.MethodPost, headers{"Sec-Fetch-Site": "", "Origin": "https://evil.example"}, 403},
		"a sandbox's":                        {http.MethodPost, headers{"Sec-Fetch-Site": "cross-site", "Origin": "null"}, 403},
		"another site's DELETE":              {http.MethodDelete, headers{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		"a link on another site to a page":   {http.MethodGet, headers{"Sec-Fetch-Site": "cross-site"}, 200},
		"of a program that is not a browser": {http.MethodPost, headers{"Sec-Fetch-Site": "", "Origin": ""}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			response := c.request(test.method, "/account", nil, test.header)
			assert.Equal(t, test.status, response.StatusCode)
			assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		})
	}
}

func TestSignOut(t *testing.T) {
	server := newServer(t)
	for name, test := range map[string]struct {
		method string
		header headers
		status int
	}{
		"of our own":                      {http.MethodPost, nil, 303},
		"of our own, in an older browser": {http.MethodPost, headers{"Sec-Fetch-Site": "", "Origin": appURL}, 303},
		"another site's":                  {http.MethodPost, headers{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		"a neighbour's":                   {http.MethodPost, headers{"Sec-Fetch-Site": "same-site", "Origin": "https://other.example.com"}, 403},
		"another site's, in an older one": {http.MethodPost, headers{"Sec-Fetch-Site": "", "Origin": "https://evil.example"}, 403},
		"a link":                          {http.MethodGet, nil, 405},
		"an image":                        {http.MethodGet, headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 405},
	} {
		t.Run(name, func(t *testing.T) {
			all := new(stores)
			c := newClient(t, server, newApp(t, server, withTokens(all)))
			c.signIn()
			before := c.copied()
			response := c.request(test.method, "/auth/signout", url.Values{}, test.header)
			require.Equal(t, test.status, response.StatusCode)
			if test.status != http.StatusSeeOther {
				assert.Equal(t, "hello Ada Lovelace", c.text("/"))
				assert.Len(t, all.ids(), 1)
				return
			}
			assert.Equal(t, server.URL+"/v2/logout?client_id="+server.ClientID+"&returnTo="+url.QueryEscape(appURL+"/"), response.Header.Get("Location"))
			assert.Nil(t, c.session())
			assert.Empty(t, c.named("-seen-"))
			assert.Empty(t, all.ids(), "the token is gone")
			assert.Equal(t, "hello stranger", before.text("/"), "who kept the cookies is signed out as well")
			assert.Equal(t, http.StatusSeeOther, before.get("/account").StatusCode)
			assert.Equal(t, http.StatusSeeOther, c.signOut().StatusCode, "once more, as of another tab")
		})
	}
}

// TestSignOutSeenByReplicas: at once by default, and with CheckStore within that
// time.
func TestSignOutSeenByReplicas(t *testing.T) {
	server := newServer(t)
	for name, checkStore := range map[string]time.Duration{"by default": 0, "an hour": time.Hour} {
		t.Run(name, func(t *testing.T) {
			all := new(stores)
			edit := func(s *setup) { s.web.Tokens, s.web.CheckStore = all.Store, checkStore }
			one, two := newApp(t, server, edit), newApp(t, server, edit)
			c := newClient(t, server, one)
			c.signIn()
			other := c.copied()
			other.app = two
			require.Equal(t, "hello Ada Lovelace", other.text("/"))
			loads := all.loads.Load()
			for range 3 {
				require.Equal(t, "hello Ada Lovelace", other.text("/"))
			}
			want := int64(3)
			if checkStore > 0 {
				want = 0
			}
			assert.Equal(t, want, all.loads.Load()-loads, "one read a request, or none")
			c.signOut()
			same := other.copied()
			same.app = one
			assert.Equal(t, "hello stranger", same.text("/"), "where it was signed out it is at once")
			if checkStore == 0 {
				assert.Equal(t, "hello stranger", other.text("/"))
				return
			}
			assert.Equal(t, "hello Ada Lovelace", other.text("/"))
		})
	}
}

// slowStore is one whose updates wait for a refresh.
type slowStore struct {
	piecesauth.TokenStore

	replaced chan *piecesauth.Token
}

func (s slowStore) Replace(_ context.Context, token *piecesauth.Token) error {
	s.replaced <- token
	return nil
}

// TestSignOutWaitsForNoRefresh: a store that can replace what is there is not
// asked to wait.
func TestSignOutWaitsForNoRefresh(t *testing.T) {
	server := newServer(t, func(o *piecesauthtest.Options) { o.TokenLifetime = time.Second })
	store := slowStore{new(piecesauth.MemoryStore), make(chan *piecesauth.Token, 2)}
	h := newHandler(t, server, func(s *setup) {
		s.web.Tokens = func(string) piecesauth.TokenStore { return store }
	})
	c := newClient(t, server, pages(h))
	c.signIn()
	token := <-store.replaced
	require.NoError(t, store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return token, nil }))
	updating, end := make(chan struct{}), make(chan struct{})
	var refresh sync.WaitGroup
	refresh.Go(func() {
		_ = store.Update(context.Background(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			close(updating)
			<-end
			return token, nil
		})
	})
	<-updating
	assert.Equal(t, http.StatusSeeOther, c.signOut().StatusCode) // hangs, were it to wait
	assert.Nil(t, <-store.replaced)
	assert.Equal(t, http.StatusSeeOther, c.get("/account").StatusCode)
	close(end)
	refresh.Wait()
}

// TestSignOutStoreDown: the browser is signed out nonetheless, and told.
func TestSignOutStoreDown(t *testing.T) {
	server := newServer(t)
	all := new(stores)
	c := newClient(t, server, newApp(t, server, withTokens(all)))
	c.signIn()
	before := c.copied()
	down := errors.New("down")
	all.fail.Store(&down)
	response := c.signOut()
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	body := text(t, response)
	assert.Contains(t, body, "signed out in this browser only")
	assert.Contains(t, body, "/v2/logout?client_id="+server.ClientID+"&amp;returnTo=")
	assert.Nil(t, c.session())
	all.fail.Store(nil)
	assert.Equal(t, "hello stranger", before.text("/"), "in this process the session is over")
}

// TestOrigin: browsers write a host in lower case, whatever URL has.
func TestOrigin(t *testing.T) {
	server := newServer(t)
	h := newHandler(t, server, func(s *setup) { s.web.URL = "https://APP.example.com/" })
	c := newClient(t, server, pages(h))
	c.signIn()
	response := c.request(http.MethodPost, "http://10.0.0.1/account", url.Values{}, headers{"Sec-Fetch-Site": "", "Origin": appURL})
	assert.Equal(t, http.StatusOK, response.StatusCode)
}

// TestSignOutHangUp: who closes the window while signing out is signed out.
func TestSignOutHangUp(t *testing.T) {
	server := newServer(t)
	all := new(stores)
	c := newClient(t, server, newApp(t, server, withTokens(all)))
	c.signIn()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/auth/signout", nil)
	r.AddCookie(c.session())
	c.app.ServeHTTP(httptest.NewRecorder(), r)
	assert.Empty(t, all.ids())
}

// TestStoreDown: who can't be looked up is not let in, nor sent to sign in.
func TestStoreDown(t *testing.T) {
	server := newServer(t)
	all := new(stores)
	c := newClient(t, server, newApp(t, server, withTokens(all)))
	c.signIn()
	down := errors.New("down")
	all.fail.Store(&down)
	response := c.get("/account")
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	assert.Contains(t, text(t, response), "not possible just now")
	assert.Equal(t, "hello stranger", c.text("/"))
	all.fail.Store(nil)
	assert.Equal(t, "hello Ada Lovelace", c.text("/"))
}

// TestRevoked: the application ends all sessions of a person from before a
// moment, with tokens and without.
func TestRevoked(t *testing.T) {
	server := newServer(t)
	for name, tokens := range map[string]func(string) piecesauth.TokenStore{"tokens": new(stores).Store, "none": nil} {
		t.Run(name, func(t *testing.T) {
			var everywhere atomic.Pointer[string] // whose sessions are over
			var fail atomic.Pointer[error]
			edit := func(s *setup) {
				s.web.Tokens = tokens
				s.web.Revoked = func(_ context.Context, s *web.Session) (bool, error) {
					if err := fail.Load(); err != nil {
						return false, *err
					}
					who := everywhere.Load()
					return who != nil && *who == s.Issuer+" "+s.Subject, nil
				}
			}
			ada, grace := newClient(t, server, newApp(t, server, edit)), newClient(t, server, newApp(t, server, edit))
			grace.person = &piecesauthtest.Person{Sub: "auth0|2", Name: "Grace Hopper"}
			ada.signIn()
			grace.signIn()
			who := server.Issuer + " auth0|2"
			everywhere.Store(&who)
			assert.Equal(t, http.StatusSeeOther, grace.get("/account").StatusCode)
			assert.Equal(t, "hello stranger", grace.text("/"))
			assert.Equal(t, "hello Ada Lovelace", ada.text("/"))
			err := errors.New("down")
			fail.Store(&err)
			assert.Equal(t, http.StatusServiceUnavailable, ada.get("/account").StatusCode)
		})
	}
}

// TestTokens: one refresh serves all requests of a session, and each session has
// its own token.
func TestTokens(t *testing.T) {
	server := newServer(t)
	all := new(stores)
	edit := func(s *setup) { s.web.Tokens, s.web.CheckStore = all.Store, time.Minute }
	replicas := []http.Handler{newApp(t, server, edit), newApp(t, server, edit)}
	c := newClient(t, server, replicas[0])
	c.signIn()
	id := all.ids()[0]
	require.NoError(t, all.Store(id).Update(t.Context(), func(_ context.Context, token *piecesauth.Token) (*piecesauth.Token, error) {
		token.Expiry = time.Now().Add(-time.Second)
		token.Obtained = token.Expiry.Add(-time.Hour)
		return token, nil
	}))
	// The replica that has the token in memory would not see that it expired.
	replicas[0] = newApp(t, server, edit)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			tab := c.copied()
			tab.app = replicas[i%2]
			assert.Equal(t, "auth0|507f1f77bcf86cd799439011 auth0|507f1f77bcf86cd799439011", tab.text("/api"))
		})
	}
	group.Wait()
	assert.Equal(t, 1, server.Count(piecesauthtest.Refresh))
}

// TestTokensRefused: when the authorization server takes the grant back, a page
// leads to the sign-in, and a script gets 401.
func TestTokensRefused(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server, withTokens(new(stores))))
	c.signIn()
	server.Revoke()
	response := c.request(http.MethodGet, "/api", nil, headers{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"})
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	response = c.get("/api?x=1")
	require.Equal(t, http.StatusSeeOther, response.StatusCode)
	assert.Equal(t, appURL+"/auth/signin?next=%2Fapi%3Fx%3D1", response.Header.Get("Location"))
	require.Equal(t, http.StatusSeeOther, c.post(c.begin(response.Header.Get("Location"))).StatusCode)
	assert.Equal(t, http.StatusOK, c.get("/api").StatusCode)
}

func TestNoTokens(t *testing.T) {
	server := newServer(t)
	h := newHandler(t, server)
	mux := http.NewServeMux()
	mux.Handle("/auth/", h)
	mux.Handle("/", h.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, ok := h.Session(r)
		_, _ = fmt.Fprint(w, ok, s.TokenSource() == nil, s.Issuer == server.Issuer, time.Since(s.SignedIn) < time.Minute)
	})))
	c := newClient(t, server, mux)
	c.signIn()
	assert.Equal(t, "true true true true", c.text("/"))
}

// TestErrors: what people and scripts are told, and with which status.
func TestErrors(t *testing.T) {
	server := newServer(t)
	h := newHandler(t, server)
	for _, test := range []struct {
		err    error
		status int
		says   string
	}{
		{web.ErrNoAttempt, 400, "took too long"},
		{web.ErrCrossOrigin, 403, "another website"},
		{&piecesauth.Error{Op: "complete", Code: "access_denied"}, 403, "canceled"},
		{&piecesauth.Error{Op: "complete", Err: context.DeadlineExceeded}, 504, "in time"},
		{&piecesauth.Error{Op: "complete", Code: "invalid_grant"}, 502, "could not be used"},
		{&piecesauth.Error{Op: "userinfo", StatusCode: 500}, 502, "did not accept"},
		{&piecesauth.Error{Op: "refresh", Code: "invalid_grant"}, 401, "Please sign in"},
		{&piecesauth.Error{Op: "refresh", RetryAfter: time.Minute}, 503, "did not accept"},
		{&piecesauth.Error{Op: "token", Err: errors.New("<secret>")}, 503, "look up"},
		{&piecesauth.Error{Op: "begin", Err: errors.New("<secret>")}, 500, "did not accept"},
		{errors.New("<secret>"), 500, "could not finish"},
	} {
		t.Run(test.err.Error(), func(t *testing.T) {
			assert.Equal(t, test.status, web.StatusCode(fmt.Errorf("wrapped: %w", test.err)))
			for accept, contentType := range map[string]string{"text/html": "text/html; charset=utf-8", "application/json": "text/plain; charset=utf-8"} {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/x", nil)
				r.Header.Set("Accept", accept)
				w := httptest.NewRecorder()
				h.Error(w, r, test.err)
				assert.Equal(t, test.status, w.Code)
				assert.Equal(t, contentType, w.Header().Get("Content-Type"))
				assert.Contains(t, w.Body.String(), test.says)
				assert.NotContains(t, w.Body.String(), "secret")
				assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
				assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
				assert.Contains(t, w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'")
				assert.NotContains(t, w.Body.String(), "<script")
			}
		})
	}
}

// TestOnError: the application answers in place of the page, and gets the typed
// error.
func TestOnError(t *testing.T) {
	server := newServer(t)
	var got error
	c := newClient(t, server, newApp(t, server, func(s *setup) {
		s.web.OnError = func(w http.ResponseWriter, _ *http.Request, err error) {
			got = err
			w.WriteHeader(web.StatusCode(err))
			_, _ = io.WriteString(w, "ours")
		}
	}))
	assert.Equal(t, http.StatusSeeOther, c.get("/account").StatusCode, "a page that leads to the sign-in is no error")
	require.NoError(t, got)
	response := c.request(http.MethodPost, "/account", nil, nil)
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	assert.Equal(t, "ours", text(t, response))
	require.ErrorIs(t, got, piecesauth.ErrSignInRequired)
	c.post(url.Values{"state": {"x"}, "code": {"y"}})
	require.ErrorIs(t, got, web.ErrNoAttempt)
	values := c.begin("/auth/signin")
	values.Del("code")
	values.Set("error", "access_denied")
	c.post(values)
	require.ErrorIs(t, got, &piecesauth.Error{Code: "access_denied"})
	c.request(http.MethodPost, "/auth/signout", nil, headers{"Sec-Fetch-Site": "cross-site"})
	require.ErrorIs(t, got, web.ErrCrossOrigin)
}

// TestNothingLeaks: no answer has what the cookies hold, or the code.
func TestNothingLeaks(t *testing.T) {
	server := newServer(t)
	all := new(stores)
	c := newClient(t, server, newApp(t, server, withTokens(all)))
	values := c.begin("/auth/signin")
	verifier := ""
	for _, response := range []*http.Response{c.post(url.Values{"state": values["state"], "error": {"<b>" + values.Get("code")}}), c.post(values)} {
		body := text(t, response)
		assert.NotContains(t, body, values.Get("state"))
		assert.NotContains(t, body, values.Get("code"))
		assert.NotContains(t, body, "<b>")
		assert.Equal(t, "no-referrer", response.Header.Get("Referrer-Policy"))
	}
	c.signIn()
	token, err := all.Store(all.ids()[0]).Load(t.Context())
	require.NoError(t, err)
	for _, request := range server.Requests(piecesauthtest.Exchange) {
		verifier = request.Form.Get("code_verifier")
	}
	sent := strings.Builder{}
	for _, cookie := range c.cookies {
		sent.WriteString(cookie.String())
	}
	for _, secret := range []string{verifier, token.AccessToken, token.RefreshToken, token.IDToken} {
		require.NotEmpty(t, secret)
		assert.NotContains(t, sent.String(), secret)
	}
}
