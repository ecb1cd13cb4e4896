package piecesauthtest_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func TestFail(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})

	t.Run("status", func(t *testing.T) {
		server.Fail(piecesauthtest.Exchange,
			piecesauthtest.Fault{},
			piecesauthtest.Fault{Status: 503, Header: http.Header{"retry-after": {"1"}}, Body: "<p>down</p>"},
			piecesauthtest.Fault{Status: 400, Body: `{"error":{"a":1}}`})
		assert.Equal(t, 200, redeem(t, server, signIn(t, server, nil), nil).StatusCode, "the first passes")
		code := signIn(t, server, nil)
		a := redeem(t, server, code, nil)
		assert.Equal(t, 503, a.StatusCode)
		assert.Equal(t, "1", a.Header.Get("Retry-After"))
		assert.Equal(t, "text/html; charset=utf-8", a.Header.Get("Content-Type"))
		assert.Equal(t, "<p>down</p>", a.body)
		a = redeem(t, server, code, nil)
		assert.Equal(t, 400, a.StatusCode)
		assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
		assert.Equal(t, 200, redeem(t, server, code, nil).StatusCode, "the code was not spent")
		requests := server.Requests(piecesauthtest.Exchange)
		assert.Equal(t, 503, requests[1].Status)
	})
	t.Run("malformed requests leave faults alone", func(t *testing.T) {
		server.Fail(piecesauthtest.JWKS, piecesauthtest.Fault{Status: 500})
		assert.Equal(t, 400, get(t, server, server.URL+"/.well-known/jwks.json", "Authorization", "Bearer x").StatusCode)
		assert.Equal(t, 500, get(t, server, server.URL+"/.well-known/jwks.json").StatusCode)
		assert.Equal(t, 200, get(t, server, server.URL+"/.well-known/jwks.json").StatusCode)
	})
	t.Run("drop after acting", func(t *testing.T) {
		server.Fail(piecesauthtest.Exchange, piecesauthtest.Fault{Drop: true})
		code := signIn(t, server, nil)
		form := tokenForm.with(values{"code": code})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/oauth/token", strings.NewReader(form.Encode()))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := server.Client().Do(r)
		if !assert.Error(t, err) {
			_ = response.Body.Close()
		}
		assert.Equal(t, "invalid_grant", redeem(t, server, code, nil).json(t)["error"], "the code was spent")
	})
	t.Run("drop without acting", func(t *testing.T) {
		token, err := server.NewToken()
		require.NoError(t, err)
		server.Fail(piecesauthtest.Refresh, piecesauthtest.Fault{Status: 500, Drop: true})
		response, err := server.Client().PostForm(server.URL+"/oauth/token", url.Values{ //nolint:noctx // ends with the server
			"grant_type": {"refresh_token"}, "client_id": {server.ClientID}, "refresh_token": {token.RefreshToken},
		})
		if !assert.Error(t, err) {
			_ = response.Body.Close()
		}
		assert.Equal(t, 200, refresh(t, server, token.RefreshToken).StatusCode)
	})
}

func TestFailLate(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	t.Run("hang until the client gives up", func(t *testing.T) {
		server.Fail(piecesauthtest.UserInfo, piecesauthtest.Fault{Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/userinfo", nil)
		require.NoError(t, err)
		response, err := server.Client().Do(r)
		if !assert.ErrorIs(t, err, context.DeadlineExceeded) {
			_ = response.Body.Close()
		}
	})
	t.Run("delay", func(t *testing.T) {
		server.Fail(piecesauthtest.JWKS, piecesauthtest.Fault{Delay: time.Millisecond})
		assert.Len(t, keySet(t, server).Keys, 1)
	})
	t.Run("bend", func(t *testing.T) {
		server.Fail(piecesauthtest.Logout, piecesauthtest.Fault{Bend: func(r *piecesauthtest.Response) {
			assert.Equal(t, piecesauthtest.Logout, r.Request.Op)
			assert.Contains(t, string(r.Body), "Signed out")
			r.Status = 418
			r.Header.Set("Content-Length", "1000")
		}})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v2/logout", nil)
		require.NoError(t, err)
		response, err := server.Client().Do(r)
		require.NoError(t, err)
		defer response.Body.Close()
		assert.Equal(t, 418, response.StatusCode)
		_, err = io.ReadAll(response.Body)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
}

func TestBendJSON(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	server.BendJSON(piecesauthtest.Exchange, func(m map[string]any) {
		m["token_type"] = "bearer"
		m["expires_in"] = "86400"
		delete(m, "scope")
	})
	answer := tokens(t, server, nil)
	assert.Equal(t, "bearer", answer["token_type"])
	assert.Equal(t, "86400", answer["expires_in"])
	assert.NotContains(t, answer, "scope")
	assert.Equal(t, "Bearer", tokens(t, server, nil)["token_type"], "one answer only")

	server.BendJSON(piecesauthtest.UserInfo, func(m map[string]any) { m["sub"] = "other" })
	assert.Equal(t, "other", userinfo(t, server, answer["access_token"]).json(t)["sub"])

	server.BendJSON(piecesauthtest.Logout, func(map[string]any) {})
	a := get(t, server, server.URL+"/v2/logout")
	assert.Equal(t, 500, a.StatusCode)
	assert.Contains(t, a.body, "BendJSON")
}

func TestBendCallback(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	for _, mode := range []string{"query", "form_post", "fragment"} {
		for name, test := range map[string]struct {
			bend func(url.Values)
			want func(*testing.T, url.Values)
		}{
			"wrong state":    {func(v url.Values) { v.Set("state", "x") }, func(t *testing.T, v url.Values) { assert.Equal(t, "x", v.Get("state")) }},
			"missing state":  {func(v url.Values) { v.Del("state") }, func(t *testing.T, v url.Values) { assert.NotContains(t, v, "state") }},
			"repeated state": {func(v url.Values) { v.Add("state", "x") }, func(t *testing.T, v url.Values) { assert.Equal(t, []string{"the state", "x"}, v["state"]) }},
			"wrong iss":      {func(v url.Values) { v.Set("iss", "x") }, func(t *testing.T, v url.Values) { assert.Equal(t, "x", v.Get("iss")) }},
			"missing iss":    {func(v url.Values) { v.Del("iss") }, func(t *testing.T, v url.Values) { assert.NotContains(t, v, "iss") }},
		} {
			t.Run(mode+" "+name, func(t *testing.T) {
				server.BendCallback(test.bend)
				callback, err := server.Browser().SignIn(t.Context(), authorizeURL(server, values{"response_mode": mode}))
				require.NoError(t, err)
				assert.NotEmpty(t, callback.Get("code"))
				test.want(t, callback)
			})
		}
	}
}

func TestFailTimes(t *testing.T) {
	for _, op := range []piecesauthtest.Op{piecesauthtest.JWKS, piecesauthtest.Discovery} {
		t.Run(string(op), func(t *testing.T) {
			server := newServer(t, piecesauthtest.Options{})
			path := map[piecesauthtest.Op]string{
				piecesauthtest.JWKS: "/.well-known/jwks.json", piecesauthtest.Discovery: "/.well-known/openid-configuration",
			}[op]
			statuses := func(n int) (list []int) {
				for range n {
					list = append(list, get(t, server, server.URL+path).StatusCode)
				}
				return list
			}
			faults := []piecesauthtest.Fault{{Status: 500, Times: 3}, {}, {Status: 503, Times: 1}, {Status: 504}}
			server.Fail(op, faults...)
			assert.Equal(t, []int{500, 500, 500, 200, 503, 504, 200}, statuses(7))
			server.Fail(op, faults...)
			assert.Equal(t, []int{500, 500, 500}, statuses(3), "the caller's faults are as they were")

			server.Heal()
			server.Fail(op, piecesauthtest.Fault{Status: 500, Times: piecesauthtest.Always})
			assert.Equal(t, []int{500, 500, 500, 500}, statuses(4))
			server.Heal(piecesauthtest.Logout)
			assert.Equal(t, []int{500}, statuses(1), "another operation was healed")
			server.Heal(op)
			assert.Equal(t, []int{200}, statuses(1))
			assert.Equal(t, 16, server.Count(op))
		})
	}
}

func TestFailAfterActing(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	limited := piecesauthtest.Fault{Status: 429, RetryAfter: 1500 * time.Millisecond, AfterActing: true, Body: `{"error":"too_many_requests"}`}
	server.Fail(piecesauthtest.Refresh, limited)
	token, err := server.NewToken()
	require.NoError(t, err)
	a := refresh(t, server, token.RefreshToken)
	assert.Equal(t, 429, a.StatusCode)
	assert.Equal(t, "2", a.Header.Get("Retry-After"), "whole seconds, and no fewer")
	assert.JSONEq(t, limited.Body, a.body)
	assert.Empty(t, a.Header.Get("Pragma"), "of the answer that was dropped")
	assert.Equal(t, 1, server.Families()[0].Refreshes, "it had acted")
	assert.Equal(t, "invalid_grant", refresh(t, server, token.RefreshToken).json(t)["error"])

	server.Fail(piecesauthtest.Exchange, limited)
	code := signIn(t, server, nil)
	assert.Equal(t, 429, redeem(t, server, code, nil).StatusCode)
	assert.Equal(t, "invalid_grant", redeem(t, server, code, nil).json(t)["error"])

	limited.AfterActing = false
	server.Fail(piecesauthtest.Exchange, limited)
	code = signIn(t, server, nil)
	assert.Equal(t, 429, redeem(t, server, code, nil).StatusCode)
	assert.Equal(t, 200, redeem(t, server, code, nil).StatusCode, "it had not acted")
}

func TestFailFunc(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	there := server.URL + "/.well-known/jwks.json"
	server.FailFunc(piecesauthtest.JWKS, func(r *piecesauthtest.Request) piecesauthtest.Fault {
		if r.Header.Get("Accept") == "application/jwk-set+json" {
			return piecesauthtest.Fault{}
		}
		return piecesauthtest.Fault{Status: 406}
	})
	server.Fail(piecesauthtest.JWKS, piecesauthtest.Fault{Status: 500})
	assert.Equal(t, 500, get(t, server, there).StatusCode, "what is queued comes first")
	assert.Equal(t, 406, get(t, server, there).StatusCode)
	assert.Equal(t, 200, get(t, server, there, "Accept", "application/jwk-set+json").StatusCode)
	assert.Equal(t, 400, get(t, server, there, "Authorization", "Bearer x").StatusCode, "malformed")
	server.FailFunc(piecesauthtest.JWKS, nil)
	assert.Equal(t, 200, get(t, server, there).StatusCode)

	// It may turn the server around before the answer.
	server.FailFunc(piecesauthtest.Refresh, func(*piecesauthtest.Request) piecesauthtest.Fault {
		server.RotateKey("ES256")
		return piecesauthtest.Fault{}
	})
	token, err := server.NewToken()
	require.NoError(t, err)
	require.Equal(t, 200, refresh(t, server, token.RefreshToken).StatusCode)
	assert.Len(t, keySet(t, server).Keys, 2)
	server.Heal(piecesauthtest.Refresh)
	refresh(t, server, token.RefreshToken)
	assert.Len(t, keySet(t, server).Keys, 2)
}
