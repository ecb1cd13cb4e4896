package piecesauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// play plays the case once, with a server and a client of its own, and says
// what came of it.
func (c *conformanceCase) play(t *testing.T, mode piecesauth.ResponseMode, withIssuer bool) string {
	t.Helper()
	server := piecesauthtest.NewServer(c.options)
	defer server.Close()
	config := server.Config()
	config.ResponseMode = mode
	if !withIssuer {
		config.Issuer = ""
	}
	if c.config != nil {
		c.config(&config)
	}
	auth, err := piecesauth.New(config)
	require.NoError(t, err)
	j := &journey{T: t, server: server, auth: auth, mode: mode, withIssuer: withIssuer}
	j.refused = c.op != "" && (withIssuer || !c.needsIssuer)

	if c.bend != nil {
		c.bend(server)
	}
	act := c.act
	if act == nil {
		act = func(j *journey) (string, error) {
			_, err := j.signIn(nil)
			return "", err
		}
	}
	detail, err := act(j)
	if !j.refused {
		require.NoError(t, err)
		if detail == "" {
			return "accepted"
		}
		return "accepted: " + detail
	}

	require.Error(t, err)
	var e *piecesauth.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, c.op, e.Op)
	assert.Contains(t, err.Error(), c.says)
	if c.is != nil {
		require.ErrorIs(t, err, c.is)
	}
	if c.unspent {
		assert.Zero(t, server.Count(piecesauthtest.Exchange), "a code went out")
	} else {
		assert.Equal(t, 1, server.Count(piecesauthtest.Exchange))
	}
	if c.op != "userinfo" {
		assert.Zero(t, server.Count(piecesauthtest.UserInfo), "a refused token was used")
	}
	_, err = j.signIn(nil)
	require.NoError(t, err, "without the fault")
	says := strings.ReplaceAll(e.Error(), server.URL, "https://issuer.example")
	return "refused: `" + regexp.MustCompile(`6m\d+s ago`).ReplaceAllString(says, "6m0s ago") + "`"
}

// journey is one run of a case.
type journey struct {
	*testing.T
	server     *piecesauthtest.Server
	auth       *piecesauth.Authenticator
	mode       piecesauth.ResponseMode
	withIssuer bool
	refused    bool // what is expected

	page *piecesauthtest.Page // the last sign-in ended at
}

// signIn signs a person in through a receiver on this machine, and makes sure
// that a token comes with the person's claims and profile, or not at all.
func (j *journey) signIn(begin *piecesauth.BeginOptions) (*piecesauth.Token, error) {
	j.Helper()
	token, err := j.roundTrip(begin)
	if err != nil {
		require.Nil(j, token, "a token came with an error")
		return nil, err
	}
	var claims struct{ Sub string }
	require.NoError(j, token.Claims(&claims))
	user, err := j.auth.UserInfo(j.Context(), token)
	require.NoError(j, err)
	require.NotEmpty(j, user.Sub)
	require.Equal(j, user.Sub, claims.Sub)
	return token, nil
}

// roundTrip opens a browser and takes the callback as it arrives.
func (j *journey) roundTrip(begin *piecesauth.BeginOptions) (*piecesauth.Token, error) {
	j.Helper()
	ctx, cancel := context.WithTimeout(j.Context(), time.Minute)
	defer cancel()
	pages := make(chan *piecesauthtest.Page, 1)
	token, err := loopback.SignIn(ctx, j.auth, loopback.Options{
		RedirectURL: "http://127.0.0.1:0/callback",
		Begin:       begin,
		OpenBrowser: func(url string) error {
			page, err := j.server.Browser().Open(ctx, url)
			if err == nil && strings.HasPrefix(page.URL, j.server.URL) {
				err = fmt.Errorf("the browser stayed at the server: status %d", page.Status)
			}
			pages <- page
			return err
		},
	})
	select {
	case j.page = <-pages:
	case <-ctx.Done():
	}
	require.NotNil(j, j.page, "%v", err)
	require.Equal(j, http.StatusOK, j.page.Status, j.page.Body)
	// What came by form_post left nothing in the address bar.
	require.Equal(j, j.mode == piecesauth.ResponseModeQuery, strings.Contains(j.page.URL, "state="))
	return token, err
}

func bendClaims(edit func(map[string]any)) func(*piecesauthtest.Server) {
	return func(s *piecesauthtest.Server) {
		s.BendIDToken(func(t *piecesauthtest.IDToken) { edit(t.Claims) })
	}
}

func badSignature(s *piecesauthtest.Server) {
	s.BendIDToken(func(t *piecesauthtest.IDToken) { t.BadSignature = true })
}

func withoutKeyID(s *piecesauthtest.Server) {
	s.BendIDToken(func(t *piecesauthtest.IDToken) { delete(t.Header, "kid") })
}

func keysWithoutID(set map[string]any) {
	for _, k := range set["keys"].([]any) {
		delete(k.(map[string]any), "kid")
	}
}

func algorithm(t require.TestingT, token *piecesauth.Token) string {
	head, _, _ := strings.Cut(token.IDToken, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	require.NoError(t, err)
	var header struct{ Alg string }
	require.NoError(t, json.Unmarshal(text, &header))
	return header.Alg
}

func userInfoOfAnother(j *journey) (_ string, err error) {
	token, err := j.roundTrip(nil)
	require.NoError(j, err)
	for _, edit := range []func(map[string]any){
		func(o map[string]any) { o["sub"] = o["sub"].(string) + "1" },
		func(o map[string]any) { delete(o, "sub") },
	} {
		j.server.BendJSON(piecesauthtest.UserInfo, edit)
		var user *piecesauth.User
		user, err = j.auth.UserInfo(j.Context(), token)
		require.Error(j, err)
		require.Nil(j, user)
	}
	_, good := j.auth.UserInfo(j.Context(), token)
	require.NoError(j, good)
	return "", err
}

// keyFetches is how often the keys have to be asked for, given how often
// somebody who verifies signatures would.
func (j *journey) keyFetches(verifying int) string {
	j.Helper()
	if !j.withIssuer {
		verifying = 0
	}
	n := j.server.Count(piecesauthtest.JWKS)
	assert.Equal(j, verifying, n, "requests for the keys")
	return fmt.Sprintf("%d requests for the keys", n)
}

func keyRotation(j *journey) (string, error) {
	if _, err := j.signIn(nil); err != nil {
		return "", err
	}
	j.keyFetches(1)
	if _, err := j.signIn(nil); err != nil {
		return "", err
	}
	j.keyFetches(1) // they were kept
	j.server.RotateKey("RS256")
	for range 2 {
		if _, err := j.signIn(nil); err != nil {
			return "", err
		}
	}
	return j.keyFetches(2), nil
}

func keyRotationBeforeSigning(j *journey) (string, error) {
	j.server.Fail(piecesauthtest.JWKS, piecesauthtest.Fault{
		Bend: func(*piecesauthtest.Response) { j.server.RotateKey("RS256") }, // the answer has the old key alone
	})
	_, err := j.signIn(nil)
	return j.keyFetches(2), err
}

func claimsByScope(j *journey) (string, error) {
	for _, c := range []struct {
		scopes         piecesauth.Scopes
		profile, email bool
	}{
		{piecesauth.Scopes{"openid"}, false, false},
		{piecesauth.Scopes{"openid", "email"}, false, true},
		{piecesauth.Scopes{"openid", "profile"}, true, false},
		{piecesauth.Scopes{"openid", "profile", "email"}, true, true},
	} {
		config := j.server.Config()
		config.ResponseMode, config.Scopes = j.mode, c.scopes
		if !j.withIssuer {
			config.Issuer = ""
		}
		auth, err := piecesauth.New(config)
		require.NoError(j, err)
		asker := *j
		asker.auth = auth
		token, err := asker.signIn(nil)
		if err != nil {
			return "", err
		}
		asked := j.server.Requests(piecesauthtest.Authorize)
		require.Equal(j, c.scopes.String(), asked[len(asked)-1].Form.Get("scope"))
		require.Equal(j, c.scopes, token.Scopes)

		user, err := auth.UserInfo(j.Context(), token)
		require.NoError(j, err)
		var all map[string]any
		require.NoError(j, user.Claims(&all))
		for name, covered := range map[string]bool{
			"sub": true, "name": c.profile, "nickname": c.profile, "picture": c.profile, "updated_at": c.profile,
			"email": c.email, "email_verified": c.email,
		} {
			assert.Equal(j, covered, all[name] != nil, "%s with %s", name, c.scopes)
		}
		assert.Equal(j, c.profile, user.Name != "")
		assert.Equal(j, c.email, user.Email != "" && user.EmailVerified)
	}
	return "the profile of each of four lists of scopes", nil
}

func errorCallback(j *journey) (string, error) {
	_, err := j.signIn(&piecesauth.BeginOptions{Prompt: "none"})
	asked := j.server.Requests(piecesauthtest.Authorize)
	require.Len(j, asked, 1)
	if j.mode == piecesauth.ResponseModeFormPost {
		require.Equal(j, http.StatusBadRequest, asked[0].Status)
	}
	require.ErrorIs(j, err, &piecesauth.Error{Code: "login_required"})
	assert.Contains(j, j.page.Body, "login_required", "the person has to see it")
	return "", err
}

func bearerHeader(j *journey) (string, error) {
	token, err := j.signIn(nil)
	if err != nil {
		return "", err
	}
	asked := j.server.Requests(piecesauthtest.UserInfo)
	require.Len(j, asked, 1)
	r := asked[0]
	require.Equal(j, http.MethodGet, r.Method)
	require.Equal(j, []string{"Bearer " + token.AccessToken}, r.Header.Values("Authorization"))
	require.Empty(j, r.URL.RawQuery)
	require.Empty(j, r.Body)
	r.Header.Del("Authorization")
	require.NotContains(j, fmt.Sprint(r.URL, r.Header), token.AccessToken)
	return "in the header alone", nil
}

func refreshTwice(j *journey) (string, error) {
	first, err := j.signIn(nil)
	if err != nil {
		return "", err
	}
	previous := first
	for range 2 {
		next, err := j.auth.Refresh(j.Context(), previous)
		if err != nil {
			return "", err
		}
		require.NotEqual(j, previous.AccessToken, next.AccessToken)
		require.NotEqual(j, previous.RefreshToken, next.RefreshToken)
		require.NotEqual(j, previous.IDToken, next.IDToken)
		asked := j.server.Requests(piecesauthtest.Refresh)
		require.Equal(j, url.Values{
			"grant_type": {"refresh_token"}, "client_id": {j.server.ClientID}, "refresh_token": {previous.RefreshToken},
		}, asked[len(asked)-1].Form)

		var claims struct{ Sub string }
		require.NoError(j, next.Claims(&claims))
		user, err := j.auth.UserInfo(j.Context(), next)
		require.NoError(j, err)
		require.Equal(j, user.Sub, claims.Sub)
		asked = j.server.Requests(piecesauthtest.UserInfo)
		require.Equal(j, "Bearer "+next.AccessToken, asked[len(asked)-1].Header.Get("Authorization"))
		previous = next
	}
	require.Zero(j, j.server.Revocations(), "a refresh token was used twice")
	return fmt.Sprintf("%d refreshes", j.server.Count(piecesauthtest.Refresh)), nil
}

func refreshBent(edit func(map[string]any)) func(*journey) (string, error) {
	return func(j *journey) (string, error) {
		token, err := j.roundTrip(nil)
		require.NoError(j, err)
		bendClaims(edit)(j.server)
		next, err := j.auth.Refresh(j.Context(), token)
		if err != nil {
			require.Nil(j, next)
		}
		require.Equal(j, 1, j.server.Count(piecesauthtest.Refresh))
		return "", err
	}
}

// callbackBent brings a bent callback to Complete by hand: a receiver on this
// machine would wait on for a callback with the right state.
func callbackBent(edit func(url.Values)) func(*journey) (string, error) {
	return func(j *journey) (string, error) {
		var last error
		for _, denied := range []bool{true, false} {
			attempt, err := j.auth.Begin(nil)
			require.NoError(j, err)
			j.server.BendCallback(edit)
			browser := j.server.Browser()
			browser.Deny = denied
			callback, err := browser.SignIn(j.Context(), attempt.URL)
			require.NoError(j, err)
			require.Equal(j, denied, callback.Has("error"))
			require.Equal(j, denied, !callback.Has("code"))

			token, err := j.auth.Complete(j.Context(), attempt, callback)
			last = err
			refusal := errors.Is(err, &piecesauth.Error{Code: "access_denied"})
			if j.refused {
				require.Error(j, err)
				require.Nil(j, token)
				require.False(j, refusal, "the error was looked at first")
			} else {
				require.Equal(j, denied, refusal, "%v", err)
			}
		}
		return "", last
	}
}
