package piecesauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keyPair is a key of an issuer.
type keyPair struct {
	private crypto.Signer
	alg     jose.SignatureAlgorithm
	kid     string
}

// makeKeys makes the keys of these tests, once: RSA takes its time.
var makeKeys = sync.OnceValue(func() (keys struct{ first, second, ec, ed keyPair }) {
	first, err := rsa.GenerateKey(rand.Reader, 2048)
	second, err2 := rsa.GenerateKey(rand.Reader, 2048)
	ec, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, err4 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		panic(err)
	}
	keys.first = keyPair{first, jose.RS256, "first"}
	keys.second = keyPair{second, jose.RS256, "second"}
	keys.ec = keyPair{ec, jose.ES256, "ec"}
	keys.ed = keyPair{ed, jose.EdDSA, "ed"}
	return keys
})

// named gives the key under another kid, which may be "".
func (k keyPair) named(kid string) keyPair { k.kid = kid; return k }

func (k keyPair) sign(t *testing.T, claims map[string]any) string {
	options := &jose.SignerOptions{}
	if k.kid != "" {
		options = options.WithHeader("kid", k.kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: k.private}, options)
	if !assert.NoError(t, err) {
		return ""
	}
	payload, err := json.Marshal(claims)
	assert.NoError(t, err)
	jws, err := signer.Sign(payload)
	if !assert.NoError(t, err) {
		return ""
	}
	text, err := jws.CompactSerialize()
	assert.NoError(t, err)
	return text
}

// unsigned gives a JWT with a header of the caller's and a signature of none.
func unsigned(t *testing.T, header string, claims map[string]any) string {
	payload, err := json.Marshal(claims)
	assert.NoError(t, err)
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode(payload) + "."
}

// provider is an issuer with its token endpoint.
type provider struct {
	*wire

	idToken  func() string // of the next answer
	keys     func() []keyPair
	metadata func() string
	jwks     http.HandlerFunc // instead of keys
	userInfo string
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := new(provider)
	p.wire = newWire(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/oauth/token":
			answer := map[string]any{"access_token": theAccess, "token_type": "Bearer"}
			if id := p.idToken(); id != "" {
				answer["id_token"] = id
			}
			b, _ := json.Marshal(answer)
			reply(200, string(b), asJSON)(w, r)
		case "/.well-known/openid-configuration":
			reply(200, p.metadata(), asJSON)(w, r)
		case "/keys":
			if p.jwks != nil {
				p.jwks(w, r)
				return
			}
			var set jose.JSONWebKeySet
			for _, k := range p.keys() {
				set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid, Use: "sig"})
			}
			b, _ := json.Marshal(set)
			reply(200, string(b), asJSON)(w, r)
		case "/userinfo":
			reply(200, p.userInfo, asJSON)(w, r)
		default:
			reply(404, "")(w, r)
		}
	})
	p.keys = func() []keyPair { return []keyPair{makeKeys().first} }
	p.metadata = func() string { return `{"issuer":"` + p.URL + `","jwks_uri":"` + p.URL + `/keys"}` }
	p.idToken = func() string { return makeKeys().first.sign(t, p.claims()) }
	return p
}

// claims of a good ID token, with changes: nil takes one out.
func (p *provider) claims(changes ...map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{"iss": p.URL, "sub": "auth0|1", "aud": theClient, "exp": now + 3600, "iat": now, "nonce": "n0nce"}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// paths counts the requests by path.
func (p *provider) paths() map[string]int {
	n := map[string]int{}
	for _, r := range p.requests() {
		n[strings.Fields(r)[1]]++
	}
	return n
}

func (p *provider) verifying(c *Config) { c.Issuer = p.URL }

func complete(ctx context.Context, a *Authenticator, changes ...func(*Attempt)) (*Token, error) {
	attempt := &Attempt{State: theState, Nonce: "n0nce", Verifier: theVerifier, RedirectURL: theRedirect}
	for _, change := range changes {
		change(attempt)
	}
	return a.Complete(ctx, attempt, url.Values{"state": {theState}, "code": {theCode}})
}

func half(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) }

// TestIDTokenClaims bends one claim after the other. With an issuer or
// without, the claims are checked.
func TestIDTokenClaims(t *testing.T) {
	type bent = map[string]any
	unix := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	sum := sha256.Sum256([]byte(theAccess))
	other := sha256.Sum256([]byte("other"))
	for _, tt := range []struct {
		name    string
		claims  bent
		maxAge  time.Duration
		ok      bool
		unknown bool // good where no issuer is configured
		cause   error
	}{
		{name: "as it should be", ok: true},
		{name: "more claims", claims: bent{"https://pieces.app/x": []int{1}, "email": "a@b"}, ok: true},
		{name: "missing-iss", claims: bent{"iss": nil}, cause: ErrIssuerMismatch},
		{name: "invalid-iss", claims: bent{"iss": "https://other.example.com/"}, cause: ErrIssuerMismatch, unknown: true},
		{name: "missing-sub", claims: bent{"sub": nil}, cause: ErrSubjectMismatch},
		{name: "empty sub", claims: bent{"sub": ""}, cause: ErrSubjectMismatch},
		{name: "sub as a number", claims: bent{"sub": 1}},
		{name: "missing-aud", claims: bent{"aud": nil}},
		{name: "invalid-aud", claims: bent{"aud": "other"}},
		{name: "valid-aud-as-array", claims: bent{"aud": []string{theClient}}, ok: true},
		{name: "empty aud", claims: bent{"aud": []string{}}},
		{name: "invalid-secondary-aud", claims: bent{"aud": []string{theClient, "other"}}},
		{name: "invalid-secondary-aud with azp", claims: bent{"aud": []string{theClient, "other"}, "azp": theClient}},
		{name: "aud as a number", claims: bent{"aud": 1}},
		{name: "azp", claims: bent{"azp": theClient}, ok: true},
		{name: "another azp", claims: bent{"azp": "other"}},
		{name: "missing exp", claims: bent{"exp": nil}},
		{name: "invalid-expired-exp", claims: bent{"exp": unix(-5*time.Minute - 5*time.Second)}},
		{name: "exp within the leeway", claims: bent{"exp": unix(-4 * time.Minute)}, ok: true},
		{name: "exp as a string", claims: bent{"exp": "soon"}},
		{name: "exp with a fraction", claims: bent{"exp": float64(unix(time.Hour)) + 0.5}, ok: true},
		{name: "exp beyond any calendar", claims: bent{"exp": 1e300}, ok: true},
		{name: "exp before any calendar", claims: bent{"exp": -1e300}},
		{name: "missing-iat", claims: bent{"iat": nil}},
		{name: "iat to come", claims: bent{"iat": unix(6 * time.Minute)}},
		{name: "iat within the leeway", claims: bent{"iat": unix(5*time.Minute - 5*time.Second)}, ok: true},
		{name: "nbf to come", claims: bent{"nbf": unix(6 * time.Minute)}},
		{name: "nbf within the leeway", claims: bent{"nbf": unix(5*time.Minute - 5*time.Second)}, ok: true},
		{name: "nonce-invalid", claims: bent{"nonce": "other"}, cause: ErrNonceMismatch},
		{name: "missing nonce", claims: bent{"nonce": nil}, cause: ErrNonceMismatch},
		{name: "at_hash", claims: bent{"at_hash": half(sum[:])}, ok: true},
		{name: "another at_hash", claims: bent{"at_hash": half(other[:])}},
		{name: "auth_time in time", claims: bent{"auth_time": unix(-time.Minute)}, maxAge: time.Hour, ok: true},
		{name: "auth_time within the leeway", claims: bent{"auth_time": unix(-65 * time.Second)}, maxAge: time.Minute, ok: true},
		{name: "auth_time too long ago", claims: bent{"auth_time": unix(-time.Hour)}, maxAge: time.Minute},
		{name: "missing auth_time", maxAge: time.Hour},
		{name: "auth_time, which nobody asked for", claims: bent{"auth_time": unix(-time.Hour)}, ok: true},
	} {
		for _, issuer := range []bool{true, false} {
			name := tt.name + ", without an issuer"
			if issuer {
				name = tt.name
			}
			t.Run(name, func(t *testing.T) {
				p := newProvider(t)
				p.idToken = func() string { return makeKeys().first.sign(t, p.claims(tt.claims)) }
				a := newAuth(t, p.URL)
				if issuer {
					a = newAuth(t, p.URL, p.verifying)
				}
				token, err := complete(t.Context(), a, func(t *Attempt) { t.MaxAge = tt.maxAge })
				require.Equal(t, 1, p.paths()["/oauth/token"])
				if !tt.ok && (issuer || !tt.unknown) {
					require.Nil(t, token)
					requireError(t, err, &Error{Op: "complete"}, append(nonNil(tt.cause), ErrUnknownOutcome)...)
					return
				}
				require.NoError(t, err)
				var claims struct{ Sub, Email string }
				require.NoError(t, token.Claims(&claims))
				require.Equal(t, "auth0|1", claims.Sub)
			})
		}
	}
}

func nonNil(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

// TestIDTokenMissing needs an ID token where one was asked for and can be
// verified, or its age matters.
func TestIDTokenMissing(t *testing.T) {
	p := newProvider(t)
	p.idToken = func() string { return "" }
	unasked := func(t *Attempt) { t.Nonce = "" }

	_, err := complete(t.Context(), newAuth(t, p.URL, p.verifying))
	requireError(t, err, &Error{Op: "complete"}, ErrUnknownOutcome)
	_, err = complete(t.Context(), newAuth(t, p.URL), func(t *Attempt) { t.MaxAge = time.Hour })
	requireError(t, err, &Error{Op: "complete"}, ErrUnknownOutcome)

	token, err := complete(t.Context(), newAuth(t, p.URL))
	require.NoError(t, err)
	requireError(t, token.Claims(new(any)), &Error{Op: "verify"}, ErrNotVerified)
	_, err = complete(t.Context(), newAuth(t, p.URL, p.verifying), unasked)
	require.NoError(t, err)
}

// TestIDTokenMalformed takes no JWT that can be read in two ways, or in none.
func TestIDTokenMalformed(t *testing.T) {
	p := newProvider(t)
	good := makeKeys().first.sign(t, p.claims())
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	with := func(payload string) string {
		return parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + "." + parts[2]
	}
	for name, raw := range map[string]string{
		"two parts":               parts[0] + "." + parts[1],
		"four parts":              good + ".x",
		"five parts":              good + ".x.y",
		"not base64":              parts[0] + ".*." + parts[2],
		"a header of none":        "e30." + parts[1] + "." + parts[2],
		"a header of text":        "eHg." + parts[1] + "." + parts[2],
		"null":                    with("null"),
		"a list":                  with("[]"),
		"text":                    with("x"),
		"a claim twice":           with(strings.Replace(string(payload), "{", `{"sub":"other",`, 1)),
		"claims in other letters": with(strings.Replace(string(payload), `"sub"`, `"SUB"`, 1)),
	} {
		for _, change := range []func(*Config){p.verifying, func(*Config) {}} {
			t.Run(name, func(t *testing.T) {
				p.idToken = func() string { return raw }
				token, err := complete(t.Context(), newAuth(t, p.URL, change))
				require.Nil(t, token)
				causes := []error{ErrUnknownOutcome}
				if name == "claims in other letters" { // so sub is missing
					causes = append(causes, ErrSubjectMismatch)
				}
				requireError(t, err, &Error{Op: "complete"}, causes...)
			})
		}
	}
}

// TestIDTokenAlgNone refuses what is declared unsigned, with an issuer or
// without.
func TestIDTokenAlgNone(t *testing.T) {
	for _, header := range []string{`{"alg":"none"}`, `{"alg":"None"}`, `{"alg":"NONE","kid":"first"}`, `{"alg":""}`, `{}`} {
		t.Run(header, func(t *testing.T) {
			p := newProvider(t)
			p.idToken = func() string { return unsigned(t, header, p.claims()) }
			for _, change := range []func(*Config){p.verifying, func(*Config) {}} {
				token, err := complete(t.Context(), newAuth(t, p.URL, change))
				require.Nil(t, token)
				requireError(t, err, &Error{Op: "complete"}, ErrUnknownOutcome)
			}
		})
	}
}

// TestIDTokenSignature holds which keys and algorithms are accepted.
func TestIDTokenSignature(t *testing.T) {
	keys := makeKeys()
	for _, tt := range []struct {
		name   string
		signer keyPair
		keys   []keyPair
		algs   []string
		ok     bool
	}{
		{name: "idtoken-sig-rs256", signer: keys.first, keys: []keyPair{keys.first}, ok: true},
		{name: "one of many", signer: keys.second, keys: []keyPair{keys.first, keys.ec, keys.second}, ok: true},
		{name: "kid-absent-single-jwks", signer: keys.first.named(""), keys: []keyPair{keys.first}, ok: true},
		{name: "kid-absent-single-jwks, neither named", signer: keys.first.named(""), keys: []keyPair{keys.first.named("")}, ok: true},
		{name: "kid-absent-multiple-jwks", signer: keys.first.named(""), keys: []keyPair{keys.first, keys.second}},
		{name: "kid absent, another key", signer: keys.first.named(""), keys: []keyPair{keys.second}},
		{name: "invalid-sig-rs256", signer: keys.first, keys: []keyPair{keys.second.named("first")}},
		{name: "two keys of a name", signer: keys.first, keys: []keyPair{keys.second.named("first"), keys.first}, ok: true},
		{name: "unknown kid", signer: keys.first.named("other"), keys: []keyPair{keys.first}},
		{name: "ES256, RS256 allowed", signer: keys.ec, keys: []keyPair{keys.ec}},
		{name: "ES256", signer: keys.ec, keys: []keyPair{keys.ec}, algs: []string{"RS256", "ES256"}, ok: true},
		{name: "invalid-sig-es256", signer: keys.ec, keys: []keyPair{keys.first.named("ec")}, algs: []string{"ES256"}},
		{name: "EdDSA", signer: keys.ed, keys: []keyPair{keys.ed}, algs: []string{"EdDSA"}, ok: true},
		{name: "RS256, ES256 allowed", signer: keys.first, keys: []keyPair{keys.first}, algs: []string{"ES256"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t)
			p.keys = func() []keyPair { return tt.keys }
			p.idToken = func() string { return tt.signer.sign(t, p.claims()) }
			a := newAuth(t, p.URL, p.verifying, func(c *Config) { c.IDTokenAlgorithms = tt.algs })
			token, err := complete(t.Context(), a)
			if !tt.ok {
				require.Nil(t, token)
				requireError(t, err, &Error{Op: "complete"}, ErrUnknownOutcome)
				return
			}
			require.NoError(t, err)
			require.NoError(t, token.Claims(new(any)))
		})
	}
}

// TestIDTokenAlgorithms: each algorithm takes a key of its kind, and no other.
func TestIDTokenAlgorithms(t *testing.T) {
	keys := makeKeys()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)
	kinds := map[string]crypto.Signer{"RSA": keys.first.private, "P-256": keys.ec.private, "P-384": p384, "P-521": p521, "Ed25519": keys.ed.private}
	for alg, kind := range map[string]string{
		"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
		"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519",
	} {
		p := newProvider(t)
		signer := keyPair{kinds[kind], jose.SignatureAlgorithm(alg), "k"}
		p.keys = func() []keyPair { return []keyPair{signer} }
		p.idToken = func() string { return signer.sign(t, p.claims()) }
		_, err := complete(t.Context(), newAuth(t, p.URL, p.verifying, func(c *Config) { c.IDTokenAlgorithms = []string{alg} }))
		require.NoError(t, err, alg)
		for other, private := range kinds {
			if other == kind {
				continue
			}
			p.keys = func() []keyPair { return []keyPair{{private, signer.alg, "k"}} }
			_, err := complete(t.Context(), newAuth(t, p.URL, p.verifying, func(c *Config) { c.IDTokenAlgorithms = []string{alg} }))
			requireError(t, err, &Error{Op: "complete"}, ErrUnknownOutcome)
			require.ErrorContains(t, err, "key", "%s with %s", alg, other)
		}
	}
}

// TestIDTokenPublicKeyAsSecret refuses a MAC made with what everybody knows.
func TestIDTokenPublicKeyAsSecret(t *testing.T) {
	p := newProvider(t)
	secret, err := x509.MarshalPKIXPublicKey(makeKeys().first.private.Public())
	require.NoError(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, (&jose.SignerOptions{}).WithHeader("kid", "first"))
	require.NoError(t, err)
	payload, err := json.Marshal(p.claims())
	require.NoError(t, err)
	jws, err := signer.Sign(payload)
	require.NoError(t, err)
	raw, err := jws.CompactSerialize()
	require.NoError(t, err)

	p.idToken = func() string { return raw }
	token, err := complete(t.Context(), newAuth(t, p.URL, p.verifying))
	require.Nil(t, token)
	requireError(t, err, &Error{Op: "complete"}, ErrUnknownOutcome)
}

// TestIDTokenTampered checks the signature over the claims that it hands out.
func TestIDTokenTampered(t *testing.T) {
	p := newProvider(t)
	good := strings.Split(makeKeys().first.sign(t, p.claims()), ".")
	other := strings.Split(unsigned(t, "{}", p.claims(map[string]any{"sub": "auth0|2"})), ".")
	p.idToken = func() string { return good[0] + "." + other[1] + "." + good[2] }
	_, err := complete(t.Context(), newAuth(t, p.URL, p.verifying))
	requireError(t, err, &Error{Op: "complete"}, ErrUnknownOutcome)
}

// TestKeyRotation asks for the keys once more when it doesn't know the one
// that signed, and only then.
func TestKeyRotation(t *testing.T) {
	p := newProvider(t)
	current := makeKeys().first
	p.keys = func() []keyPair { return []keyPair{current} }
	p.idToken = func() string { return current.sign(t, p.claims()) }
	a := newAuth(t, p.URL, p.verifying)

	for range 3 {
		_, err := complete(t.Context(), a)
		require.NoError(t, err)
	}
	require.Equal(t, map[string]int{"/oauth/token": 3, "/.well-known/openid-configuration": 1, "/keys": 1}, p.paths())

	current = makeKeys().second // signing-key-rotation
	for range 2 {
		_, err := complete(t.Context(), a)
		require.NoError(t, err)
	}
	require.Equal(t, 2, p.paths()["/keys"])

	p.idToken = func() string { // signing-key-rotation-just-before-signing
		current = makeKeys().first
		return current.sign(t, p.claims())
	}
	_, err := complete(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, 3, p.paths()["/keys"])

	p.idToken = func() string { return current.named("never seen").sign(t, p.claims()) }
	_, err = complete(t.Context(), a)
	requireError(t, err, &Error{Op: "complete"}, ErrUnknownOutcome)
	require.Equal(t, 4, p.paths()["/keys"], "once more, and no more")
	require.Equal(t, 1, p.paths()["/.well-known/openid-configuration"])
}

// TestIssuerTrouble spends no code before the issuer's keys are there, and
// remembers no failure.
func TestIssuerTrouble(t *testing.T) {
	for _, tt := range []struct {
		name   string
		bend   func(*provider)
		err    *Error
		causes []error
	}{
		{name: "none of the keys for us", bend: func(p *provider) { p.jwks = reply(200, `{"keys":[{"kty":"new"}]}`, asJSON) }, err: &Error{Op: "jwks", StatusCode: 200}},
		{name: "no keys", bend: func(p *provider) { p.jwks = reply(500, "<html>", asHTML) }, err: &Error{Op: "jwks", StatusCode: 500}},
		{name: "an empty set of keys", bend: func(p *provider) { p.jwks = reply(200, `{"keys":[]}`, asJSON) }, err: &Error{Op: "jwks", StatusCode: 200}},
		{name: "keys as a page", bend: func(p *provider) { p.jwks = reply(200, "<html>", asHTML) }, err: &Error{Op: "jwks", StatusCode: 200}},
		{name: "keys elsewhere", bend: func(p *provider) { p.jwks = reply(302, "", "Location: /other") }, err: &Error{Op: "jwks", StatusCode: 302}},
		{name: "keys without end", bend: func(p *provider) { p.jwks = reply(200, `{"keys":[`+strings.Repeat(" ", 1<<20), asJSON) }, err: &Error{Op: "jwks"}, causes: []error{ErrTooLarge}},
		{name: "more keys than any issuer has", bend: func(p *provider) { p.jwks = reply(200, `{"keys":[{}`+strings.Repeat(",{}", 10_001)+`]}`, asJSON) }, err: &Error{Op: "jwks"}, causes: []error{ErrTooLarge}},
		{name: "no metadata", bend: func(p *provider) { p.metadata = func() string { return "" } }, err: &Error{Op: "discovery", StatusCode: 200}},
		{name: "metadata of another issuer", bend: func(p *provider) {
			p.metadata = func() string { return `{"issuer":"` + p.URL + `/","jwks_uri":"` + p.URL + `/keys"}` }
		}, err: &Error{Op: "discovery"}, causes: []error{ErrIssuerMismatch}},
		{name: "keys in the clear", bend: func(p *provider) {
			p.metadata = func() string { return `{"issuer":"` + p.URL + `","jwks_uri":"http://example.com/keys"}` }
		}, err: &Error{Op: "discovery"}},
		{name: "keys in a file", bend: func(p *provider) {
			p.metadata = func() string { return `{"issuer":"` + p.URL + `","jwks_uri":"file:///keys"}` }
		}, err: &Error{Op: "discovery"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t)
			metadata := p.metadata
			tt.bend(p)
			a := newAuth(t, p.URL, p.verifying)
			_, err := complete(t.Context(), a)
			requireError(t, err, tt.err, tt.causes...)
			_, err = a.Refresh(t.Context(), &Token{RefreshToken: theRefresh})
			requireError(t, err, tt.err, tt.causes...)
			require.NotContains(t, p.paths(), "/oauth/token")

			p.jwks, p.metadata = nil, metadata
			_, err = complete(t.Context(), a)
			require.NoError(t, err)
		})
	}
}

// TestKeysWithoutMetadata finds the keys where Auth0 has them, and passes over
// those that are for others.
func TestKeysWithoutMetadata(t *testing.T) {
	keys := makeKeys()
	var w *wire
	w = newWire(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/oauth/token":
			now := time.Now().Unix()
			id := keys.first.named("").sign(t, map[string]any{"iss": w.URL + "/", "sub": "s", "aud": theClient, "exp": now + 60, "iat": now, "nonce": "n0nce"})
			reply(200, `{"access_token":"a","token_type":"Bearer","id_token":"`+id+`"}`, asJSON)(rw, r)
		case "/.well-known/jwks.json":
			set, _ := json.Marshal(map[string]any{"keys": []any{
				map[string]string{"kty": "new", "kid": "x"},
				map[string]string{"kty": "oct", "k": "c2VjcmV0"},
				jose.JSONWebKey{Key: keys.second.private.Public(), Use: "enc"},
				jose.JSONWebKey{Key: keys.ec.private.Public(), Algorithm: "ES256"},
				jose.JSONWebKey{Key: keys.second.private}, // private, so no longer anybody's
				jose.JSONWebKey{Key: keys.first.private.Public(), Algorithm: "RS256", Use: "sig"},
			}})
			reply(200, string(set), asJSON)(rw, r)
		default:
			reply(404, "")(rw, r)
		}
	})
	_, err := complete(t.Context(), newAuth(t, w.URL, func(c *Config) { c.Issuer = w.URL + "/" }))
	require.NoError(t, err)
}

// TestVerify gives no claims of a token that came from storage, until it is
// checked again.
func TestVerify(t *testing.T) {
	p := newProvider(t)
	a := newAuth(t, p.URL, p.verifying)
	token, err := complete(t.Context(), a)
	require.NoError(t, err)
	stored, err := json.Marshal(token)
	require.NoError(t, err)
	var back Token
	require.NoError(t, json.Unmarshal(stored, &back))

	requireError(t, back.Claims(new(any)), &Error{Op: "verify"}, ErrNotVerified)
	requireError(t, (*Token)(nil).Claims(new(any)), &Error{Op: "verify"}, ErrNotVerified)
	checked, err := a.Verify(t.Context(), &back)
	require.NoError(t, err)
	var claims struct{ Sub, Nonce string }
	require.NoError(t, checked.Claims(&claims))
	require.Equal(t, "auth0|1", claims.Sub)
	requireError(t, back.Claims(new(any)), &Error{Op: "verify"}, ErrNotVerified)
	requireError(t, checked.Claims(new([]string)), &Error{Op: "verify"})
	checked.checked, back.checked = "", ""
	require.Equal(t, &back, checked, "a copy")

	for _, missing := range []*Token{nil, {AccessToken: theAccess}} {
		_, err = a.Verify(t.Context(), missing)
		requireError(t, err, &Error{Op: "verify"}, ErrNotVerified)
	}
	forged := back
	forged.IDToken = makeKeys().second.named("first").sign(t, p.claims())
	_, err = a.Verify(t.Context(), &forged)
	requireError(t, err, &Error{Op: "verify"})
	forged.IDToken = makeKeys().first.sign(t, p.claims(map[string]any{"aud": "other"}))
	_, err = a.Verify(t.Context(), &forged)
	requireError(t, err, &Error{Op: "verify"})
}

// TestRefreshedIDToken keeps to the person who signed in.
func TestRefreshedIDToken(t *testing.T) {
	type bent = map[string]any
	for _, tt := range []struct {
		name   string
		claims bent
		ok     bool
		kept   bool // what was granted is in the error
		causes []error
	}{
		{name: "refresh-token", claims: bent{"nonce": nil}, ok: true},
		{name: "the same nonce", ok: true},
		{name: "another nonce", claims: bent{"nonce": "other"}, kept: true, causes: []error{ErrNonceMismatch}},
		{name: "refresh-token-invalid-issuer", claims: bent{"iss": "https://other.example.com"}, causes: []error{ErrIssuerMismatch, ErrSignInRequired}},
		{name: "refresh-token-invalid-sub", claims: bent{"sub": "auth0|2"}, causes: []error{ErrSubjectMismatch, ErrSignInRequired}},
		{name: "another aud", claims: bent{"aud": "other"}, kept: true},
		{name: "a second aud", claims: bent{"aud": []string{theClient, "other"}}, kept: true},
		{name: "another at_hash", claims: bent{"at_hash": "x"}, kept: true},
		{name: "expired", claims: bent{"exp": 1}, kept: true},
	} {
		for _, issuer := range []bool{true, false} {
			name := tt.name + ", without an issuer"
			if issuer {
				name = tt.name
			}
			t.Run(name, func(t *testing.T) {
				p := newProvider(t)
				a := newAuth(t, p.URL)
				if issuer {
					a = newAuth(t, p.URL, p.verifying)
				}
				before := &Token{RefreshToken: theRefresh, IDToken: makeKeys().first.sign(t, p.claims(bent{"exp": 1}))}
				p.idToken = func() string { return makeKeys().first.sign(t, p.claims(tt.claims)) }
				token, err := a.Refresh(t.Context(), before)
				if !tt.ok {
					require.Nil(t, token)
					requireError(t, err, &Error{Op: "refresh"}, append(tt.causes, ErrUnknownOutcome)...)
					var e *Error
					require.ErrorAs(t, err, &e)
					require.Equal(t, tt.kept, e.Token != nil)
					if tt.kept {
						require.Equal(t, theRefresh, e.Token.RefreshToken)
						require.Equal(t, theAccess, e.Token.AccessToken)
						require.Empty(t, e.Token.IDToken, "which is not to be believed")
					}
					return
				}
				require.NoError(t, err)
				require.NoError(t, token.Claims(new(any)))
			})
		}
	}
}

// TestRefreshCarriesOver keeps what the answer leaves out, and how far it was
// checked.
func TestRefreshCarriesOver(t *testing.T) {
	p := newProvider(t)
	a := newAuth(t, p.URL, p.verifying)
	first, err := complete(t.Context(), a)
	require.NoError(t, err)
	first.RefreshToken = theRefresh
	p.idToken = func() string { return "" }

	second, err := a.Refresh(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, theRefresh, second.RefreshToken)
	require.Equal(t, first.IDToken, second.IDToken)
	require.Equal(t, first.Scopes, second.Scopes)
	require.NoError(t, second.Claims(new(any)))

	first.checked = ""
	third, err := a.Refresh(t.Context(), first)
	require.NoError(t, err)
	requireError(t, third.Claims(new(any)), &Error{Op: "verify"}, ErrNotVerified)
}

// TestUserInfoSub throws away a profile of somebody else.
func TestUserInfoSub(t *testing.T) {
	p := newProvider(t)
	a := newAuth(t, p.URL, p.verifying)
	token, err := complete(t.Context(), a)
	require.NoError(t, err)
	for body, ok := range map[string]bool{
		`{"sub":"auth0|1","name":"Ada"}`: true,
		`{"sub":"auth0|2","name":"Ada"}`: false,
		`{"sub":"","name":"Ada"}`:        false,
		`{"name":"Ada"}`:                 false,
	} {
		p.userInfo = body
		user, err := a.UserInfo(t.Context(), token)
		if !ok {
			require.Nil(t, user)
			requireError(t, err, &Error{Op: "userinfo", StatusCode: 200}, ErrSubjectMismatch)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, "Ada", user.Name)
	}
}

// TestTokenValid: an access token is good until it expires, if it does.
func TestTokenValid(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token *Token
		want  bool
	}{
		{"none", nil, false},
		{"no access token", &Token{RefreshToken: "r"}, false},
		{"no access token, not expired", &Token{Expiry: time.Now().Add(time.Hour)}, false},
		{"no expiry", &Token{AccessToken: "a"}, true},
		{"not expired", &Token{AccessToken: "a", Expiry: time.Now().Add(time.Hour)}, true},
		{"expired", &Token{AccessToken: "a", Expiry: time.Now()}, false},
	} {
		require.Equal(t, tt.want, tt.token.Valid(), tt.name)
	}
}

// rawJWT puts a JWT together, with a signature that is none.
func rawJWT(header, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(claims)) + "." + enc([]byte("signature"))
}

func TestLifetime(t *testing.T) {
	now := time.Now()
	for want, token := range map[time.Duration][]Token{
		time.Hour:     {{Obtained: now, Expiry: now.Add(time.Hour)}},
		math.MaxInt64: {{}, {Obtained: now}, {Expiry: now}, {Obtained: now, Expiry: now}, {Obtained: now, Expiry: now.Add(-time.Hour)}},
	} {
		for _, token := range token {
			require.Equal(t, want, token.lifetime(), "%#v", token)
		}
	}
}
