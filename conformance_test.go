package piecesauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// The tests of this file play the relying-party cases of the OpenID
// Foundation's conformance suite, by the suite's names, against a server that
// misbehaves as the suite's does. What comes of them is docs/conformance.md:
//
//	go test -run TestConformance . -update

var update = flag.Bool("update", false, "write docs/conformance.md from the results of TestConformance")

const (
	oidccSuite = "oidcc-client-test-"
	fapiSuite  = "fapi2-security-profile-final-client-test-"
)

// conformanceCase is a row of the table. It is an ordinary sign-in where act is
// nil, is accepted where op is "", and has to end the same way by form_post and
// by query.
type conformanceCase struct {
	suite, name string
	server      string // what is there to be seen of it
	expected    string // of the client; where the suite leaves a choice, the stricter

	options piecesauthtest.Options
	config  func(*piecesauth.Config)
	bend    func(*piecesauthtest.Server)
	act     func(*journey) (detail string, err error)

	op      string // that refuses: Error.Op
	is      error  // what the refusal is, where there is a name for it
	says    string // what its text names
	unspent bool   // refused before the code went out

	// needsIssuer marks what only Config.Issuer can tell. All else is refused
	// without it as well.
	needsIssuer bool
}

var conformanceCases = []conformanceCase{
	{
		suite: oidccSuite, name: "invalid-iss",
		server:   "iss of the ID token is another issuer",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { c["iss"] = "https://other.example.com/" }),
		op:       "complete", is: piecesauth.ErrIssuerMismatch, says: "iss of the ID token", needsIssuer: true,
	},
	{
		suite: oidccSuite, name: "missing-sub",
		server:   "the ID token has no sub",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { delete(c, "sub") }),
		op:       "complete", says: "sub of the ID token",
	},
	{
		suite: oidccSuite, name: "invalid-aud",
		server:   "aud of the ID token is another client",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { c["aud"] = c["aud"].(string) + "1" }),
		op:       "complete", says: "aud of the ID token",
	},
	{
		suite: oidccSuite, name: "missing-aud",
		server:   "the ID token has no aud",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { delete(c, "aud") }),
		op:       "complete", says: "aud of the ID token",
	},
	{
		suite: oidccSuite, name: "missing-iat",
		server:   "the ID token has no iat",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { delete(c, "iat") }),
		op:       "complete", says: "iat of the ID token",
	},
	{
		suite: oidccSuite, name: "nonce-invalid",
		server:   "nonce of the ID token is not the one that was sent",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { c["nonce"] = c["nonce"].(string) + "1" }),
		op:       "complete", is: piecesauth.ErrNonceMismatch, says: "nonce of the ID token",
	},
	{
		suite: oidccSuite, name: "userinfo-invalid-sub",
		server:   "sub of the profile is not the ID token's, then is missing",
		expected: "throw the profile away",
		act:      userInfoOfAnother,
		op:       "userinfo", says: "sub",
	},
	{
		suite: oidccSuite, name: "idtoken-sig-rs256",
		server:   "the ID token is signed with RS256",
		expected: "accept",
		act: func(j *journey) (string, error) {
			token, err := j.signIn(nil)
			if err != nil {
				return "", err
			}
			return "alg is " + algorithm(j, token), nil
		},
	},
	{
		suite: oidccSuite, name: "idtoken-sig-none",
		server:   "the ID token is not signed, and says so: alg is none",
		expected: "reject the ID token (the suite allows either)",
		bend: func(s *piecesauthtest.Server) {
			s.BendIDToken(func(t *piecesauthtest.IDToken) {
				t.Header["alg"] = "none"
				delete(t.Header, "kid")
			})
		},
		op: "complete", says: "signed",
	},
	{
		suite: oidccSuite, name: "invalid-sig-rs256",
		server:   "the RS256 signature of the ID token is of something else",
		expected: "reject the ID token (the suite allows either where it comes from the token endpoint)",
		bend:     badSignature,
		op:       "complete", says: "signature", needsIssuer: true,
	},
	{
		suite: oidccSuite, name: "invalid-sig-es256",
		server:   "the ES256 signature of the ID token, ES256 being configured, is of something else",
		expected: "reject the ID token (the suite allows either where it comes from the token endpoint)",
		config:   func(c *piecesauth.Config) { c.IDTokenAlgorithms = []string{"ES256"} },
		bend: func(s *piecesauthtest.Server) {
			s.RotateKey("ES256")
			badSignature(s)
		},
		op: "complete", says: "signature", needsIssuer: true,
	},
	{
		suite: oidccSuite, name: "invalid-sig-hs256",
		server:   "the ID token is signed with HS256, the issuer's public key being the secret",
		expected: "reject the ID token",
		bend: func(s *piecesauthtest.Server) {
			s.BendIDToken(func(t *piecesauthtest.IDToken) { t.Header["alg"] = "HS256" })
		},
		op: "complete", says: "algorithm", needsIssuer: true,
	},
	{
		suite: oidccSuite, name: "invalid-athash",
		server:   "at_hash of the ID token is another access token's",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { c["at_hash"] = c["at_hash"].(string) + "1" }),
		op:       "complete", says: "at_hash",
	},
	{
		suite: oidccSuite, name: "kid-absent-single-jwks",
		server:   "neither the ID token nor the one key has a kid",
		expected: "accept",
		bend: func(s *piecesauthtest.Server) {
			withoutKeyID(s)
			s.BendJSON(piecesauthtest.JWKS, keysWithoutID)
		},
	},
	{
		suite: oidccSuite, name: "kid-absent-multiple-jwks",
		server:   "neither the ID token nor any of several keys that fit has a kid",
		expected: "reject the ID token (the suite allows either)",
		bend: func(s *piecesauthtest.Server) {
			s.RotateKey("RS256")
			withoutKeyID(s)
			s.BendJSON(piecesauthtest.JWKS, keysWithoutID)
			s.BendJSON(piecesauthtest.JWKS, keysWithoutID) // of the second look
		},
		op: "complete", says: "which of its issuer's keys", needsIssuer: true,
	},
	{
		suite: oidccSuite, name: "signing-key-rotation",
		server:   "it signs with another key from the third sign-in on",
		expected: "ask for the keys again, once, and accept",
		act:      keyRotation,
	},
	{
		suite: oidccSuite, name: "signing-key-rotation-just-before-signing",
		server:   "it changes its key between being asked for the keys and signing",
		expected: "ask for the keys again, once, and accept",
		act:      keyRotationBeforeSigning,
	},
	{
		suite: oidccSuite, name: "scope-userinfo-claims",
		server:   "the profile has the claims that the scopes cover",
		expected: "ask by scope; take what comes",
		act:      claimsByScope,
	},
	{
		suite: oidccSuite, name: "form-post-error",
		server:   "prompt=none without a session is answered with an error; the form_post page has status 400",
		expected: "report the error",
		options:  piecesauthtest.Options{FormPostErrorStatus: http.StatusBadRequest},
		act:      errorCallback,
		op:       "complete", is: piecesauth.ErrSignInRequired, says: "login_required", unspent: true,
	},
	{
		suite: oidccSuite, name: "userinfo-bearer-header",
		server:   "the access token is looked for everywhere in the request for the profile",
		expected: "send it in the Authorization header, and nowhere else",
		act:      bearerHeader,
	},
	{
		suite: oidccSuite, name: "refresh-token",
		server:   "the refresh token is replaced at every use",
		expected: "refresh, and use the new tokens",
		act:      refreshTwice,
	},
	{
		suite: oidccSuite, name: "refresh-token-invalid-issuer",
		server:   "iss of the refreshed ID token is another issuer",
		expected: "reject the answer",
		act:      refreshBent(func(c map[string]any) { c["iss"] = "https://other.example.com/" }),
		op:       "refresh", is: piecesauth.ErrIssuerMismatch, says: "iss",
	},
	{
		suite: oidccSuite, name: "refresh-token-invalid-sub",
		server:   "sub of the refreshed ID token is another person",
		expected: "reject the answer",
		act:      refreshBent(func(c map[string]any) { c["sub"] = "auth0|another" }),
		op:       "refresh", says: "sub",
	},
	{
		suite: oidccSuite, name: "discovery-issuer-mismatch",
		server:   "issuer of the metadata is another issuer",
		expected: "reject the metadata, and go no further",
		bend: func(s *piecesauthtest.Server) {
			s.BendJSON(piecesauthtest.Discovery, func(o map[string]any) { o["issuer"] = "https://other.example.com/" })
		},
		op: "discovery", is: piecesauth.ErrIssuerMismatch, says: "issuer", unspent: true, needsIssuer: true,
	},

	{
		suite: fapiSuite, name: "ensure-authorization-response-with-invalid-state-fails",
		server:   "state of the callback is not the one that was sent; once with a code, once with an error",
		expected: "reject the callback before anything else of it counts",
		act:      callbackBent(func(v url.Values) { v.Set("state", v.Get("state")+"1") }),
		op:       "complete", is: piecesauth.ErrStateMismatch, says: "state", unspent: true,
	},
	{
		suite: fapiSuite, name: "ensure-authorization-response-with-invalid-missing-state-fails",
		server:   "the callback has no state; once with a code, once with an error",
		expected: "reject the callback before anything else of it counts",
		act:      callbackBent(func(v url.Values) { v.Del("state") }),
		op:       "complete", is: piecesauth.ErrStateMismatch, says: "state", unspent: true,
	},
	{
		suite: fapiSuite, name: "invalid-authorization-response-iss",
		server:   "iss of the callback is another issuer; once with a code, once with an error",
		expected: "reject the callback",
		act:      callbackBent(func(v url.Values) { v.Set("iss", "https://other.example.com/") }),
		op:       "complete", is: piecesauth.ErrIssuerMismatch, says: "issuer", unspent: true, needsIssuer: true,
	},
	{
		suite: fapiSuite, name: "remove-authorization-response-iss",
		server:   "the callback has no iss, although the metadata announces one; once with a code, once with an error",
		expected: "reject the callback",
		act:      callbackBent(func(v url.Values) { v.Del("iss") }),
		op:       "complete", is: piecesauth.ErrIssuerMismatch, says: "issuer", unspent: true, needsIssuer: true,
	},
	{
		suite: fapiSuite, name: "invalid-secondary-aud",
		server:   "aud of the ID token is this client and another; azp is this client",
		expected: "reject the ID token",
		bend: bendClaims(func(c map[string]any) {
			c["azp"] = c["aud"]
			c["aud"] = []any{c["aud"], c["aud"].(string) + "1"}
		}),
		op: "complete", says: "aud of the ID token",
	},
	{
		suite: fapiSuite, name: "valid-aud-as-array",
		server:   "aud of the ID token is an array of this client alone",
		expected: "accept",
		bend:     bendClaims(func(c map[string]any) { c["aud"] = []any{c["aud"]} }),
	},
	{
		suite: fapiSuite, name: "invalid-expired-exp",
		server:   "the ID token expired six minutes ago",
		expected: "reject the ID token",
		bend: bendClaims(func(c map[string]any) {
			c["iat"] = time.Now().Add(-time.Hour).Unix()
			c["exp"] = time.Now().Add(-6 * time.Minute).Unix()
		}),
		op: "complete", says: "exp of the ID token",
	},
	{
		suite: fapiSuite, name: "invalid-missing-exp",
		server:   "the ID token has no exp",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { delete(c, "exp") }),
		op:       "complete", says: "exp of the ID token",
	},
	{
		suite: fapiSuite, name: "invalid-missing-iss",
		server:   "the ID token has no iss",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { delete(c, "iss") }),
		op:       "complete", is: piecesauth.ErrIssuerMismatch, says: "iss of the ID token",
	},
	{
		suite: fapiSuite, name: "invalid-missing-nonce",
		server:   "the ID token has no nonce, although one was sent",
		expected: "reject the ID token",
		bend:     bendClaims(func(c map[string]any) { delete(c, "nonce") }),
		op:       "complete", is: piecesauth.ErrNonceMismatch, says: "nonce of the ID token",
	},
	{
		suite: fapiSuite, name: "token-type-case-insensitivity",
		server:   "token_type is bEARER",
		expected: "accept",
		act: func(j *journey) (string, error) {
			j.server.BendJSON(piecesauthtest.Exchange, func(o map[string]any) { o["token_type"] = "bEARER" })
			token, err := j.signIn(nil)
			if err != nil {
				return "", err
			}
			return "TokenType is " + token.TokenType, nil
		},
	},
	{
		suite: fapiSuite, name: "token-endpoint-response-without-expires_in",
		server:   "the token answer has no expires_in",
		expected: "accept",
		act: func(j *journey) (string, error) {
			j.server.BendJSON(piecesauthtest.Exchange, func(o map[string]any) { delete(o, "expires_in") })
			token, err := j.signIn(nil)
			if err != nil {
				return "", err
			}
			require.True(j, token.Valid())
			return fmt.Sprintf("Expiry is zero: %t", token.Expiry.IsZero()), nil
		},
	},
}

func TestConformance(t *testing.T) {
	results := map[string][]string{} // by case: with and without Issuer
	ran := 0
	for _, c := range conformanceCases {
		t.Run(c.name, func(t *testing.T) {
			for _, mode := range []piecesauth.ResponseMode{piecesauth.ResponseModeFormPost, piecesauth.ResponseModeQuery} {
				t.Run(string(mode), func(t *testing.T) {
					got := []string{c.play(t, mode, true), c.play(t, mode, false)}
					if ran++; results[c.name] == nil {
						results[c.name] = got
					}
					assert.Equal(t, results[c.name], got, "not as by the other response mode")
				})
			}
		})
	}
	if t.Failed() || ran < 2*len(conformanceCases) {
		t.Log("docs/conformance.md is neither checked nor written: not every case ran and passed")
		return
	}
	file := filepath.Join("docs", "conformance.md")
	want := conformancePage(results)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644))
		return
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "write it anew: go test -run TestConformance . -update")
}

// conformancePage is docs/conformance.md.
func conformancePage(results map[string][]string) string {
	var b strings.Builder
	b.WriteString(`# OpenID relying-party conformance

<!-- Written by: go test -run TestConformance . -update -->

The cases of the OpenID Foundation's conformance suite that concern a public
client with the code flow, by the suite's names. Each is played twice, with
` + "`form_post` and with `query`" + `, against a server that misbehaves as the suite's
does (package ` + "`piecesauthtest`" + `), and ends the same way by both. After each
refusal the same client signs in to the same server, no longer misbehaving: so
that it was the fault that was refused, and left nothing behind.

The results are those of ` + "`TestConformance`" + `, in the words of the errors. The
last column is a client that sets no ` + "`Config.Issuer`" + `: claims are checked
nonetheless, but there is no issuer to compare with, and no signature is
verified.

This is the library's own test, not a certification.
`)
	for _, suite := range []struct{ prefix, title string }{
		{oidccSuite, "OpenID Connect Core"},
		{fapiSuite, "FAPI 2.0 Security Profile"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\nNames begin with `%s`.\n\n", suite.title, suite.prefix)
		b.WriteString("| case | at the server | expected of the client | result | without Issuer |\n| --- | --- | --- | --- | --- |\n")
		for _, c := range conformanceCases {
			if c.suite == suite.prefix {
				with, without := results[c.name][0], results[c.name][1]
				if with == without {
					without = "likewise"
				}
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", c.name, c.server, c.expected, with, without)
			}
		}
	}
	return b.String()
}

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

// What SECURITY.md says is tested has a test by that name: of the root package,
// or of the package that stands before the name.
func TestSecurityNamesTests(t *testing.T) {
	page, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	named := regexp.MustCompile("`(?:(\\w+)\\.)?((?:Test|Fuzz)\\w+)(?:/([^`]+))?`").FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, named)

	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path) //nolint:gosec // of this module
		for _, match := range declaration.FindAllSubmatch(text, -1) {
			declared[filepath.Base(filepath.Dir(path))+"."+string(match[1])] = true
		}
		return err
	}))
	for _, match := range named {
		pkg, name, subtest := match[1], match[2], match[3]
		if pkg == "" {
			pkg = "." // as filepath has it
		}
		assert.True(t, declared[pkg+"."+name], "SECURITY.md names %s, which is not there", match[0])
		if subtest != "" {
			assert.Equal(t, "TestConformance", name, "%s: only its subtests can be looked up", match[0])
			assert.True(t, slices.ContainsFunc(conformanceCases, func(c conformanceCase) bool { return c.name == subtest }),
				"SECURITY.md names %s, which is no case", match[0])
		}
	}
}
