//nolint:gosec // G124, G705: cookies to be refused, and pages that nobody renders
package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/web"
)

// TestSignIn: by either response mode, whichever way the answer then comes.
func TestSignIn(t *testing.T) {
	server := newServer(t)
	for name, test := range map[string]struct {
		edit    func(*setup)
		deliver func(*client, url.Values) *http.Response
	}{
		"form_post":             {func(*setup) {}, (*client).post},
		"query":                 {byQuery, (*client).query},
		"form_post, by a GET":   {func(*setup) {}, (*client).query},
		"form_post, keeps them": {withTokens(new(stores)), (*client).post},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, server, newApp(t, server, test.edit))
			assert.Equal(t, "hello stranger", c.text("/"))
			response := c.get("/account?tab=2")
			require.Equal(t, http.StatusSeeOther, response.StatusCode)
			assert.Equal(t, appURL+"/auth/signin?next=%2Faccount%3Ftab%3D2", response.Header.Get("Location"))
			response = test.deliver(c, c.begin(response.Header.Get("Location")))
			require.Equal(t, http.StatusSeeOther, response.StatusCode, text(t, response))
			assert.Equal(t, appURL+"/account?tab=2", response.Header.Get("Location"))
			assert.Contains(t, c.text("/account"), "Ada Lovelace ada@example.com")
			assert.Equal(t, "hello Ada Lovelace", c.text("/"))
		})
	}
}

// TestSignInBrowser goes the whole way with a browser that is as strict with
// cookies as real ones, over http on this machine.
func TestSignInBrowser(t *testing.T) {
	server := newServer(t)
	for _, mode := range []piecesauth.ResponseMode{piecesauth.ResponseModeFormPost, piecesauth.ResponseModeQuery} {
		t.Run(string(mode), func(t *testing.T) {
			var app http.Handler
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { app.ServeHTTP(w, r) }))
			defer front.Close()
			server.Change(func(o *piecesauthtest.Options) { o.ReturnToURLs = []string{front.URL + "/"} })
			app = newApp(t, server, func(s *setup) { s.web.URL, s.auth.ResponseMode = front.URL, mode }, withTokens(new(stores)))
			grace := piecesauthtest.Person{Sub: "auth0|2", Name: "Grace Hopper"}
			for want, browser := range map[string]*piecesauthtest.Browser{"Ada Lovelace": server.Browser(), "Grace Hopper": server.BrowserAs(grace)} {
				page, err := browser.Open(t.Context(), front.URL+"/account")
				require.NoError(t, err)
				assert.Equal(t, front.URL+"/account", page.URL)
				assert.Contains(t, page.Body, want)
				page, err = browser.Post(t.Context(), "/auth/signout", nil)
				require.NoError(t, err)
				assert.Equal(t, front.URL+"/", page.URL)
				assert.Equal(t, "hello stranger", page.Body)
			}
		})
	}
}

func TestProfile(t *testing.T) {
	long := strings.Repeat("é", 600)
	for name, test := range map[string]struct {
		person piecesauthtest.Person
		scopes piecesauth.Scopes
		idOnly bool // the ID token lacks the name
		want   string
		asked  int
	}{
		"of the ID token":     {piecesauthtest.Person{Sub: "1", Name: "A", Email: "a@b"}, nil, false, "1 A a@b", 0},
		"of userinfo":         {piecesauthtest.Person{Sub: "1", Name: "A", Email: "a@b"}, nil, true, "1 A a@b", 1},
		"nobody asked":        {piecesauthtest.Person{Sub: "1", Name: "A"}, piecesauth.Scopes{"openid"}, false, "1  ", 0},
		"a name out of type":  {piecesauthtest.Person{Sub: "1", Email: "a@b", Claims: map[string]any{"name": 7}}, nil, false, "1  a@b", 0},
		"too long an address": {piecesauthtest.Person{Sub: "1", Name: "A", Email: long}, nil, false, "1 A ", 0},
		"too long a name":     {piecesauthtest.Person{Sub: "1", Name: long, Email: long}, nil, false, "1  ", 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t)
			if test.idOnly {
				server.BendIDToken(func(id *piecesauthtest.IDToken) { delete(id.Claims, "name"); delete(id.Claims, "email") })
			}
			c := newClient(t, server, newApp(t, server, func(s *setup) { s.auth.Scopes = test.scopes }))
			c.person = &test.person
			c.signIn()
			_, who, _ := strings.Cut(c.text("/account"), " ")
			assert.Equal(t, test.want, who)
			assert.Equal(t, test.asked, server.Count(piecesauthtest.UserInfo))
		})
	}
	t.Run("no name to be had", func(t *testing.T) {
		server := newServer(t)
		server.BendIDToken(func(id *piecesauthtest.IDToken) { delete(id.Claims, "name"); delete(id.Claims, "email") })
		server.Fail(piecesauthtest.UserInfo, piecesauthtest.Fault{Status: 500})
		c := newClient(t, server, newApp(t, server))
		c.signIn()
		assert.Equal(t, "hello ", c.text("/"))
	})
	t.Run("somebody else's", func(t *testing.T) {
		server := newServer(t)
		server.BendIDToken(func(id *piecesauthtest.IDToken) { delete(id.Claims, "name"); delete(id.Claims, "email") })
		server.BendJSON(piecesauthtest.UserInfo, func(o map[string]any) { o["sub"] = "other" })
		c := newClient(t, server, newApp(t, server))
		assert.Equal(t, http.StatusBadGateway, c.post(c.begin("/auth/signin")).StatusCode)
		assert.Nil(t, c.session())
	})
	t.Run("too long a subject", func(t *testing.T) {
		server := newServer(t)
		c := newClient(t, server, newApp(t, server))
		c.person = &piecesauthtest.Person{Sub: long}
		assert.Equal(t, http.StatusInternalServerError, c.post(c.begin("/auth/signin")).StatusCode)
		assert.Nil(t, c.session())
	})
}

// TestFixation: a sign-in makes a new session, whatever the browser had, and
// ends the one before.
func TestFixation(t *testing.T) {
	for name, deliver := range map[string]func(*client, url.Values) *http.Response{"form_post": (*client).post, "query": (*client).query} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t)
			all := new(stores)
			edit := []func(*setup){withTokens(all)}
			if name == "query" {
				edit = append(edit, byQuery)
			}
			c := newClient(t, server, newApp(t, server, edit...))
			require.Equal(t, http.StatusSeeOther, deliver(c, c.begin("/auth/signin")).StatusCode)
			before := c.copied()
			first := c.text("/account")
			require.Equal(t, http.StatusSeeOther, deliver(c, c.begin("/auth/signin")).StatusCode)
			assert.NotEqual(t, first, c.text("/account"))
			assert.Equal(t, http.StatusSeeOther, before.get("/account").StatusCode, "the session before is over")
			assert.Len(t, all.ids(), 1)
		})
	}
}

// TestLoginCSRF: a callback of somebody else's sign-in signs nobody in.
func TestLoginCSRF(t *testing.T) {
	server := newServer(t)
	app := newApp(t, server)
	attacker, victim := newClient(t, server, app), newClient(t, server, app)
	values := attacker.begin("/auth/signin")
	for name, prepare := range map[string]func(){
		"no sign-in under way": func() {},
		"one is":               func() { victim.get("/auth/signin") },
	} {
		t.Run(name, func(t *testing.T) {
			prepare()
			for _, deliver := range []func(*client, url.Values) *http.Response{(*client).post, (*client).query} {
				response := deliver(victim, values)
				assert.Equal(t, http.StatusBadRequest, response.StatusCode)
				assert.Nil(t, victim.session())
			}
		})
	}
	assert.Zero(t, server.Count(piecesauthtest.Exchange), "no code was spent")
	t.Run("with a state of the victim's", func(t *testing.T) {
		own := victim.begin("/auth/signin")
		forged := url.Values{"state": own["state"], "code": values["code"], "iss": values["iss"]}
		assert.Equal(t, http.StatusBadGateway, victim.post(forged).StatusCode, "the code was not made for its verifier")
		assert.Nil(t, victim.session())
	})
}

func TestCallbackRefused(t *testing.T) {
	server := newServer(t)
	for name, test := range map[string]struct {
		edit   func(values url.Values)
		header headers
		status int
	}{
		"no state":         {func(v url.Values) { v.Del("state") }, nil, 400},
		"another state":    {func(v url.Values) { v.Set("state", "x") }, nil, 400},
		"half a state":     {func(v url.Values) { v.Set("state", v.Get("state")[:16]) }, nil, 400},
		"states":           {func(v url.Values) { v.Add("state", "x") }, nil, 400},
		"no code":          {func(v url.Values) { v.Del("code") }, nil, 502},
		"another code":     {func(v url.Values) { v.Set("code", "x") }, nil, 502},
		"another issuer":   {func(v url.Values) { v.Set("iss", "https://evil.example/") }, nil, 502},
		"too large":        {func(v url.Values) { v.Set("x", strings.Repeat("x", 64<<10)) }, nil, 400},
		"not a form":       {func(url.Values) {}, headers{"Content-Type": "text/plain"}, 400},
		"a server's error": {func(v url.Values) { v.Del("code"); v.Set("error", "server_error") }, nil, 502},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, server, newApp(t, server))
			values := c.begin("/auth/signin")
			test.edit(values)
			header := headers{"Origin": "null", "Sec-Fetch-Site": "cross-site"}
			for k, v := range test.header {
				header[k] = v
			}
			response := c.request(http.MethodPost, "/auth/callback", values, header)
			assert.Equal(t, test.status, response.StatusCode)
			assert.Contains(t, text(t, response), "Try again")
			assert.Nil(t, c.session(), "nobody is signed in")
		})
	}
	t.Run("a POST's query", func(t *testing.T) {
		c := newClient(t, server, newApp(t, server))
		values := c.begin("/auth/signin")
		response := c.request(http.MethodPost, "/auth/callback?"+values.Encode(), url.Values{}, headers{"Sec-Fetch-Site": "cross-site"})
		assert.Equal(t, http.StatusBadRequest, response.StatusCode)
		assert.Nil(t, c.session())
	})
}

// TestDenied: the person says no, and can think better of it.
func TestDenied(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server))
	browser := server.Browser()
	browser.Deny = true
	values, err := browser.SignIn(t.Context(), c.get("/auth/signin?next=/account").Header.Get("Location"))
	require.NoError(t, err)
	response := c.post(values)
	assert.Equal(t, http.StatusForbidden, response.StatusCode)
	body := text(t, response)
	assert.Contains(t, body, "canceled")
	assert.Contains(t, body, `href="`+appURL+`/auth/signin?next=%2Faccount"`)
	assert.Empty(t, c.named("-a-"), "the attempt is over")
	response = c.post(c.begin("/auth/signin?next=%2Faccount"))
	assert.Equal(t, appURL+"/account", response.Header.Get("Location"))
}

// TestCallbackAgain: the back button, a reload and a button pressed twice lead
// where the sign-in led, and spend nothing.
func TestCallbackAgain(t *testing.T) {
	server := newServer(t)
	all := new(stores)
	c := newClient(t, server, newApp(t, server, withTokens(all)))
	values := c.begin("/auth/signin?next=/account")
	require.Equal(t, http.StatusSeeOther, c.post(values).StatusCode)
	session := c.session().Value
	for range 2 {
		response := c.post(values)
		assert.Equal(t, http.StatusSeeOther, response.StatusCode)
		assert.Equal(t, appURL+"/account", response.Header.Get("Location"))
		assert.Equal(t, session, c.session().Value, "it is the same session")
	}
	assert.Equal(t, 1, server.Count(piecesauthtest.Exchange))

	c.signOut()
	assert.Equal(t, http.StatusSeeOther, c.post(values).StatusCode)
	assert.Nil(t, c.session(), "signed out it stays")
	assert.Equal(t, http.StatusSeeOther, c.get("/account").StatusCode)
	assert.Empty(t, all.ids())
}

// TestReplay: whoever has the callback, the attempt's cookie, or both, is not
// signed in by them once they were used.
func TestReplay(t *testing.T) {
	server := newServer(t)
	app := newApp(t, server)
	c := newClient(t, server, app)
	values := c.begin("/auth/signin")
	thief := c.copied()
	require.Equal(t, http.StatusSeeOther, c.post(values).StatusCode)

	stranger := newClient(t, server, app)
	assert.Equal(t, http.StatusBadRequest, stranger.post(values).StatusCode, "the callback alone")
	assert.Nil(t, stranger.session())

	assert.Equal(t, http.StatusBadGateway, thief.post(values).StatusCode, "the server refuses a code that was used")
	assert.Nil(t, thief.session())
	assert.Empty(t, thief.named("-a-"))
}

// TestStolenAttempt: the cookie alone is good for nothing.
func TestStolenAttempt(t *testing.T) {
	server := newServer(t)
	app := newApp(t, server)
	victim, thief := newClient(t, server, app), newClient(t, server, app)
	values := victim.begin("/auth/signin")
	stolen := victim.named("-a-")[0]
	own := thief.begin("/auth/signin")
	renamed := *stolen
	renamed.Name = thief.named("-a-")[0].Name
	thief.cookies = map[string]*http.Cookie{stolen.Name: stolen, renamed.Name: &renamed}
	assert.Equal(t, http.StatusBadRequest, thief.post(own).StatusCode, "a cookie is good under its own name alone")
	assert.Equal(t, http.StatusBadRequest, thief.query(url.Values{"state": {""}, "code": own["code"]}).StatusCode)
	mixed := url.Values{"state": values["state"], "code": own["code"], "iss": own["iss"]}
	assert.Equal(t, http.StatusBadGateway, thief.post(mixed).StatusCode)
	assert.Nil(t, thief.session())
	session := *stolen
	session.Name = "__Host-piecesauth"
	c := newClient(t, server, app)
	c.signIn()
	session.Name = c.session().Name
	thief.cookies = map[string]*http.Cookie{session.Name: &session}
	assert.Equal(t, http.StatusSeeOther, thief.get("/account").StatusCode, "an attempt is no session")
}

// TestTwoTabs: sign-ins that are under way at once don't collide.
func TestTwoTabs(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server, withTokens(new(stores))))
	first := c.begin("/auth/signin?next=/account")
	second := c.begin("/auth/signin")
	assert.Len(t, c.named("-a-"), 2)
	response := c.post(second)
	require.Equal(t, http.StatusSeeOther, response.StatusCode)
	assert.Equal(t, appURL+"/", response.Header.Get("Location"))
	response = c.post(first)
	require.Equal(t, http.StatusSeeOther, response.StatusCode)
	assert.Equal(t, appURL+"/account", response.Header.Get("Location"))
	assert.Contains(t, c.text("/account"), "Ada Lovelace")
}

// TestTwoTabsOneSession: of two sign-ins at once the later takes the place of
// the earlier, where the browser brings its cookie.
func TestTwoTabsOneSession(t *testing.T) {
	server := newServer(t)
	all := new(stores)
	c := newClient(t, server, newApp(t, server, byQuery, withTokens(all)))
	first, second := c.begin("/auth/signin"), c.begin("/auth/signin")
	require.Equal(t, http.StatusSeeOther, c.query(second).StatusCode)
	require.Equal(t, http.StatusSeeOther, c.query(first).StatusCode)
	assert.Len(t, all.ids(), 1)
	assert.Len(t, c.named("-seen-"), 1)
	assert.Contains(t, c.text("/account"), all.ids()[0])
}

// TestAttemptsAreFew: however often a site sends the browser to the sign-in, the
// cookies stay few, and the newest attempts good.
func TestAttemptsAreFew(t *testing.T) {
	for name, edit := range map[string]func(*setup){"form_post": func(*setup) {}, "query": byQuery} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t)
			c := newClient(t, server, newApp(t, server, edit))
			var all []url.Values
			for i := range 20 {
				all = append(all, c.begin("/auth/signin"))
				assert.Len(t, c.named("-a-"), min(i+1, 5))
			}
			size := 0
			for name, cookie := range c.cookies {
				size += len(name) + len(cookie.Value) + 3
			}
			assert.Less(t, size, 3000, "of the Cookie header")
			newest := c.copied()
			for _, values := range all[15:] {
				assert.Equal(t, http.StatusSeeOther, newest.query(values).StatusCode)
			}
			assert.Equal(t, http.StatusBadRequest, c.query(all[14]).StatusCode)
		})
	}
	for name, header := range map[string]headers{
		"an image":   {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
		"a frame":    {"Sec-Fetch-Dest": "iframe"},
		"a script":   {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
		"a prefetch": {"Sec-Purpose": "prefetch;prerender"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t)
			c := newClient(t, server, newApp(t, server))
			header["Sec-Fetch-Site"] = "cross-site"
			response := c.request(http.MethodGet, "/auth/signin", nil, header)
			assert.Equal(t, http.StatusBadRequest, response.StatusCode)
			assert.Empty(t, c.cookies)
		})
	}
	t.Run("an older browser", func(t *testing.T) {
		server := newServer(t)
		c := newClient(t, server, newApp(t, server))
		none := headers{"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "Sec-Fetch-Site": "", "Accept": "*/*"}
		assert.Equal(t, http.StatusSeeOther, c.request(http.MethodGet, "/auth/signin", nil, none).StatusCode)
	})
}

// TestNext: no link through the sign-in leads away from the application.
func TestNext(t *testing.T) {
	server := newServer(t)
	for next, want := range map[string]string{
		"":                              "/",
		"/":                             "/",
		"/account":                      "/account",
		"/account?a=b&c=//d#e":          "/account?a=b&c=//d#e",
		"/caf%C3%A9?q=%2F%2f":           "/caf%C3%A9?q=%2F%2f",
		"/café?q=é":                     "/caf%C3%A9?q=%C3%A9",
		"/a%2Fb":                        "/a%2Fb",
		"account":                       "/",
		"https://evil.example":          "/",
		"https:evil.example":            "/",
		"//evil.example":                "/",
		"///evil.example":               "/",
		"/\\evil.example":               "/",
		"\\\\evil.example":              "/",
		"\\/evil.example":               "/",
		"/a\\..\\evil":                  "/",
		"/%5cevil.example":              "/",
		"/%2fevil.example":              "/",
		"/%2F%2Fevil.example":           "/",
		"/\t/evil.example":              "/",
		"/\n/evil.example":              "/",
		"/\u0085/evil.example":          "/",
		"/%09/evil.example":             "/",
		" //evil.example":               "/",
		"/ /evil.example":               "/",
		"javascript:alert(1)":           "/",
		"/a\r\nSet-Cookie: b=c":         "/",
		"/a%0d%0aSet-Cookie:%20b=c":     "/",
		"/..//evil.example":             "/",
		"/a/%2e%2e//evil.example":       "/",
		"/\x00":                         "/",
		"/\xff":                         "/",
		"/%zz":                          "/",
		"@evil.example":                 "/",
		".evil.example":                 "/",
		":443@evil.example":             "/",
		"/auth/signin":                  "/", // no loop
		"/auth/signout":                 "/",
		"/" + strings.Repeat("x", 2000): "/", // no cookie is that large
	} {
		t.Run(fmt.Sprintf("%.40q", next), func(t *testing.T) {
			c := newClient(t, server, newApp(t, server))
			response := c.post(c.begin("/auth/signin?next=" + url.QueryEscape(next)))
			require.Equal(t, http.StatusSeeOther, response.StatusCode)
			assert.Equal(t, appURL+want, response.Header.Get("Location"))
		})
	}
}

// TestUnavailable: what is wrong with the server or the store is found before
// the code is spent, where it can be, and nobody is signed in.
func TestUnavailable(t *testing.T) {
	t.Run("store", func(t *testing.T) {
		server := newServer(t)
		all := new(stores)
		c := newClient(t, server, newApp(t, server, withTokens(all)))
		values := c.begin("/auth/signin")
		down := errors.New("down")
		all.fail.Store(&down)
		assert.Equal(t, http.StatusServiceUnavailable, c.post(values).StatusCode)
		assert.Nil(t, c.session())
		assert.Zero(t, server.Count(piecesauthtest.Exchange), "no code was spent")
	})
	t.Run("server", func(t *testing.T) {
		server := newServer(t)
		c := newClient(t, server, newApp(t, server))
		server.Fail(piecesauthtest.Exchange, piecesauthtest.Fault{Status: 503, RetryAfter: 120e9})
		response := c.post(c.begin("/auth/signin"))
		assert.Equal(t, http.StatusBadGateway, response.StatusCode)
		assert.Equal(t, "120", response.Header.Get("Retry-After"))
		assert.Nil(t, c.session())
	})
}

// TestPathPrefix: an application that isn't all of its host.
func TestPathPrefix(t *testing.T) {
	server := newServer(t)
	h := newHandler(t, server, func(s *setup) { s.web.URL = appURL + "/app/" })
	mux := http.NewServeMux()
	mux.Handle("/app/", http.StripPrefix("/app", pages(h)))
	for name, app := range map[string]http.Handler{
		"the router takes it off": mux,
		"the proxy takes it off": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RequestURI = strings.TrimPrefix(r.RequestURI, "/app")
			r.URL.Path = strings.TrimPrefix(r.URL.Path, "/app")
			pages(h).ServeHTTP(w, r)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, server, app)
			response := c.get("/app/account")
			assert.Equal(t, appURL+"/app/auth/signin?next=%2Fapp%2Faccount", response.Header.Get("Location"))
			values := c.begin("/app/auth/signin?next=%2Fapp%2Faccount")
			response = c.request(http.MethodPost, "/app/auth/callback", values, headers{"Sec-Fetch-Site": "cross-site"})
			require.Equal(t, http.StatusSeeOther, response.StatusCode)
			assert.Equal(t, appURL+"/app/account", response.Header.Get("Location"))
			values = c.begin("/app/auth/signin?next=/other")
			response = c.request(http.MethodPost, "/app/auth/callback", values, headers{"Sec-Fetch-Site": "cross-site"})
			assert.Equal(t, appURL+"/app/", response.Header.Get("Location"), "not to another application on the host")
		})
	}
}

// TestProxy: what a request says of host and scheme decides nothing.
func TestProxy(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server))
	header := headers{"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "Forwarded": "host=evil.example"}
	response := c.request(http.MethodGet, "http://10.0.0.1:8080/account", nil, header)
	assert.Equal(t, appURL+"/auth/signin?next=%2Faccount", response.Header.Get("Location"))
	response = c.request(http.MethodGet, "http://10.0.0.1:8080/auth/signin", nil, header)
	to, err := response.Location()
	require.NoError(t, err)
	assert.Equal(t, appURL+"/auth/callback", to.Query().Get("redirect_uri"))
	assert.True(t, response.Cookies()[0].Secure)
	c.signIn()
	header["Origin"] = appURL
	header["Sec-Fetch-Site"] = "" // an older browser
	response = c.request(http.MethodPost, "http://10.0.0.1:8080/auth/signout", url.Values{}, header)
	assert.Equal(t, http.StatusSeeOther, response.StatusCode)
	assert.Equal(t, server.URL+"/v2/logout?client_id="+server.ClientID+"&returnTo="+url.QueryEscape(appURL+"/"), response.Header.Get("Location"))
}

var cookieName = regexp.MustCompile(`^__Host-piecesauth-[\w-]{8}(-seen-[A-Z2-7]{8}|-a-[\w-]{16})?$`)

func TestCookies(t *testing.T) {
	server := newServer(t)
	for name, test := range map[string]struct {
		edit func(*setup)
		site http.SameSite
	}{"form_post": {func(*setup) {}, http.SameSiteNoneMode}, "query": {byQuery, http.SameSiteLaxMode}} {
		t.Run(name, func(t *testing.T) {
			all := new(stores)
			c := newClient(t, server, newApp(t, server, test.edit, withTokens(all)))
			c.person = &piecesauthtest.Person{Sub: "auth0|" + strings.Repeat("5", 24), Name: "Ada Lovelace", Email: "ada@example.com"}
			values := c.begin("/auth/signin?next=/account")
			attempt := c.named("-a-")[0]
			assert.Equal(t, test.site, attempt.SameSite)
			assert.InDelta(t, 600, attempt.MaxAge, 2)
			require.Equal(t, http.StatusSeeOther, c.query(values).StatusCode)
			require.Len(t, c.cookies, 3)
			assert.Equal(t, 12*3600, c.session().MaxAge)
			assert.Equal(t, 2*3600, c.named("-seen-")[0].MaxAge)
			for _, cookie := range append([]*http.Cookie{attempt, c.named("-a-")[0]}, c.session(), c.named("-seen-")[0]) {
				assert.Regexp(t, cookieName, cookie.Name)
				assert.True(t, cookie.Secure && cookie.HttpOnly, cookie.Name)
				assert.Equal(t, "/", cookie.Path)
				assert.Empty(t, cookie.Domain)
				assert.Less(t, len(cookie.String()), 1024, cookie.Name)
				if !strings.Contains(cookie.Name, "-a-") {
					assert.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
				}
			}
			for _, secret := range []string{values.Get("code"), values.Get("state"), all.ids()[0], "Ada", "auth0"} {
				assert.NotContains(t, fmt.Sprint(attempt, c.cookies), secret)
			}
		})
	}
	t.Run("on loopback", func(t *testing.T) {
		c := newClient(t, server, newApp(t, server, func(s *setup) { s.web.URL = "http://127.0.0.1:1" }))
		values := c.begin("/auth/signin")
		attempt := c.named("-a-")[0]
		assert.True(t, attempt.Secure, "SameSite=None has to be, and is sent to this machine")
		require.Equal(t, http.StatusSeeOther, c.post(values).StatusCode)
		assert.True(t, strings.HasPrefix(c.session().Name, "piecesauth-"), c.session().Name)
		assert.False(t, c.session().Secure)
	})
}

// TestTampering: a cookie that was changed, cut or renamed is none.
func TestTampering(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server))
	c.signIn()
	session, seen := c.session(), c.named("-seen-")[0]
	good := *session
	for name, value := range map[string]string{
		"empty": "", "not base64": "!", "short": "AAAA", "cut": good.Value[:len(good.Value)-4],
		"changed": "B" + good.Value[1:], "another cookie's": seen.Value,
	} {
		c.cookies[good.Name] = &http.Cookie{Name: good.Name, Value: value}
		assert.Equal(t, "hello stranger", c.text("/"), name)
	}
	c.cookies[good.Name] = &good
	assert.Equal(t, "hello Ada Lovelace", c.text("/"))
	delete(c.cookies, seen.Name)
	assert.Equal(t, "hello stranger", c.text("/"), "without the time of the last request")
}

// TestNeighbours: applications on one host, with the same keys, don't take each
// other's cookies, nor lose their own.
func TestNeighbours(t *testing.T) {
	server := newServer(t)
	one := newHandler(t, server)
	two := newHandler(t, server, func(s *setup) { s.web.Prefix = "/sso/" })
	three := newHandler(t, server, func(s *setup) { s.auth.ClientID = "three" })
	c := newClient(t, server, pages(one))
	c.signIn()
	name := c.session().Name
	for _, other := range []*web.Handler{two, three} {
		d := newClient(t, server, other)
		d.get("/signin")
		base, _, _ := strings.Cut(d.named("-a-")[0].Name, "-a-")
		assert.NotEqual(t, name, base)
		seen := base + strings.TrimPrefix(c.named("-seen-")[0].Name, name)
		d.cookies = map[string]*http.Cookie{
			base: {Name: base, Value: c.cookies[name].Value},
			seen: {Name: seen, Value: c.named("-seen-")[0].Value},
		}
		d.app = pages(other)
		assert.Equal(t, "hello stranger", d.text("/"))
	}
}

// TestKeys: a key that rotates signs nobody out, in the middle of a sign-in
// either.
func TestKeys(t *testing.T) {
	server := newServer(t)
	with := func(keys ...byte) http.Handler {
		return newApp(t, server, func(s *setup) { s.web.Sealer = newSealer(t, keys...) })
	}
	c := newClient(t, server, with(0))
	values := c.begin("/auth/signin")
	c.app = with(0, 1)
	require.Equal(t, http.StatusSeeOther, c.post(values).StatusCode)
	c.app = with(1, 0)
	assert.Equal(t, "hello Ada Lovelace", c.text("/"))
	c.app = with(1)
	assert.Equal(t, "hello stranger", c.text("/"))
}
