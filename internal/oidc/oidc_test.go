package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	theIssuer = "https://issuer.example.com/"
	theClient = "client"
)

var base64url = base64.RawURLEncoding

// keyPair is a key of an issuer.
type keyPair struct {
	private crypto.Signer
	alg     jose.SignatureAlgorithm
	kid     string
}

func (k keyPair) named(kid string) keyPair                 { k.kid = kid; return k }
func (k keyPair) with(alg jose.SignatureAlgorithm) keyPair { k.alg = alg; return k }
func (k keyPair) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid, Use: "sig"}
}

// makeKeys makes the keys of these tests, once: RSA takes its time.
var makeKeys = sync.OnceValue(func() (keys struct{ first, second, p256, p384, p521, ed keyPair }) {
	first, err := rsa.GenerateKey(rand.Reader, 2048)
	second, err2 := rsa.GenerateKey(rand.Reader, 2048)
	p256, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err4 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, err5 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, err6 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err, err2, err3, err4, err5, err6); err != nil {
		panic(err)
	}
	keys.first, keys.second = keyPair{first, jose.RS256, "first"}, keyPair{second, jose.RS256, "second"}
	keys.p256, keys.p384, keys.p521 = keyPair{p256, jose.ES256, "p256"}, keyPair{p384, jose.ES384, "p384"}, keyPair{p521, jose.ES512, "p521"}
	keys.ed = keyPair{ed, jose.EdDSA, "ed"}
	return keys
})

// claims of a good ID token, with changes: nil takes one out.
func claims(changes ...map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{"iss": theIssuer, "sub": "auth0|1", "aud": theClient, "exp": now + 3600, "iat": now, "nonce": "n0nce"}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (k keyPair) sign(t testing.TB, payload any, headers ...map[jose.HeaderKey]any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if k.kid != "" {
		options = options.WithHeader("kid", k.kid)
	}
	for _, h := range headers {
		for name, v := range h {
			options = options.WithHeader(name, v)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: k.private}, options)
	require.NoError(t, err)
	b, ok := payload.([]byte)
	if !ok {
		b, err = json.Marshal(payload)
		require.NoError(t, err)
	}
	jws, err := signer.Sign(b)
	require.NoError(t, err)
	text, err := jws.CompactSerialize()
	require.NoError(t, err)
	return text
}

func (k keyPair) token(t testing.TB) *Token {
	t.Helper()
	token, err := Parse(k.sign(t, claims()))
	require.NoError(t, err)
	return token
}

func setOf(t testing.TB, keys ...any) string {
	t.Helper()
	for i, k := range keys {
		if pair, ok := k.(keyPair); ok {
			keys[i] = pair.public()
		}
	}
	b, err := json.Marshal(map[string]any{"keys": keys})
	require.NoError(t, err)
	return string(b)
}

// issuer answers from memory, and counts.
type issuer struct {
	mu       sync.Mutex
	count    map[string]int // by op
	accepts  []string
	metadata func(context.Context) (Response, error)
	keys     func(context.Context, string) (Response, error)
}

func ok(body string, headers ...string) (Response, error) {
	h := http.Header{}
	for pair := range slices.Chunk(headers, 2) {
		h.Add(pair[0], pair[len(pair)-1])
	}
	return Response{200, h, []byte(body)}, nil
}

func status(code int) (Response, error) {
	return Response{StatusCode: code}, fmt.Errorf("HTTP status %d", code)
}

func newIssuer(t testing.TB, keys ...any) *issuer {
	set := setOf(t, keys...)
	return &issuer{
		count: map[string]int{},
		metadata: func(context.Context) (Response, error) {
			return ok(`{"issuer":"` + theIssuer + `","jwks_uri":"` + theIssuer + `keys"}`)
		},
		keys: func(context.Context, string) (Response, error) { return ok(set) },
	}
}

func (i *issuer) fetch(ctx context.Context, op, at, accept string) (Response, error) {
	i.mu.Lock()
	i.count[op]++
	i.accepts = append(i.accepts, accept)
	metadata, keys := i.metadata, i.keys
	i.mu.Unlock()
	if op == "discovery" {
		return metadata(ctx)
	}
	return keys(ctx, at)
}

// set changes what the issuer answers, while others may ask.
func (i *issuer) set(keys func(context.Context, string) (Response, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

func (i *issuer) asked(op string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.count[op]
}

func (i *issuer) provider(algorithms ...string) *Provider {
	return NewProvider(ProviderConfig{URL: theIssuer, Algorithms: algorithms, CheckURL: checkURL, Fetch: i.fetch})
}

func checkURL(u *url.URL) error {
	if u.Scheme != "https" && u.Hostname() != "127.0.0.1" || u.Host == "" {
		return errors.New("neither https nor this machine")
	}
	return nil
}

func requireKind(t testing.TB, err error, kind Kind, says ...string) {
	t.Helper()
	_ = refused(t, err, kind, says...)
}

func refused(t testing.TB, err error, kind Kind, says ...string) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind, e.Kind, "%v", err)
	for _, s := range says {
		assert.ErrorContains(t, err, s)
	}
	assert.NotContains(t, err.Error(), "\n")
	return e
}
