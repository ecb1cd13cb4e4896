package piecesauthtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func authorizationServer(t *testing.T) *piecesauthtest.Server {
	t.Helper()
	return newServer(t, piecesauthtest.Options{RedirectURLs: []string{"https://app.example.com/cb", "com.example.app:/cb"}})
}

func TestAuthorizePages(t *testing.T) {
	server := authorizationServer(t)
	t.Run("a page to sign in on", func(t *testing.T) {
		a := get(t, server, authorizeURL(server, nil))
		require.Equal(t, 302, a.StatusCode)
		location, err := a.Location()
		require.NoError(t, err)
		assert.Equal(t, "/login", location.Path)
		assert.Equal(t, "the state", location.Query().Get("state"))
		a = get(t, server, location.String())
		assert.Equal(t, 200, a.StatusCode)
		assert.Contains(t, a.Header.Get("Content-Type"), "text/html")
		assert.Contains(t, a.body, "Ada Lovelace")
		assert.Contains(t, a.body, `<form id="login" method="post"`)
	})

	for name, test := range map[string]struct {
		changes values
		want    string
	}{
		"unknown client":           {values{"client_id": "other"}, "client_id is missing or unknown"},
		"no client":                {values{"client_id": ""}, "client_id is missing or unknown"},
		"unregistered redirect":    {values{"redirect_uri": "https://evil.example.com/cb"}, "redirect_uri is not registered"},
		"registered but for a bit": {values{"redirect_uri": "https://app.example.com/cb/"}, "redirect_uri is not registered"},
		"looks like loopback":      {values{"redirect_uri": "http://127.0.0.1.example.com/cb"}, "redirect_uri is not registered"},
		"redirect with fragment":   {values{"redirect_uri": redirectURI + "#x"}, "without a fragment"},
		"relative redirect":        {values{"redirect_uri": "/cb"}, "not an absolute URL"},
	} {
		t.Run("page: "+name, func(t *testing.T) {
			a := get(t, server, authorizeURL(server, test.changes))
			assert.Equal(t, 400, a.StatusCode)
			assert.Empty(t, a.Header.Get("Location"))
			assert.Contains(t, a.body, test.want)
			_, err := server.Browser().SignIn(t.Context(), authorizeURL(server, test.changes))
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestAuthorizeRedirectURLs(t *testing.T) {
	server := authorizationServer(t)
	for _, uri := range []string{
		"http://127.0.0.1:1/a", "http://[::1]:65535/b?c=d", "http://localhost:3000/pkce/response/code", "http://127.0.0.1/x",
		"https://app.example.com/cb", "com.example.app:/cb",
	} {
		t.Run("allowed: "+uri, func(t *testing.T) {
			assert.Len(t, signIn(t, server, values{"redirect_uri": uri}), 52)
		})
	}
	t.Run("unregistered redirect left out", func(t *testing.T) {
		callback, err := server.Browser().SignIn(t.Context(), authorizeURL(server, values{"redirect_uri": ""}))
		require.NoError(t, err)
		a := redeem(t, server, callback.Get("code"), values{"redirect_uri": ""})
		assert.Equal(t, 200, a.StatusCode, a.body)
	})
}

func TestAuthorizeErrors(t *testing.T) {
	server := authorizationServer(t)
	for name, test := range map[string]struct {
		changes values
		code    string
		want    string
	}{
		"missing challenge": {values{"code_challenge": ""}, "invalid_request", "parameter code_challenge is missing"},
		"missing scope":     {values{"scope": ""}, "invalid_request", "parameter scope is missing"},
		"missing audience":  {values{"audience": ""}, "invalid_request", "parameter audience is missing"},
		"missing mode":      {values{"response_mode": ""}, "invalid_request", "parameter response_mode is missing"},
		"unknown mode":      {values{"response_mode": "pigeon"}, "invalid_request", "response_mode is none of"},
		"implicit":          {values{"response_type": "token"}, "unsupported_response_type", "response_type has to be code"},
		"plain challenge":   {values{"code_challenge_method": "plain"}, "invalid_request", "has to be S256"},
		"short challenge":   {values{"code_challenge": "abc"}, "invalid_request", "not the base64url form"},
		"prompt none login": {values{"prompt": "none login"}, "invalid_request", "prompt none goes with no other"},
		"max_age no number": {values{"max_age": "soon"}, "invalid_request", "max_age"},
		"negative max_age":  {values{"max_age": "-1"}, "invalid_request", "max_age is negative"},
		"silent":            {values{"prompt": "none"}, "login_required", "Login required"},
	} {
		t.Run("redirected: "+name, func(t *testing.T) {
			a := get(t, server, authorizeURL(server, test.changes))
			require.Equal(t, 302, a.StatusCode, a.body)
			location, err := a.Location()
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(location.String(), redirectURI+"?"), location)
			q := location.Query()
			assert.Equal(t, test.code, q.Get("error"))
			assert.Contains(t, q.Get("error_description"), test.want)
			assert.Equal(t, "the state", q.Get("state"))
			assert.Equal(t, server.Issuer, q.Get("iss"))
			assert.Empty(t, q.Get("code"))
		})
	}
}

func TestAuthorizeRawRequest(t *testing.T) {
	server := authorizationServer(t)
	good := authorizeURL(server, nil)
	for name, test := range map[string]struct {
		url    string
		header []string
		want   string
	}{
		"repeated":      {good + "&state=2", nil, "parameter state is repeated"},
		"empty":         {good + "&prompt=", nil, "parameter prompt is empty"},
		"semicolon":     {good + "&a;b", nil, "the query cannot be parsed"},
		"authorization": {good, []string{"Authorization", "Bearer x"}, "no Authorization header"},
	} {
		t.Run(name, func(t *testing.T) {
			a := get(t, server, test.url, test.header...)
			assert.Equal(t, 400, a.StatusCode)
			assert.Contains(t, a.body, test.want)
		})
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, good, strings.NewReader("body"))
	require.NoError(t, err)
	assert.Contains(t, do(t, server, r).body, "a GET has no body")
	a := post(t, server, "/authorize", authorizeQuery.with(nil).Encode())
	assert.Equal(t, 405, a.StatusCode)
}

func TestScopesKeepCommas(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	assert.Equal(t, "openid read:a,b x", tokens(t, server, values{"scope": "openid read:a,b x"})["scope"])
}

func TestResponseModes(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{FormPostErrorStatus: 400})
	for _, mode := range []string{"query", "fragment", "form_post", "web_message"} {
		t.Run(mode, func(t *testing.T) {
			state := `"><script>&+ %é`
			there := authorizeURL(server, values{"response_mode": mode, "state": state})
			callback, err := server.Browser().SignIn(t.Context(), there)
			require.NoError(t, err)
			assert.Equal(t, state, callback.Get("state"))
			assert.Equal(t, server.Issuer, callback.Get("iss"))
			assert.Len(t, callback, 3)
			assert.Equal(t, 200, redeem(t, server, callback.Get("code"), nil).StatusCode)

			refusing := server.Browser()
			refusing.Deny = true
			callback, err = refusing.SignIn(t.Context(), there)
			require.NoError(t, err)
			assert.Equal(t, "access_denied", callback.Get("error"))
			assert.Equal(t, state, callback.Get("state"))
			assert.Equal(t, server.Issuer, callback.Get("iss"))
			assert.Empty(t, callback.Get("code"))

			a := get(t, server, authorizeURL(server, values{"response_mode": mode, "prompt": "none"}))
			want := map[string]int{"form_post": 400, "web_message": 200}[mode]
			if want == 0 {
				want = 302
				assert.True(t, strings.HasPrefix(a.Header.Get("Location"), redirectURI+map[string]string{"query": "?", "fragment": "#"}[mode]))
			} else {
				assert.Contains(t, a.Header.Get("Content-Type"), "text/html")
				assert.Contains(t, a.body, "login_required")
			}
			assert.Equal(t, want, a.StatusCode)
			assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		})
	}
}

func TestSession(t *testing.T) {
	now := time.Now()
	server := newServer(t, piecesauthtest.Options{Now: func() time.Time { return now }})
	browser := server.Browser()
	outcome := func(changes values) string {
		before := server.Count(piecesauthtest.Login)
		callback, err := browser.SignIn(t.Context(), authorizeURL(server, changes))
		require.NoError(t, err)
		page := ""
		if server.Count(piecesauthtest.Login) > before {
			page = " by the page"
		}
		if callback.Has("error") {
			return callback.Get("error") + page
		}
		return "code" + page
	}
	assert.Equal(t, "login_required", outcome(values{"prompt": "none"}))
	assert.Equal(t, "code by the page", outcome(nil))
	assert.Equal(t, "code", outcome(nil))
	assert.Equal(t, "code", outcome(values{"prompt": "none"}))
	assert.Equal(t, "code by the page", outcome(values{"prompt": "login"}))
	signedIn := now
	now = now.Add(time.Minute)
	assert.Equal(t, "code", outcome(values{"max_age": "61"}))
	assert.Equal(t, "login_required", outcome(values{"max_age": "59", "prompt": "none"}))
	claims, err := verify(t, server, redeem(t, server, func() string {
		callback, err := browser.SignIn(t.Context(), authorizeURL(server, nil))
		require.NoError(t, err)
		return callback.Get("code")
	}(), nil).json(t)["id_token"])
	require.NoError(t, err)
	assert.EqualValues(t, signedIn.Unix(), claims["auth_time"])
	assert.EqualValues(t, now.Unix(), claims["iat"])
	assert.Equal(t, "code by the page", outcome(values{"max_age": "59"}))
	assert.Equal(t, "code by the page", outcome(values{"max_age": "0"}))

	page, err := browser.Open(t.Context(), server.URL+"/v2/logout?client_id=piecesauthtest")
	require.NoError(t, err)
	assert.Equal(t, 200, page.Status)
	assert.Contains(t, page.Body, "Signed out")
	assert.Equal(t, "login_required", outcome(values{"prompt": "none"}))
	assert.Equal(t, "code by the page", outcome(nil))

	server.Revoke()
	assert.Equal(t, "login_required", outcome(values{"prompt": "none"}))
}

func TestSessionEndsAtTheServer(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	// The session ends at the server, whoever kept its cookie.
	login := post(t, server, "/login?"+authorizeQuery.with(nil).Encode(), "action=signin")
	require.Len(t, login.Cookies(), 1)
	cookie := []string{"Cookie", login.Cookies()[0].Name + "=" + login.Cookies()[0].Value}
	silent := authorizeURL(server, values{"prompt": "none"})
	assert.Contains(t, get(t, server, silent, cookie...).Header.Get("Location"), "code=")
	get(t, server, server.URL+"/v2/logout", cookie...)
	assert.Contains(t, get(t, server, silent, cookie...).Header.Get("Location"), "error=login_required")
	assert.Equal(t, 400, post(t, server, "/login?"+authorizeQuery.with(nil).Encode(), "action=other").StatusCode)
}

func TestLogoutReturnTo(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{
		ReturnToURLs: []string{"http://127.0.0.1/bye", "https://app.example.com/bye"},
	})
	for returnTo, want := range map[string]int{
		"http://127.0.0.1:1234/bye":        302,
		"http://127.0.0.1/bye":             302,
		"https://app.example.com/bye":      302,
		"https://app.example.com:8443/bye": 400,
		"http://127.0.0.1:1234/bye/x":      400,
		"http://localhost:1234/bye":        400,
		"https://evil.example.com/":        400,
	} {
		a := get(t, server, server.URL+"/v2/logout?returnTo="+url.QueryEscape(returnTo))
		assert.Equal(t, want, a.StatusCode, returnTo)
		if want == 302 {
			assert.Equal(t, returnTo, a.Header.Get("Location"))
		}
	}
	assert.Equal(t, 400, get(t, server, server.URL+"/v2/logout?client_id=other").StatusCode)
	assert.Equal(t, 400, get(t, server, server.URL+"/v2/logout?returnTo=").StatusCode)
}

func TestResourceMayRepeat(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	there := authorizeURL(server, nil) + "&resource=https://a.example.com&resource=https://b.example.com"
	callback, err := server.Browser().SignIn(t.Context(), there)
	require.NoError(t, err)
	assert.NotEmpty(t, callback.Get("code"))
	_, err = server.Browser().SignIn(t.Context(), there+"&resource=")
	require.ErrorContains(t, err, "parameter resource is empty")
}
