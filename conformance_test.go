package piecesauth_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
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
	require.Equal(t, want, string(got), "regenerate it: go test -run TestConformance . -update")
}

// conformancePage is docs/conformance.md.
func conformancePage(results map[string][]string) string {
	var b strings.Builder
	b.WriteString(`# OpenID relying-party conformance

<!-- Written by: go test -run TestConformance . -update -->

The cases of the OpenID Foundation's conformance suite that concern a public
client with the code flow, under the suite's names. Each runs twice, with
` + "`form_post`" + ` and with ` + "`query`" + `, against a server that misbehaves as the suite's
does (package ` + "`piecesauthtest`" + `), and must end the same way in both. After each
refusal the same client signs in to the same server, which now behaves: this
shows that the fault was what was refused, and that it left nothing behind.

The results are those of ` + "`TestConformance`" + `, with the texts of its errors. The
last column is for a client that does not set ` + "`Config.Issuer`" + `: claims are checked
all the same, but there is no issuer to compare with, and no signature is
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
