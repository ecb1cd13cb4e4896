package piecesauthtest_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

const (
	redirectURI = "http://127.0.0.1:4321/callback"
	// RFC 7636 appendix B.
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

type values map[string]string

// with overrides; an empty value drops the field.
func (v values) with(changes values) url.Values {
	all := maps.Clone(v)
	maps.Copy(all, changes)
	q := url.Values{}
	for name, value := range all {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

var authorizeQuery = values{
	"audience":              "https://pieces.us.auth0.com/api/v2/",
	"scope":                 "openid profile email offline_access",
	"response_type":         "code",
	"client_id":             "piecesauthtest",
	"state":                 "the state",
	"redirect_uri":          redirectURI,
	"code_challenge_method": "S256",
	"code_challenge":        challenge,
	"response_mode":         "query",
	"nonce":                 "the nonce",
}

func newServer(t *testing.T, options piecesauthtest.Options) *piecesauthtest.Server {
	t.Helper()
	server := piecesauthtest.NewServer(options)
	t.Cleanup(server.Close)
	return server
}

func authorizeURL(server *piecesauthtest.Server, changes values) string {
	return server.URL + "/authorize?" + authorizeQuery.with(changes).Encode()
}

type answer struct {
	*http.Response
	body string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	object := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(a.body), &object), a.body)
	return object
}

func do(t *testing.T, server *piecesauthtest.Server, r *http.Request) answer {
	t.Helper()
	client := *server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response, string(body)}
}

func get(t *testing.T, server *piecesauthtest.Server, url string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	for pair := range slices.Chunk(header, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	return do(t, server, r)
}

func post(t *testing.T, server *piecesauthtest.Server, path, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	return do(t, server, r)
}

var tokenForm = values{
	"grant_type":    "authorization_code",
	"client_id":     "piecesauthtest",
	"redirect_uri":  redirectURI,
	"code_verifier": verifier,
}

func signIn(t *testing.T, server *piecesauthtest.Server, changes values) (code string) {
	t.Helper()
	callback, err := server.Browser().SignIn(t.Context(), authorizeURL(server, changes))
	require.NoError(t, err)
	require.NotEmpty(t, callback.Get("code"), callback)
	return callback.Get("code")
}

func redeem(t *testing.T, server *piecesauthtest.Server, code string, changes values) answer {
	t.Helper()
	form := tokenForm.with(changes)
	form.Set("code", code)
	return post(t, server, "/oauth/token", form.Encode())
}

func tokens(t *testing.T, server *piecesauthtest.Server, changes values) map[string]any {
	t.Helper()
	a := redeem(t, server, signIn(t, server, changes), nil)
	require.Equal(t, 200, a.StatusCode, a.body)
	return a.json(t)
}

func refresh(t *testing.T, server *piecesauthtest.Server, token any) answer {
	t.Helper()
	return post(t, server, "/oauth/token", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"piecesauthtest"}, "refresh_token": {token.(string)},
	}.Encode())
}

func userinfo(t *testing.T, server *piecesauthtest.Server, token any) answer {
	t.Helper()
	return get(t, server, server.URL+"/userinfo", "Authorization", "Bearer "+token.(string))
}

func keySet(t *testing.T, server *piecesauthtest.Server) (set jose.JSONWebKeySet) {
	t.Helper()
	a := get(t, server, server.URL+"/.well-known/jwks.json")
	require.Equal(t, 200, a.StatusCode)
	require.NoError(t, json.Unmarshal([]byte(a.body), &set))
	return set
}

// verify checks the signature, with a library, and gives the claims.
func verify(t *testing.T, server *piecesauthtest.Server, idToken any) (map[string]any, error) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(idToken.(string), []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	require.NoError(t, err)
	payload, err := jws.Verify(keySet(t, server))
	claims := map[string]any{}
	require.NoError(t, json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims))
	if err == nil {
		require.JSONEq(t, string(payload), string(jws.UnsafePayloadWithoutVerification()))
	}
	return claims, err
}

func TestAuthorize(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{RedirectURLs: []string{"https://app.example.com/cb", "com.example.app:/cb"}})

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

	for _, uri := range []string{
		"http://127.0.0.1:1/a", "http://[::1]:65535/b?c=d", "http://localhost:3000/pkce/response/code", "http://127.0.0.1/x",
		"https://app.example.com/cb", "com.example.app:/cb",
	} {
		t.Run("allowed: "+uri, func(t *testing.T) {
			assert.Len(t, signIn(t, server, values{"redirect_uri": uri}), 52)
		})
	}

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

	t.Run("raw request", func(t *testing.T) {
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
	})

	t.Run("unregistered redirect left out", func(t *testing.T) {
		callback, err := server.Browser().SignIn(t.Context(), authorizeURL(server, values{"redirect_uri": ""}))
		require.NoError(t, err)
		a := redeem(t, server, callback.Get("code"), values{"redirect_uri": ""})
		assert.Equal(t, 200, a.StatusCode, a.body)
	})
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

func TestBrowserDelivers(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	var got []string
	var form url.Values
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			assert.NoError(t, r.ParseForm())
			form = r.Form
			var names []string
			for _, c := range r.Cookies() {
				names = append(names, c.Name)
			}
			got = append(got, r.Method+" "+strings.Join(names, ","))
			http.Redirect(w, r, "/home", http.StatusSeeOther)
			return
		}
		if r.URL.Path == "/home" {
			_, _ = io.WriteString(w, "welcome")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "none", Value: "1", Path: "/", SameSite: http.SameSiteNoneMode, Secure: true})
		http.SetCookie(w, &http.Cookie{Name: "insecure", Value: "1", Path: "/", SameSite: http.SameSiteNoneMode})
		http.SetCookie(w, &http.Cookie{Name: "lax", Value: "1", Path: "/", SameSite: http.SameSiteLaxMode})
		http.SetCookie(w, &http.Cookie{Name: "strict", Value: "1", Path: "/", SameSite: http.SameSiteStrictMode})
		http.SetCookie(w, &http.Cookie{Name: "elsewhere", Value: "1", Path: "/other", SameSite: http.SameSiteLaxMode})
		http.Redirect(w, r, authorizeURL(server, values{
			"redirect_uri": "http://" + r.Host + "/callback", "response_mode": r.URL.Query().Get("mode"),
		}), http.StatusFound)
	}))
	defer app.Close()

	for mode, want := range map[string]string{"form_post": "POST none", "query": "GET none,lax"} {
		got = nil
		browser := server.Browser()
		page, err := browser.Open(t.Context(), app.URL+"/login?mode="+mode)
		require.NoError(t, err)
		assert.Equal(t, piecesauthtest.Page{URL: app.URL + "/home", Status: 200, Body: "welcome"}, *page)
		assert.Equal(t, []string{want}, got, mode)
		assert.NotEmpty(t, form.Get("code"))
		assert.Equal(t, "the state", form.Get("state"))

		logins := server.Count(piecesauthtest.Login)
		_, err = browser.Open(t.Context(), app.URL+"/login?mode="+mode)
		require.NoError(t, err)
		assert.Equal(t, logins, server.Count(piecesauthtest.Login), "signed in already")
	}

	page, err := server.Browser().Open(t.Context(), authorizeURL(server, values{
		"redirect_uri": app.URL + "/home", "response_mode": "fragment",
	}))
	require.NoError(t, err)
	assert.Contains(t, page.URL, app.URL+"/home#")
	assert.Contains(t, page.URL, "state=the+state")

	_, err = server.Browser().Open(t.Context(), authorizeURL(server, values{"redirect_uri": "http://127.0.0.1:1/nobody"}))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "state")
}

func TestSession(t *testing.T) {
	now := time.Now()
	server := newServer(t, piecesauthtest.Options{
		Now:          func() time.Time { return now },
		ReturnToURLs: []string{"http://127.0.0.1/bye", "https://app.example.com/bye"},
	})
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

	// The session ends at the server, whoever kept its cookie.
	login := post(t, server, "/login?"+authorizeQuery.with(nil).Encode(), "action=signin")
	require.Len(t, login.Cookies(), 1)
	cookie := []string{"Cookie", login.Cookies()[0].Name + "=" + login.Cookies()[0].Value}
	silent := authorizeURL(server, values{"prompt": "none"})
	assert.Contains(t, get(t, server, silent, cookie...).Header.Get("Location"), "code=")
	get(t, server, server.URL+"/v2/logout", cookie...)
	assert.Contains(t, get(t, server, silent, cookie...).Header.Get("Location"), "error=login_required")
	assert.Equal(t, 400, post(t, server, "/login?"+authorizeQuery.with(nil).Encode(), "action=other").StatusCode)

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

func TestTokens(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	a := redeem(t, server, signIn(t, server, nil), nil)
	require.Equal(t, 200, a.StatusCode, a.body)
	assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	answer := a.json(t)
	assert.Equal(t, "Bearer", answer["token_type"])
	assert.EqualValues(t, 86400, answer["expires_in"])
	assert.Equal(t, "openid profile email offline_access", answer["scope"])
	assert.NotEmpty(t, answer["refresh_token"])

	claims, err := verify(t, server, answer["id_token"])
	require.NoError(t, err)
	hash := sha256.Sum256([]byte(answer["access_token"].(string)))
	assert.Equal(t, base64.RawURLEncoding.EncodeToString(hash[:16]), claims["at_hash"])
	assert.Equal(t, server.Issuer, claims["iss"])
	assert.Equal(t, server.URL+"/", claims["iss"])
	assert.Equal(t, "piecesauthtest", claims["aud"])
	assert.Equal(t, "the nonce", claims["nonce"])
	assert.Equal(t, "auth0|507f1f77bcf86cd799439011", claims["sub"])
	assert.Greater(t, claims["exp"], claims["iat"])
	assert.Equal(t, "ada@example.com", claims["email"])
	assert.NotContains(t, claims, "user_metadata")
	assert.NotContains(t, claims, "azp")

	t.Run("by scope", func(t *testing.T) {
		answer := tokens(t, server, values{"scope": "openid", "nonce": ""})
		assert.NotContains(t, answer, "refresh_token")
		claims, err := verify(t, server, answer["id_token"])
		require.NoError(t, err)
		assert.NotContains(t, claims, "nonce")
		assert.NotContains(t, claims, "email")
		user := userinfo(t, server, answer["access_token"]).json(t)
		assert.Equal(t, map[string]any{"sub": "auth0|507f1f77bcf86cd799439011", "https://example.com/roles": []any{"tester"}}, user)

		user = userinfo(t, server, tokens(t, server, values{"scope": "openid email"})["access_token"]).json(t)
		assert.Equal(t, "ada@example.com", user["email"])
		assert.NotContains(t, user, "name")
		user = userinfo(t, server, tokens(t, server, values{"scope": "openid profile"})["access_token"]).json(t)
		assert.Equal(t, "Ada Lovelace", user["name"])
		assert.NotContains(t, user, "email")

		answer = tokens(t, server, values{"scope": "read:x"})
		assert.NotContains(t, answer, "id_token")
		a := userinfo(t, server, answer["access_token"])
		assert.Equal(t, 403, a.StatusCode)
		assert.Contains(t, a.Header.Get("WWW-Authenticate"), `error="insufficient_scope"`)
	})
}

func TestTokenRefusals(t *testing.T) {
	now := time.Now()
	server := newServer(t, piecesauthtest.Options{Now: func() time.Time { return now }})
	for name, test := range map[string]struct {
		changes values
		status  int
		code    string
		want    string
	}{
		"wrong verifier":     {values{"code_verifier": strings.Repeat("x", 43)}, 400, "invalid_grant", "code_verifier does not fit"},
		"short verifier":     {values{"code_verifier": verifier[:42]}, 400, "invalid_request", "43 to 128"},
		"long verifier":      {values{"code_verifier": strings.Repeat("x", 129)}, 400, "invalid_request", "43 to 128"},
		"odd verifier":       {values{"code_verifier": verifier + "!"}, 400, "invalid_request", "unreserved"},
		"no verifier":        {values{"code_verifier": ""}, 400, "invalid_request", "code_verifier is missing"},
		"other redirect":     {values{"redirect_uri": redirectURI + "2"}, 400, "invalid_grant", "redirect_uri is not the one"},
		"no redirect":        {values{"redirect_uri": ""}, 400, "invalid_grant", "redirect_uri is not the one"},
		"other client":       {values{"client_id": "other"}, 401, "invalid_client", "client_id is unknown"},
		"no client":          {values{"client_id": ""}, 400, "invalid_request", "client_id is missing"},
		"no grant type":      {values{"grant_type": ""}, 400, "invalid_request", "grant_type is missing"},
		"other grant type":   {values{"grant_type": "password"}, 400, "unsupported_grant_type", "neither"},
		"mixed grants":       {values{"refresh_token": "x"}, 400, "invalid_request", "refresh_token belongs to another grant"},
		"mixed grants again": {values{"grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_request", "code belongs to another grant"},
	} {
		t.Run(name, func(t *testing.T) {
			a := redeem(t, server, signIn(t, server, nil), test.changes)
			assert.Equal(t, test.status, a.StatusCode)
			assert.Equal(t, test.code, a.json(t)["error"])
			assert.Contains(t, a.json(t)["error_description"], test.want)
		})
	}
	t.Run("unknown code", func(t *testing.T) {
		assert.Equal(t, "code is unknown", redeem(t, server, "x", nil).json(t)["error_description"])
	})
	t.Run("expired code", func(t *testing.T) {
		code := signIn(t, server, nil)
		now = now.Add(time.Minute)
		assert.Equal(t, "code has expired", redeem(t, server, code, nil).json(t)["error_description"])
	})
	t.Run("a wrong verifier spends the code", func(t *testing.T) {
		code := signIn(t, server, nil)
		redeem(t, server, code, values{"code_verifier": strings.Repeat("x", 43)})
		assert.Equal(t, "invalid_grant", redeem(t, server, code, nil).json(t)["error"])
	})
	t.Run("reuse revokes", func(t *testing.T) {
		code := signIn(t, server, nil)
		answer := redeem(t, server, code, nil).json(t)
		require.Equal(t, 200, userinfo(t, server, answer["access_token"]).StatusCode)
		assert.Equal(t, "invalid_grant", redeem(t, server, code, nil).json(t)["error"])
		assert.Equal(t, 401, userinfo(t, server, answer["access_token"]).StatusCode)
		assert.Equal(t, "invalid_grant", refresh(t, server, answer["refresh_token"]).json(t)["error"])
	})

	t.Run("raw request", func(t *testing.T) {
		good := tokenForm.with(values{"code": "x"}).Encode()
		for name, test := range map[string]struct {
			path, body string
			header     []string
			want       string
		}{
			"json":             {"/oauth/token", good, []string{"Content-Type", "application/json"}, "application/x-www-form-urlencoded"},
			"no type":          {"/oauth/token", good, []string{"Content-Type", ""}, "application/x-www-form-urlencoded"},
			"in the query":     {"/oauth/token?" + good, "", nil, "not into the URL"},
			"partly in query":  {"/oauth/token?client_id=x", good, nil, "not into the URL"},
			"repeated":         {"/oauth/token", good + "&code=y", nil, "parameter code is repeated"},
			"empty":            {"/oauth/token", good + "&audience=", nil, "parameter audience is empty"},
			"authorization":    {"/oauth/token", good, []string{"Authorization", "Basic eDp5"}, "no Authorization header"},
			"unparsable":       {"/oauth/token", good + "&%zz=1", nil, "the body cannot be parsed"},
			"too long to read": {"/oauth/token", strings.Repeat("x", 2<<20), nil, "the body cannot be read"},
		} {
			t.Run(name, func(t *testing.T) {
				a := post(t, server, test.path, test.body, test.header...)
				assert.Equal(t, 400, a.StatusCode)
				assert.Equal(t, "invalid_request", a.json(t)["error"])
				assert.Contains(t, a.json(t)["error_description"], test.want)
			})
		}
		a := post(t, server, "/oauth/token", good, "Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		assert.Equal(t, "invalid_grant", a.json(t)["error"])
		assert.Equal(t, 405, get(t, server, server.URL+"/oauth/token").StatusCode)
	})
}

func TestRefresh(t *testing.T) {
	now := time.Now()
	options := piecesauthtest.Options{Now: func() time.Time { return now }}

	t.Run("rotates", func(t *testing.T) {
		server := newServer(t, options)
		first := tokens(t, server, nil)
		second := refresh(t, server, first["refresh_token"]).json(t)
		assert.NotEqual(t, first["refresh_token"], second["refresh_token"])
		assert.NotEqual(t, first["access_token"], second["access_token"])
		before, err := verify(t, server, first["id_token"])
		require.NoError(t, err)
		after, err := verify(t, server, second["id_token"])
		require.NoError(t, err)
		for _, claim := range []string{"iss", "sub", "aud", "auth_time"} {
			assert.Equal(t, before[claim], after[claim], claim)
		}
		assert.NotContains(t, after, "nonce")
		require.Equal(t, 200, userinfo(t, server, second["access_token"]).StatusCode)

		a := refresh(t, server, first["refresh_token"])
		assert.Equal(t, 400, a.StatusCode)
		assert.Equal(t, "invalid_grant", a.json(t)["error"])
		assert.Equal(t, 1, server.Revocations())
		assert.Equal(t, 401, userinfo(t, server, second["access_token"]).StatusCode)
		assert.Equal(t, "invalid_grant", refresh(t, server, second["refresh_token"]).json(t)["error"])
		assert.Equal(t, 1, server.Revocations())
		assert.Equal(t, 3, server.Count(piecesauthtest.Refresh))
		assert.Equal(t, 1, server.Count(piecesauthtest.Exchange))
	})
	t.Run("leeway", func(t *testing.T) {
		options := options
		options.RefreshLeeway = 10 * time.Second
		server := newServer(t, options)
		first := tokens(t, server, nil)["refresh_token"]
		refresh(t, server, first)
		now = now.Add(10 * time.Second)
		again := refresh(t, server, first)
		require.Equal(t, 200, again.StatusCode, "within the leeway, which counts from the first use")
		third := refresh(t, server, again.json(t)["refresh_token"])
		require.Equal(t, 200, third.StatusCode)
		assert.Zero(t, server.Revocations())
		now = now.Add(time.Nanosecond)
		assert.Equal(t, 400, refresh(t, server, first).StatusCode)
		assert.Equal(t, 1, server.Revocations())
		assert.Equal(t, 400, refresh(t, server, third.json(t)["refresh_token"]).StatusCode)
	})
	t.Run("without rotation", func(t *testing.T) {
		options := options
		options.NoRotation = true
		server := newServer(t, options)
		first := tokens(t, server, nil)["refresh_token"]
		for range 2 {
			a := refresh(t, server, first)
			assert.Equal(t, 200, a.StatusCode)
			assert.NotContains(t, a.json(t), "refresh_token")
		}
	})
	t.Run("one of many wins", func(t *testing.T) {
		server := newServer(t, options)
		token := tokens(t, server, nil)["refresh_token"].(string)
		statuses := make(chan int, 8)
		var wg sync.WaitGroup
		for range cap(statuses) {
			wg.Go(func() {
				response, err := server.Client().PostForm(server.URL+"/oauth/token", url.Values{ //nolint:noctx // ends with the server
					"grant_type": {"refresh_token"}, "client_id": {server.ClientID}, "refresh_token": {token},
				})
				if assert.NoError(t, err) {
					statuses <- response.StatusCode
					assert.NoError(t, response.Body.Close())
				}
			})
		}
		wg.Wait()
		close(statuses)
		count := map[int]int{}
		for status := range statuses {
			count[status]++
		}
		assert.Equal(t, map[int]int{200: 1, 400: 7}, count)
		assert.Equal(t, 1, server.Revocations())
	})
	t.Run("unknown", func(t *testing.T) {
		assert.Equal(t, "refresh token is unknown", refresh(t, newServer(t, options), "x").json(t)["error_description"])
	})
}

func TestUserInfo(t *testing.T) {
	now := time.Now()
	server := newServer(t, piecesauthtest.Options{
		Now: func() time.Time { return now }, TokenLifetime: time.Hour,
		User: map[string]any{"name": "Grace Hopper", "updated_at": 1767322445},
	})
	token, err := server.NewToken()
	require.NoError(t, err)
	a := userinfo(t, server, token.AccessToken)
	assert.Equal(t, 200, a.StatusCode)
	assert.JSONEq(t, `{"sub":"auth0|507f1f77bcf86cd799439011","name":"Grace Hopper","updated_at":1767322445}`, a.body)

	for name, test := range map[string]struct {
		path   string
		header []string
		status int
		want   string
	}{
		"nothing":            {"", nil, 401, `Bearer realm="piecesauthtest"`},
		"unknown":            {"", []string{"Authorization", "Bearer x"}, 401, `error="invalid_token"`},
		"other scheme":       {"", []string{"Authorization", "Basic eDp5"}, 401, `error="invalid_request"`},
		"in the query":       {"?access_token=" + token.AccessToken, nil, 400, `error="invalid_request"`},
		"in both":            {"?access_token=" + token.AccessToken, []string{"Authorization", "Bearer " + token.AccessToken}, 400, `error="invalid_request"`},
		"twice":              {"", []string{"Authorization", "Bearer " + token.AccessToken, "Authorization", "Bearer x"}, 400, `error="invalid_request"`},
		"the application ID": {"", []string{"Authorization", "Bearer " + token.AccessToken, "X-Application-ID", "x"}, 400, `error="invalid_request"`},
	} {
		t.Run(name, func(t *testing.T) {
			a := get(t, server, server.URL+"/userinfo"+test.path, test.header...)
			assert.Equal(t, test.status, a.StatusCode)
			assert.Contains(t, a.Header.Get("WWW-Authenticate"), test.want)
		})
	}
	now = now.Add(time.Hour)
	assert.Equal(t, 401, userinfo(t, server, token.AccessToken).StatusCode)
	assert.Equal(t, 200, refresh(t, server, token.RefreshToken).StatusCode)
}

func TestNewToken(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	token, err := server.NewToken("openid")
	require.NoError(t, err)
	assert.Empty(t, token.RefreshToken)
	assert.True(t, token.Valid())
	_, err = verify(t, server, token.IDToken)
	require.NoError(t, err)

	server.Revoke()
	assert.Equal(t, 401, userinfo(t, server, token.AccessToken).StatusCode)
}

func TestMetadata(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	metadata := get(t, server, server.URL+"/.well-known/openid-configuration").json(t)
	assert.Equal(t, server.Issuer, metadata["issuer"])
	assert.Equal(t, server.URL+"/oauth/token", metadata["token_endpoint"])
	assert.Equal(t, server.URL+"/.well-known/jwks.json", metadata["jwks_uri"])
	assert.Equal(t, true, metadata["authorization_response_iss_parameter_supported"])
	assert.Len(t, keySet(t, server).Keys, 1)
	for _, key := range keySet(t, server).Keys {
		assert.True(t, key.IsPublic())
	}
}

func TestRequests(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	code := signIn(t, server, nil)
	redeem(t, server, code, nil)
	get(t, server, server.URL+"/favicon.ico")
	var list []string
	for _, r := range server.Requests() {
		list = append(list, strings.TrimSpace(string(r.Op)+" "+r.Method+" "+r.URL.Path)+" "+http.StatusText(r.Status))
	}
	assert.Equal(t, []string{
		"authorize GET /authorize Found",
		"login GET /login OK",
		"login POST /login See Other",
		"exchange POST /oauth/token OK",
		"GET /favicon.ico Not Found",
	}, list)
	exchange := server.Requests(piecesauthtest.Exchange)[0]
	assert.Equal(t, code, exchange.Form.Get("code"))
	assert.Contains(t, string(exchange.Body), code)
	assert.Equal(t, "application/x-www-form-urlencoded", exchange.Header.Get("Content-Type"))
	assert.Equal(t, challenge, server.Requests(piecesauthtest.Authorize)[0].Form.Get("code_challenge"))
	assert.Equal(t, 2, server.Count(piecesauthtest.Login))
	assert.Equal(t, 5, server.Count())
}

func TestTLS(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{TLS: true})
	assert.True(t, strings.HasPrefix(server.URL, "https://127.0.0.1:"))
	answer := tokens(t, server, nil)
	assert.Equal(t, 200, userinfo(t, server, answer["access_token"]).StatusCode)
	assert.NotNil(t, server.Config().HTTPClient)
}

func TestCloseEndsWhatHangs(t *testing.T) {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	server.Fail(piecesauthtest.UserInfo, piecesauthtest.Fault{Hang: true}, piecesauthtest.Fault{Delay: time.Hour})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL+"/userinfo", nil)
			if assert.NoError(t, err) {
				response, err := server.Client().Do(r)
				if !assert.Error(t, err) {
					_ = response.Body.Close()
				}
			}
		})
	}
	require.Eventually(t, func() bool { return server.Count(piecesauthtest.UserInfo) == 2 }, 30*time.Second, time.Millisecond)
	server.Close()
	wg.Wait()
	server.Close()
}
