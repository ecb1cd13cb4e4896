package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testURL = "https://app.example.com"

// newReplica gives an application at appURL, with an Authenticator of its own.
func newReplica(t *testing.T, server *piecesauthtest.Server, appURL string, keys ...string) http.Handler {
	t.Helper()
	config := server.Config()
	config.RedirectURL = appURL + "/callback"
	config.HTTPClient = server.Client()
	auth, err := piecesauth.New(config)
	require.NoError(t, err)
	app, err := newApp(auth, appURL, keys...)
	require.NoError(t, err)
	handler, err := app.handler()
	require.NoError(t, err)
	return handler
}

func newServer(t *testing.T) *piecesauthtest.Server {
	t.Helper()
	server := piecesauthtest.NewServer(piecesauthtest.Options{RedirectURLs: []string{testURL + "/callback"}})
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, app http.Handler, target string, cookies ...*http.Cookie) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	return w.Result()
}

// post posts a form as a browser does that the auth server's page sent.
func post(t *testing.T, app http.Handler, target string, form url.Values, cookies ...*http.Cookie) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, testURL+target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "null")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

// begin begins a sign-in, and has someone go through with it at the server.
func begin(t *testing.T, app http.Handler, server *piecesauthtest.Server, target string) (attempt *http.Cookie, callback url.Values) {
	t.Helper()
	response := get(t, app, target)
	require.Equal(t, http.StatusSeeOther, response.StatusCode)
	require.Len(t, response.Cookies(), 1)
	callback, err := server.Browser().SignIn(t.Context(), response.Header.Get("Location"))
	require.NoError(t, err)
	return response.Cookies()[0], callback
}

// signIn gives the cookie of a session.
func signIn(t *testing.T, app http.Handler, server *piecesauthtest.Server) *http.Cookie {
	t.Helper()
	attempt, callback := begin(t, app, server, "/signin")
	response := post(t, app, "/callback", callback, attempt)
	require.Equal(t, http.StatusSeeOther, response.StatusCode, text(t, response))
	require.Len(t, response.Cookies(), 2)
	return response.Cookies()[1]
}

// TestReplicas: two applications that share nothing but keys answer in turn.
func TestReplicas(t *testing.T) {
	server := newServer(t)
	key := newKey()
	var replicas []http.Handler
	var turn atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		replicas[turn.Add(1)%2].ServeHTTP(w, r)
	}))
	defer front.Close()
	for range 2 {
		replicas = append(replicas, newReplica(t, server, front.URL, key))
	}

	browser := server.Browser()
	page, err := browser.Open(t.Context(), front.URL+"/account") // leads to the sign-in, and back
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status, page.Body)
	assert.Equal(t, front.URL+"/account", page.URL)
	assert.Contains(t, page.Body, "Ada Lovelace")
	assert.Equal(t, 1, server.Count(piecesauthtest.Exchange))

	for range 2 { // either replica knows
		page, err = browser.Open(t.Context(), front.URL+"/")
		require.NoError(t, err)
		assert.Contains(t, page.Body, "Ada Lovelace")
	}
}

func TestTwoTabs(t *testing.T) {
	server := newServer(t)
	app := newReplica(t, server, testURL, newKey())
	first, firstCallback := begin(t, app, server, "/signin?next=/account")
	second, secondCallback := begin(t, app, server, "/signin")

	response := post(t, app, "/callback", secondCallback, first, second)
	require.Equal(t, http.StatusSeeOther, response.StatusCode, text(t, response))
	assert.Equal(t, "/", response.Header.Get("Location"))
	response = post(t, app, "/callback", firstCallback, first)
	require.Equal(t, http.StatusSeeOther, response.StatusCode, text(t, response))
	assert.Equal(t, "/account", response.Header.Get("Location"))
}

func TestCookies(t *testing.T) {
	server := newServer(t)
	app := newReplica(t, server, testURL, newKey())
	attempt, callback := begin(t, app, server, "/signin")
	assert.Equal(t, attemptPrefix+callback.Get("state"), attempt.Name)
	assert.Equal(t, http.SameSiteNoneMode, attempt.SameSite)
	assert.Equal(t, 600, attempt.MaxAge)

	response := post(t, app, "/callback", callback, attempt)
	cookies := response.Cookies()
	require.Len(t, cookies, 2)
	removed, session := cookies[0], cookies[1]
	assert.Equal(t, attempt.Name, removed.Name)
	assert.Negative(t, removed.MaxAge)
	assert.Equal(t, sessionCookie, session.Name)
	assert.Equal(t, http.SameSiteLaxMode, session.SameSite)

	for _, cookie := range []*http.Cookie{attempt, session} {
		assert.True(t, cookie.Secure && cookie.HttpOnly, cookie.Name)
		assert.Equal(t, "/", cookie.Path)
		assert.Empty(t, cookie.Domain)
		assert.Less(t, len(cookie.String()), 1200, "far below the 4096 bytes that a browser keeps")
		// What is inside can't be seen.
		outer, err := base64.URLEncoding.DecodeString(cookie.Value)
		require.NoError(t, err)
		inner := strings.Split(string(outer), "|")
		require.GreaterOrEqual(t, len(inner), 3)
		plain, err := base64.URLEncoding.DecodeString(inner[1])
		require.NoError(t, err)
		assert.NotContains(t, string(plain), "code_verifier")
		assert.NotContains(t, string(plain), "sub")
	}
	assert.Equal(t, "no-store", get(t, app, "/", session).Header.Get("Cache-Control"))
}

func TestCallbackRefused(t *testing.T) {
	server := newServer(t)
	key := newKey()
	app := newReplica(t, server, testURL, key)
	strange := newReplica(t, server, testURL, newKey())
	long := strings.Repeat("x", 1<<17)

	for _, test := range []struct {
		name    string
		status  int
		request func(attempt *http.Cookie, callback url.Values) *http.Response
	}{
		{"in another browser", 400, func(_ *http.Cookie, callback url.Values) *http.Response {
			return post(t, app, "/callback", callback)
		}},
		{"state of nobody", 400, func(attempt *http.Cookie, callback url.Values) *http.Response {
			callback.Set("state", "x")
			return post(t, app, "/callback", callback, attempt)
		}},
		{"no state", 400, func(attempt *http.Cookie, callback url.Values) *http.Response {
			callback.Del("state")
			return post(t, app, "/callback", callback, attempt)
		}},
		{"another attempt's cookie under this name", 400, func(attempt *http.Cookie, callback url.Values) *http.Response {
			other, _ := begin(t, app, server, "/signin")
			other.Name = attempt.Name
			return post(t, app, "/callback", callback, other)
		}},
		{"a cookie that was changed", 400, func(attempt *http.Cookie, callback url.Values) *http.Response {
			changed := &http.Cookie{Name: attempt.Name, Value: "A" + attempt.Value[1:]} //nolint:gosec // as a browser sends it
			return post(t, app, "/callback", callback, changed)
		}},
		{"other keys", 400, func(attempt *http.Cookie, callback url.Values) *http.Response {
			return post(t, strange, "/callback", callback, attempt)
		}},
		{"too much", 400, func(attempt *http.Cookie, callback url.Values) *http.Response {
			callback.Set("more", long)
			return post(t, app, "/callback", callback, attempt)
		}},
		{"in the query", 400, func(attempt *http.Cookie, callback url.Values) *http.Response {
			return post(t, app, "/callback?"+callback.Encode(), nil, attempt)
		}},
		{"by GET", 405, func(attempt *http.Cookie, callback url.Values) *http.Response {
			return get(t, app, "/callback?"+callback.Encode(), attempt)
		}},
		{"state twice", 502, func(attempt *http.Cookie, callback url.Values) *http.Response {
			callback.Add("state", "x")
			return post(t, app, "/callback", callback, attempt)
		}},
		{"a code of someone else's making", 502, func(attempt *http.Cookie, callback url.Values) *http.Response {
			callback.Set("code", "x")
			return post(t, app, "/callback", callback, attempt)
		}},
		{"the answer of another sign-in", 502, func(attempt *http.Cookie, callback url.Values) *http.Response {
			_, other := begin(t, app, server, "/signin")
			callback.Set("code", other.Get("code"))
			return post(t, app, "/callback", callback, attempt)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			attempt, callback := begin(t, app, server, "/signin")
			response := test.request(attempt, callback)
			assert.Equal(t, test.status, response.StatusCode)
			for _, cookie := range response.Cookies() {
				assert.NotEqual(t, sessionCookie, cookie.Name, "nobody is signed in")
			}
		})
	}
}

// TestReplay: the browser drops the cookie with the first callback. Who kept
// it finds that the code is used, and the server takes back what it gave.
func TestReplay(t *testing.T) {
	server := newServer(t)
	app := newReplica(t, server, testURL, newKey())
	attempt, callback := begin(t, app, server, "/signin")
	require.Equal(t, http.StatusSeeOther, post(t, app, "/callback", callback, attempt).StatusCode)
	assert.Equal(t, http.StatusBadRequest, post(t, app, "/callback", callback).StatusCode)
	assert.Equal(t, http.StatusBadGateway, post(t, app, "/callback", callback, attempt).StatusCode)
}

func TestDenied(t *testing.T) {
	server := newServer(t)
	app := newReplica(t, server, testURL, newKey())
	begun := get(t, app, "/signin")
	browser := server.Browser()
	browser.Deny = true
	callback, err := browser.SignIn(t.Context(), begun.Header.Get("Location"))
	require.NoError(t, err)
	response := post(t, app, "/callback", callback, begun.Cookies()[0])
	assert.Equal(t, http.StatusForbidden, response.StatusCode)
	assert.Contains(t, text(t, response), "You chose not to sign in.")
}

// TestLifetime: a cookie that a browser keeps too long is no longer taken.
func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, err := newApp(nil, testURL, newKey())
		require.NoError(t, err)
		w := httptest.NewRecorder()
		require.NoError(t, write(w, sessionCookie, session{Subject: "ada"}, app.sessions, sessionLifetime, http.SameSiteLaxMode))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.AddCookie(w.Result().Cookies()[0])

		time.Sleep(sessionLifetime - time.Second) // in the bubble's time
		s, ok := app.session(r)
		require.True(t, ok)
		assert.Equal(t, "ada", s.Subject)
		time.Sleep(2 * time.Second)
		_, ok = app.session(r)
		assert.False(t, ok)
	})
}

func TestKeys(t *testing.T) {
	server := newServer(t)
	oldKey, key := newKey(), newKey()
	session := signIn(t, newReplica(t, server, testURL, oldKey), server)
	assert.Contains(t, text(t, get(t, newReplica(t, server, testURL, key, oldKey), "/", session)), "Ada Lovelace")
	assert.NotContains(t, text(t, get(t, newReplica(t, server, testURL, key), "/", session)), "Ada Lovelace")
	for _, bad := range []string{"", "x", base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		_, err := newApp(nil, testURL, key, bad)
		require.ErrorContains(t, err, "key 2")
	}
}

func TestSignOut(t *testing.T) {
	server := newServer(t)
	app := newReplica(t, server, testURL, newKey())
	session := signIn(t, app, server)
	for _, test := range []struct {
		name, method string
		header       http.Header
		status       int
	}{
		{"from our page", http.MethodPost, http.Header{"Sec-Fetch-Site": {"same-origin"}}, http.StatusSeeOther},
		{"from our page, in an older browser", http.MethodPost, http.Header{"Origin": {testURL}}, http.StatusSeeOther},
		{"from another site", http.MethodPost, http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden},
		{"from a neighbour", http.MethodPost, http.Header{"Sec-Fetch-Site": {"same-site"}}, http.StatusForbidden},
		{"from another site, in an older browser", http.MethodPost, http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden},
		{"by a link", http.MethodGet, http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusMethodNotAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), test.method, "http://10.0.0.1:8080/signout", nil) // as a proxy may send it
			r.Header = test.header
			r.AddCookie(session)
			w := httptest.NewRecorder()
			app.ServeHTTP(w, r)
			response := w.Result()
			require.Equal(t, test.status, response.StatusCode)
			if test.status != http.StatusSeeOther {
				assert.Empty(t, response.Cookies())
				return
			}
			require.Len(t, response.Cookies(), 1)
			assert.Equal(t, sessionCookie, response.Cookies()[0].Name)
			assert.Negative(t, response.Cookies()[0].MaxAge)
			to, err := response.Location()
			require.NoError(t, err)
			assert.Equal(t, server.URL+"/v2/logout", to.Scheme+"://"+to.Host+to.Path)
			assert.Equal(t, testURL+"/", to.Query().Get("returnTo"))
		})
	}
}

func TestLocalPath(t *testing.T) {
	for next, want := range map[string]string{
		"":                      "/",
		"/":                     "/",
		"/account":              "/account",
		"/account?a=b&c=//d":    "/account?a=b&c=//d",
		"account":               "/",
		"https://evil.example":  "/",
		"//evil.example":        "/",
		"/\\evil.example":       "/",
		"\\\\evil.example":      "/",
		"/\t/evil.example":      "/",
		"/\n/evil.example":      "/",
		" //evil.example":       "/",
		"javascript:alert(1)":   "/",
		"/a\r\nSet-Cookie: b=c": "/",
	} {
		assert.Equal(t, want, localPath(next), "%q", next)
	}
}

// TestRun runs the program as it is without flags, with its own auth server.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"-addr", "127.0.0.1:0"}, newKey(), in) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	address := strings.Fields(line)[1]

	browser := piecesauthtest.NewServer(piecesauthtest.Options{}) // only for its browser's cookies
	defer browser.Close()
	page, err := browser.Browser().Open(ctx, address+"/")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status)
	assert.Contains(t, page.Body, "Sign in with Pieces")
	page, err = browser.Browser().Open(ctx, address+"/signin")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status)
	assert.Contains(t, page.Body, "This is a server for tests")

	browser.Client().CloseIdleConnections()
	cancel()
	require.NoError(t, <-ended)
}

func TestRunRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		keys string
		want string
	}{
		"bad key":     {[]string{"-addr", "127.0.0.1:0"}, "x", "WEBAPP_KEYS"},
		"bad server":  {[]string{"-addr", "127.0.0.1:0", "-base-url", "http://example.com", "-client-id", "x"}, newKey(), "BaseURL"},
		"bad address": {[]string{"-addr", "nonsense"}, newKey(), "nonsense"},
		"bad url":     {[]string{"-addr", "127.0.0.1:0", "-url", "app.example.com"}, newKey(), "RedirectURL"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), test.args, test.keys, io.Discard)
			require.ErrorContains(t, err, test.want)
		})
	}
}
