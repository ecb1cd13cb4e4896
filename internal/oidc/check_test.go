package oidc

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const theLeeway = 5 * time.Minute

func half(sum []byte) string { return base64url.EncodeToString(sum[:len(sum)/2]) }

// TestCheck bends one claim after the other.
func TestCheck(t *testing.T) {
	type bent = map[string]any
	const access = "acc3ss"
	sum, other := sha256.Sum256([]byte(access)), sha256.Sum256([]byte("other"))
	aged := func(age time.Duration) func(*Expected) { return func(e *Expected) { e.MaxAge = age } }
	after := func(claims Claims) func(*Expected) {
		return func(e *Expected) { e.Previous, e.Nonce = &claims, "" }
	}
	before := Claims{Issuer: theIssuer, Subject: "auth0|1", Audience: Strings{theClient}, Nonce: "n0nce"}
	changed := func(change func(*Claims)) func(*Expected) {
		c := before
		change(&c)
		return after(c)
	}
	for _, tt := range []struct {
		name   string
		claims func(unix func(time.Duration) float64) bent
		expect func(*Expected)
		says   string // "" where it is good
		kind   Kind
	}{
		{name: "as it should be"},
		{name: "missing iss", claims: with("iss", nil), kind: Issuer, says: "iss of the ID token is missing"},
		{name: "another iss", claims: with("iss", "https://other.example.com\n"), kind: Issuer, says: `iss of the ID token is "https://other.example.com\n", not "https://issuer.example.com/"`},
		{name: "iss without a slash", claims: with("iss", strings.TrimSuffix(theIssuer, "/")), kind: Issuer, says: `not "https://issuer.example.com/": they differ in the slash at the end`},
		{name: "a long iss", claims: with("iss", strings.Repeat("é", 1000)), kind: Issuer, says: "…\""},
		{name: "any iss", claims: with("iss", "x"), expect: func(e *Expected) { e.Issuer = "" }},
		{name: "no iss where any will do", claims: with("iss", nil), expect: func(e *Expected) { e.Issuer = "" }, kind: Issuer, says: "missing"},
		{name: "iss has changed", claims: with("iss", "x"), expect: func(e *Expected) { after(before)(e); e.Issuer = "" }, kind: Issuer, says: `iss of the refreshed ID token is "x", not "https://issuer.example.com/"`},
		{name: "missing sub", claims: with("sub", nil), kind: Subject, says: "sub of the ID token is missing"},
		{name: "sub has changed", expect: changed(func(c *Claims) { c.Subject = "auth0|2" }), kind: Subject, says: "sub of the refreshed ID token has changed"},
		{name: "missing nonce", claims: with("nonce", nil), kind: Nonce, says: "nonce of the ID token is missing"},
		{name: "another nonce", claims: with("nonce", "s3cr3t"), kind: Nonce, says: "nonce of the ID token is not the attempt's"},
		{name: "a nonce nobody asked for", expect: func(e *Expected) { e.Nonce = "" }},
		{name: "the nonce again", expect: after(before)},
		{name: "no nonce again", claims: with("nonce", nil), expect: after(before)},
		{name: "nonce has changed", claims: with("nonce", "s3cr3t"), expect: after(before), kind: Nonce, says: "nonce of the refreshed ID token has changed"},
		{name: "missing aud", claims: with("aud", nil), kind: Audience, says: "aud of the ID token is missing"},
		{name: "empty aud", claims: with("aud", []string{}), kind: Audience, says: "aud of the ID token is missing"},
		{name: "another aud", claims: with("aud", "other"), kind: Audience, says: `aud of the ID token lacks this client, "client"`},
		{name: "aud as a list", claims: with("aud", []string{theClient})},
		{name: "a second aud", claims: with("aud", []string{theClient, "other"}), kind: Audience, says: `has others than this client`},
		{name: "a second aud with azp", claims: func(func(time.Duration) float64) bent {
			return bent{"aud": []string{theClient, "other"}, "azp": theClient}
		}, kind: Audience, says: "others"},
		{name: "azp", claims: with("azp", theClient)},
		{name: "another azp", claims: with("azp", "other"), kind: Audience, says: `azp of the ID token is not this client, "client"`},
		{name: "aud has changed", expect: changed(func(c *Claims) { c.Audience = Strings{theClient, "x"} }), kind: Audience, says: "aud of the refreshed ID token has changed"},
		{name: "auth_time nobody asked for", claims: at("auth_time", -time.Hour)},
		{name: "missing auth_time", expect: aged(time.Hour), kind: AuthTime, says: "auth_time of the ID token is missing"},
		{name: "auth_time to the second", claims: at("auth_time", -time.Minute), expect: aged(time.Minute)},
		{name: "auth_time a second too long ago", claims: at("auth_time", -61*time.Second), expect: aged(time.Minute), kind: AuthTime, says: "1m1s before iat, which is longer than MaxAge, 1m0s"},
		{name: "auth_time by the issuer's clock", claims: func(unix func(time.Duration) float64) bent {
			return bent{"iat": unix(-4 * time.Minute), "auth_time": unix(-5 * time.Minute)}
		}, expect: aged(time.Minute)},
		{name: "auth_time without iat", claims: func(unix func(time.Duration) float64) bent { return bent{"iat": nil, "auth_time": unix(0)} }, expect: aged(time.Minute), kind: Malformed, says: "iat of the ID token is missing"},
		{name: "at_hash", claims: with("at_hash", half(sum[:]))},
		{name: "another at_hash", claims: with("at_hash", half(other[:])), kind: Hash, says: "at_hash of the ID token is not the access token's"},
		{name: "at_hash of a token that isn't known", claims: with("at_hash", half(other[:])), expect: func(e *Expected) { e.AccessToken = "" }},
		{name: "missing exp", claims: with("exp", nil), kind: Malformed, says: "exp of the ID token is missing"},
		{name: "missing iat", claims: with("iat", nil), kind: Malformed, says: "iat of the ID token is missing"},
		{name: "exp within the leeway", claims: at("exp", time.Second-theLeeway)},
		{name: "exp beyond the leeway", claims: at("exp", -theLeeway), kind: Clock, says: "exp of the ID token has passed, 5m0s ago"},
		{name: "exp beyond any calendar", claims: with("exp", 1e300)},
		{name: "exp before any calendar", claims: with("exp", -1e300), kind: Clock, says: "exp of the ID token has passed"},
		{name: "iat within the leeway", claims: at("iat", theLeeway)},
		{name: "iat beyond the leeway", claims: at("iat", theLeeway+62*time.Second), kind: Clock, says: "iat of the ID token is 6m2s in the future: this machine's clock is late"},
		{name: "nbf within the leeway", claims: at("nbf", theLeeway)},
		{name: "nbf beyond the leeway", claims: at("nbf", theLeeway+time.Second), kind: Clock, says: "nbf of the ID token is 5m1s in the future"},
		{name: "all is wrong", claims: func(unix func(time.Duration) float64) bent { return bent{"iss": "x", "sub": nil, "aud": "x", "exp": 1} }, kind: Issuer, says: "iss"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(30 * 365 * 24 * time.Hour)
				unix := func(d time.Duration) float64 { return float64(time.Now().Add(d).Unix()) }
				c := claims()
				if tt.claims != nil {
					c = claims(tt.claims(unix))
				}
				token, err := Parse(makeKeys().first.sign(t, c))
				require.NoError(t, err)
				e := Expected{Issuer: theIssuer, ClientID: theClient, Nonce: "n0nce", AccessToken: access, Leeway: theLeeway}
				if tt.expect != nil {
					tt.expect(&e)
				}
				err = token.Check(e)
				if tt.says == "" {
					require.NoError(t, err)
					return
				}
				requireKind(t, err, tt.kind, tt.says)
				for _, secret := range []string{"auth0|", "n0nce", "s3cr3t", access} {
					assert.NotContains(t, fmt.Sprintf("%v%+v", err, err), secret)
				}
				assert.Less(t, len(err.Error()), 600)
			})
		})
	}
}

func with(name string, v any) func(func(time.Duration) float64) map[string]any {
	return func(func(time.Duration) float64) map[string]any { return map[string]any{name: v} }
}

func at(name string, d time.Duration) func(func(time.Duration) float64) map[string]any {
	return func(unix func(time.Duration) float64) map[string]any { return map[string]any{name: unix(d)} }
}

// TestCheckOrder: the kind that weighs most is what is said, whatever else is
// wrong.
func TestCheckOrder(t *testing.T) {
	c := claims(map[string]any{"iss": "x", "sub": nil, "nonce": "x", "aud": "x", "auth_time": nil, "at_hash": "x", "exp": 1})
	header := base64url.EncodeToString([]byte(`{"alg":"none"}`))
	e := Expected{Issuer: theIssuer, ClientID: theClient, Nonce: "n0nce", MaxAge: time.Hour, AccessToken: "a"}
	for _, mended := range []struct {
		kind Kind
		name string
		v    any
	}{{Issuer, "iss", theIssuer}, {Subject, "sub", "s"}, {Nonce, "nonce", "n0nce"}, {Audience, "aud", theClient}, {AuthTime, "auth_time", c["iat"]}, {Algorithm, "", nil}, {Hash, "at_hash", nil}} {
		parts := strings.Split(makeKeys().first.sign(t, c), ".")
		token, err := Parse(header + "." + parts[1] + ".")
		require.NoError(t, err)
		requireKind(t, token.Check(e), mended.kind)
		if mended.kind == Algorithm {
			header = parts[0]
		}
		c[mended.name] = mended.v
		delete(c, "")
		if mended.v == nil {
			delete(c, mended.name)
		}
	}
	token, err := Parse(makeKeys().first.sign(t, c))
	require.NoError(t, err)
	requireKind(t, token.Check(e), Clock)
	for _, alg := range []string{`{"alg":"NONE"}`, `{"alg":""}`, `{}`} {
		token, err := Parse(base64url.EncodeToString([]byte(alg)) + "." + strings.Split(makeKeys().first.sign(t, c), ".")[1] + ".")
		require.NoError(t, err)
		requireKind(t, token.Check(e), Algorithm, "the ID token is not signed")
	}
}

func TestAccessTokenHash(t *testing.T) {
	token := []byte("acc3ss")
	s256, s384, s512 := sha256.Sum256(token), sha512.Sum384(token), sha512.Sum512(token)
	for alg, want := range map[string]string{
		"RS256": half(s256[:]), "ES256": half(s256[:]), "PS384": half(s384[:]), "ES384": half(s384[:]), "RS512": half(s512[:]), "EdDSA": half(s512[:]),
	} {
		require.Equal(t, want, accessTokenHash(alg, "acc3ss"), alg)
	}
}

// Values of the token are quoted in errors, and long ones cut.
func TestQuoted(t *testing.T) {
	long := strings.Repeat("x", 200)
	require.Equal(t, strconv.Quote(long), quoted(long))
	require.Equal(t, strconv.Quote(long+"…"), quoted(long+"x"))
	require.Equal(t, `"a" and "b\n" and "" and "" and ""`, quoted("a", "b\n", "", "", "", "sixth"))
}
