package piecesauthtest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

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
}

func TestTokenRawRequest(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
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
}

func TestRefreshWithLeewayOrWithoutRotation(t *testing.T) {
	now := time.Now()
	options := piecesauthtest.Options{Now: func() time.Time { return now }}
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
	t.Run("unknown", func(t *testing.T) {
		assert.Equal(t, "refresh token is unknown", refresh(t, newServer(t, options), "x").json(t)["error_description"])
	})
}

func TestRefreshByManyAtOnce(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
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

func TestRevoke(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{People: []piecesauthtest.Person{grace, mary}})
	browserOfGrace, browserOfMary := server.BrowserAs(grace), server.BrowserAs(mary)
	_, ofGrace := who(t, server, browserOfGrace)
	_, ofMary := who(t, server, browserOfMary)
	unused := signIn(t, server, nil) // Grace's, in another browser

	server.Revoke(grace)
	a := userinfo(t, server, ofGrace["access_token"])
	assert.Equal(t, 401, a.StatusCode)
	assert.Contains(t, a.Header.Get("WWW-Authenticate"), `error="invalid_token"`)
	a = refresh(t, server, ofGrace["refresh_token"])
	assert.Equal(t, 400, a.StatusCode)
	assert.Equal(t, "invalid_grant", a.json(t)["error"])
	assert.Equal(t, "invalid_grant", redeem(t, server, unused, nil).json(t)["error"])
	assert.Equal(t, 200, userinfo(t, server, ofMary["access_token"]).StatusCode)
	silent := func(browser *piecesauthtest.Browser) string {
		callback, err := browser.SignIn(t.Context(), authorizeURL(server, values{"prompt": "none"}))
		require.NoError(t, err)
		return callback.Get("error")
	}
	assert.Equal(t, "login_required", silent(browserOfGrace), "signed out")
	assert.Empty(t, silent(browserOfMary))
	assert.Zero(t, server.Revocations(), "not by reuse")

	_, ofGrace = who(t, server, browserOfGrace)
	assert.Equal(t, 200, userinfo(t, server, ofGrace["access_token"]).StatusCode, "granted anew")
	server.Revoke()
	for _, answer := range []map[string]any{ofGrace, ofMary} {
		assert.Equal(t, 401, userinfo(t, server, answer["access_token"]).StatusCode)
		assert.Equal(t, "invalid_grant", refresh(t, server, answer["refresh_token"]).json(t)["error"])
	}
}

func TestRevokeAccessTokens(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{People: []piecesauthtest.Person{grace, mary}})
	_, ofGrace := who(t, server, server.BrowserAs(grace))
	_, ofMary := who(t, server, server.BrowserAs(mary))
	server.RevokeAccessTokens(grace)
	assert.Equal(t, 401, userinfo(t, server, ofGrace["access_token"]).StatusCode)
	assert.Equal(t, 200, userinfo(t, server, ofMary["access_token"]).StatusCode)
	again := refresh(t, server, ofGrace["refresh_token"])
	require.Equal(t, 200, again.StatusCode)
	assert.Equal(t, 200, userinfo(t, server, again.json(t)["access_token"]).StatusCode)
	server.RevokeAccessTokens()
	assert.Equal(t, 401, userinfo(t, server, ofMary["access_token"]).StatusCode)
}

func TestFamilies(t *testing.T) {
	now := time.Now()
	server := newServer(t, piecesauthtest.Options{
		People: []piecesauthtest.Person{grace, mary}, RefreshLeeway: time.Second, Now: func() time.Time { return now },
	})
	assert.Empty(t, server.Families())
	_, ofGrace := who(t, server, server.BrowserAs(grace))
	_, ofMary := who(t, server, server.BrowserAs(mary))
	for range 2 { // the second time within the leeway
		refresh(t, server, ofGrace["refresh_token"])
	}
	refresh(t, server, ofMary["refresh_token"])
	scopes := piecesauth.Scopes{"openid", "profile", "email", "offline_access"}
	want := []piecesauthtest.Family{
		{Sub: grace.Sub, Scopes: scopes, SignedIn: now, Refreshes: 2, Repeats: 1},
		{Sub: mary.Sub, Scopes: scopes, SignedIn: now, Refreshes: 1},
	}
	assert.Equal(t, want, server.Families())

	now = now.Add(2 * time.Second)
	for range 2 { // reuse, and once more
		refresh(t, server, ofMary["refresh_token"])
	}
	want[1].Refused, want[1].Revoked = 2, true
	assert.Equal(t, want, server.Families())
	assert.Equal(t, want[1:], server.Families(mary))
	server.Revoke(grace)
	assert.True(t, server.Families(grace)[0].Revoked)
	assert.Equal(t, 1, server.Revocations())
	assert.Equal(t, 5, server.Count(piecesauthtest.Refresh))
	assert.Equal(t, 7, server.Count(piecesauthtest.Refresh, piecesauthtest.Exchange))
}
