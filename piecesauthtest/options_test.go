package piecesauthtest_test

import (
	"net"
	"net/http"
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

func TestClockOffset(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, offset := range []time.Duration{-2 * time.Minute, 45 * time.Second, 0} {
		t.Run(offset.String(), func(t *testing.T) {
			server := newServer(t, piecesauthtest.Options{ClockOffset: offset, Now: func() time.Time { return now }})
			there := now.Add(offset)
			claims, err := verify(t, server, tokens(t, server, nil)["id_token"])
			require.NoError(t, err)
			assert.EqualValues(t, there.Unix(), claims["iat"])
			assert.EqualValues(t, there.Unix(), claims["auth_time"])
			assert.EqualValues(t, there.Add(10*time.Hour).Unix(), claims["exp"])

			server.Fail(piecesauthtest.Refresh, piecesauthtest.Fault{Status: 429, RetryAfter: time.Minute, RetryDate: true})
			a := refresh(t, server, "x")
			assert.Equal(t, there.Format(http.TimeFormat), a.Header.Get("Date"))
			assert.Equal(t, there.Add(time.Minute).Format(http.TimeFormat), a.Header.Get("Retry-After"))

			token, err := server.NewToken()
			require.NoError(t, err)
			assert.Equal(t, now.Add(24*time.Hour), token.Expiry, "by the client's clock")
			assert.Equal(t, there, server.Families()[0].SignedIn)
		})
	}
}

func TestChange(t *testing.T) {
	now := time.Now()
	server := newServer(t, piecesauthtest.Options{Now: func() time.Time { return now }})
	old := tokens(t, server, nil)
	server.Change(func(o *piecesauthtest.Options) {
		o.TokenLifetime, o.IDTokenLifetime, o.CodeLifetime = time.Minute, time.Hour, time.Second
		o.RefreshTokenLifetime = 2 * time.Minute
	})
	answer := tokens(t, server, nil)
	assert.EqualValues(t, 60, answer["expires_in"])
	claims, err := verify(t, server, answer["id_token"])
	require.NoError(t, err)
	assert.EqualValues(t, now.Add(time.Hour).Unix(), claims["exp"])

	code := signIn(t, server, nil)
	now = now.Add(time.Minute)
	assert.Equal(t, "code has expired", redeem(t, server, code, nil).json(t)["error_description"])
	assert.Equal(t, 401, userinfo(t, server, answer["access_token"]).StatusCode)
	assert.Equal(t, 200, userinfo(t, server, old["access_token"]).StatusCode, "made before")
	now = now.Add(time.Minute)
	assert.Equal(t, "refresh token has expired", refresh(t, server, answer["refresh_token"]).json(t)["error_description"])
	assert.Equal(t, 200, refresh(t, server, old["refresh_token"]).StatusCode, "made before")

	server.Change(func(o *piecesauthtest.Options) { o.TokenLifetime = 0 })
	assert.EqualValues(t, 86400, tokens(t, server, values{"max_age": "0"})["expires_in"], "the default")
}

func TestStrictRedirects(t *testing.T) {
	refused := func(server *piecesauthtest.Server, uri string) bool {
		_, err := server.Browser().SignIn(t.Context(), authorizeURL(server, values{"redirect_uri": uri}))
		if err != nil {
			assert.ErrorContains(t, err, "redirect_uri is not registered")
		}
		return err != nil
	}
	for name, test := range map[string]struct {
		registered []string
		want       map[string]bool // refused?
	}{
		"registered": {[]string{"http://127.0.0.1:8080/cb", "https://app.example.com/cb"}, map[string]bool{
			"http://127.0.0.1:8080/cb":     false,
			"https://app.example.com/cb":   false,
			"http://127.0.0.1:8081/cb":     true,
			"http://127.0.0.1/cb":          true,
			"http://localhost:8080/cb":     true,
			"http://127.0.0.1:8080/cb/":    true,
			"http://127.0.0.1:8080/cb?a=b": true,
		}},
		"documented": {nil, map[string]bool{
			"http://localhost:3000/pkce/response/code": false,
			"http://localhost:3001/pkce/response/code": true,
			"http://127.0.0.1:3000/pkce/response/code": true,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, piecesauthtest.Options{StrictRedirects: true, RedirectURLs: test.registered})
			for uri, want := range test.want {
				assert.Equal(t, want, refused(server, uri), uri)
			}
			assert.False(t, refused(server, server.Config().RedirectURL), "Config signs in")
		})
	}
}

func TestStrictAudience(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{StrictAudience: true})
	outcome := func(audience string) url.Values {
		callback, err := server.Browser().SignIn(t.Context(), authorizeURL(server, values{"audience": audience}))
		require.NoError(t, err)
		return callback
	}
	assert.NotEmpty(t, outcome(server.Config().Audience).Get("code"))
	refused := outcome("https://pieces.us.auth0.com/api/v2")
	assert.Equal(t, "access_denied", refused.Get("error"))
	assert.Equal(t, "Service not found: https://pieces.us.auth0.com/api/v2", refused.Get("error_description"))

	server.Change(func(o *piecesauthtest.Options) { o.Audience = "https://api.example.com/" })
	assert.Equal(t, "https://api.example.com/", server.Config().Audience)
	assert.NotEmpty(t, outcome("https://api.example.com/").Get("code"))
	server.Change(func(o *piecesauthtest.Options) { o.StrictAudience = false })
	assert.NotEmpty(t, outcome("https://any.example.com/").Get("code"))
}

func TestRefreshEndsAccessTokens(t *testing.T) {
	for _, ends := range []bool{true, false} {
		server := newServer(t, piecesauthtest.Options{RefreshEndsAccessTokens: ends})
		first, other := tokens(t, server, nil), tokens(t, server, nil)
		second := refresh(t, server, first["refresh_token"]).json(t)
		want := map[bool]int{true: 401, false: 200}[ends]
		a := userinfo(t, server, first["access_token"])
		assert.Equal(t, want, a.StatusCode)
		assert.Equal(t, ends, strings.Contains(a.Header.Get("WWW-Authenticate"), `error="invalid_token"`))
		assert.Equal(t, 200, userinfo(t, server, second["access_token"]).StatusCode)
		assert.Equal(t, 200, userinfo(t, server, other["access_token"]).StatusCode, "of another sign-in")
		assert.Equal(t, 400, refresh(t, server, "x").StatusCode)
		assert.Equal(t, 200, userinfo(t, server, second["access_token"]).StatusCode, "a refused refresh ends nothing")
	}
}

// What real servers were seen to answer, in place of what they should.
func TestOddAnswers(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{
		IDTokenClaims: map[string]any{"aud": []string{"piecesauthtest", "other"}, "at_hash": "wrong", "auth_time": nil},
		TokenAnswer:   map[string]any{"expires_in": "2026-01-02T03:04:05Z", "scope": []string{"openid"}, "token_type": nil},
		Metadata:      map[string]any{"id_token_signing_alg_values_supported": []string{"PS256"}, "scopes_supported": nil},
		User: map[string]any{
			"sub": "github|1", "email_verified": "true", "updated_at": int64(1767322445000), "locale": map[string]any{"language": "de"},
			"identities": []any{map[string]any{"user_id": 1234567}}, "user_metadata": []any{},
		},
	})
	for range 2 { // not once, but always
		answer := tokens(t, server, nil)
		assert.Equal(t, "2026-01-02T03:04:05Z", answer["expires_in"])
		assert.Equal(t, []any{"openid"}, answer["scope"])
		assert.NotContains(t, answer, "token_type")
		claims, err := verify(t, server, answer["id_token"])
		require.NoError(t, err, "signed all the same")
		assert.Equal(t, []any{"piecesauthtest", "other"}, claims["aud"])
		assert.Equal(t, "wrong", claims["at_hash"])
		assert.NotContains(t, claims, "auth_time")
		assert.Equal(t, "true", claims["email_verified"])
		assert.EqualValues(t, 1767322445000, claims["updated_at"])
		assert.JSONEq(t, `{"sub":"github|1","email_verified":"true","updated_at":1767322445000,"locale":{"language":"de"},
			"identities":[{"user_id":1234567}],"user_metadata":[]}`, userinfo(t, server, answer["access_token"]).body)
	}
	metadata := get(t, server, server.URL+"/.well-known/openid-configuration").json(t)
	assert.Equal(t, []any{"PS256"}, metadata["id_token_signing_alg_values_supported"])
	assert.NotContains(t, metadata, "scopes_supported")
}

func TestAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"":            "http://127.0.0.1:",
		"127.0.0.1:0": "http://127.0.0.1:",
		"localhost:0": "http://localhost:",
		"0.0.0.0:0":   "http://localhost:",
	} {
		server := newServer(t, piecesauthtest.Options{Addr: addr})
		assert.True(t, strings.HasPrefix(server.URL, want), "%q: %s", addr, server.URL)
		assert.Equal(t, 200, userinfo(t, server, tokens(t, server, nil)["access_token"]).StatusCode, addr)
	}

	// The address that one leaves, another can have.
	first := piecesauthtest.NewServer(piecesauthtest.Options{})
	addr := strings.TrimPrefix(first.URL, "http://")
	_, err := piecesauthtest.Start(piecesauthtest.Options{Addr: addr})
	var inUse *net.OpError
	require.ErrorContains(t, err, "Addr")
	require.ErrorContains(t, err, "in use")
	require.ErrorAs(t, err, &inUse)
	first.Close()
	second := newServer(t, piecesauthtest.Options{Addr: addr})
	assert.Equal(t, first.URL, second.URL)
}

func TestStartRefuses(t *testing.T) {
	for want, options := range map[string]piecesauthtest.Options{
		"person 2 has no sub":                {People: []piecesauthtest.Person{{Sub: "a"}, {Name: "b"}}},
		"person 3 has the sub of one before": {User: map[string]any{"sub": "a"}, People: []piecesauthtest.Person{{Sub: "b"}, {Sub: "a"}}},
		"a redirect URL is empty":            {RedirectURLs: []string{""}},
		"Addr":                               {Addr: "127.0.0.1:nowhere"},
	} {
		_, err := piecesauthtest.Start(options)
		assert.ErrorContains(t, err, want)
		assert.Panics(t, func() { piecesauthtest.NewServer(options) })
	}
}

func TestRequestsKept(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{RequestsKept: 2})
	for _, path := range []string{"/a", "/b", "/.well-known/jwks.json"} {
		get(t, server, server.URL+path)
	}
	requests := server.Requests()
	require.Len(t, requests, 2)
	assert.Equal(t, "/b", requests[0].URL.Path)
	assert.Equal(t, piecesauthtest.JWKS, requests[1].Op)
	assert.Equal(t, 3, server.Count(), "counted all the same")
	assert.Equal(t, 2, server.Count(""))
	assert.Equal(t, 1, server.Count(piecesauthtest.JWKS, piecesauthtest.Discovery))
}

// Both strict options are met by what Config says, and the library by both.
func TestStrictSignIn(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{StrictRedirects: true, StrictAudience: true})
	auth, err := piecesauth.New(server.Config())
	require.NoError(t, err)
	attempt, err := auth.Begin(nil)
	require.NoError(t, err)
	callback, err := server.Browser().SignIn(t.Context(), attempt.URL)
	require.NoError(t, err)
	token, err := auth.Complete(t.Context(), attempt, callback)
	require.NoError(t, err)
	assert.True(t, token.Valid())
}

// All that steers the server may be called while it is asked; for -race.
func TestSteeringWhileAsked(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{RequestsKept: 5})
	var wg sync.WaitGroup
	const rounds = 10
	for range 4 {
		wg.Go(func() {
			for range rounds {
				token, err := server.NewTokenFor(grace)
				if !assert.NoError(t, err) {
					return
				}
				form := url.Values{"grant_type": {"refresh_token"}, "client_id": {server.ClientID}, "refresh_token": {token.RefreshToken}}
				response, err := server.Client().PostForm(server.URL+"/oauth/token", form) //nolint:noctx // ends with the server
				if assert.NoError(t, err) {
					assert.Contains(t, []int{200, 400, 503}, response.StatusCode)
					assert.NoError(t, response.Body.Close())
				}
			}
		})
	}
	wg.Go(func() {
		for i := range rounds {
			server.Change(func(o *piecesauthtest.Options) { o.ClockOffset = time.Duration(i) * time.Minute })
			server.FailFunc(piecesauthtest.Refresh, func(*piecesauthtest.Request) piecesauthtest.Fault {
				return piecesauthtest.Fault{Status: 503 * (i % 2)}
			})
			server.RotateKey("ES256")
			server.WithdrawKeys()
			server.RevokeAccessTokens()
			server.Revoke(grace)
			server.Heal()
		}
	})
	wg.Wait()
	assert.Equal(t, 4*rounds, server.Count(piecesauthtest.Refresh))
	assert.Len(t, server.Families(grace), 4*rounds)
	assert.Len(t, server.Requests(), 5)
}
