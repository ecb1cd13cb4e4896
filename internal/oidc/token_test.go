package oidc

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/strictjson"
)

func TestParse(t *testing.T) {
	now := 1.7e9
	token, err := Parse(makeKeys().first.sign(t, []byte(`{"iss":"i","sub":"s","aud":"c","azp":"p","exp":1.7e9,"iat":1700000000,"nbf":1700000000.0,"auth_time":1700000000,
		"nonce":"n","at_hash":"h","SUB":"other","more":[{}]}`)))
	require.NoError(t, err)
	require.Equal(t, "RS256", token.Algorithm)
	require.Equal(t, "first", token.KeyID)
	require.Equal(t, Claims{"i", "s", Strings{"c"}, "p", &now, &now, &now, &now, "n", "h"}, token.Claims)
	require.Contains(t, string(token.Payload), `"more"`)

	for aud, want := range map[string]Strings{`["a","b"]`: {"a", "b"}, `[]`: {}, `null`: nil, `"a\"]"`: {`a"]`}} {
		token, err := Parse(makeKeys().first.sign(t, []byte(`{"aud":`+aud+`}`)))
		require.NoError(t, err)
		require.Equal(t, want, token.Claims.Audience)
	}
}

// TestParseRefuses takes no JWT that can be read in two ways, or in none.
func TestParseRefuses(t *testing.T) {
	k := makeKeys()
	good := k.first.sign(t, claims())
	parts := strings.Split(good, ".")
	header := func(text string) string {
		return base64url.EncodeToString([]byte(text)) + "." + parts[1] + "." + parts[2]
	}
	payload := func(text string) string { return k.first.sign(t, []byte(text)) }
	flattened := fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2])
	unread := strings.Split(k.first.sign(t, []byte(`{"a":"bc"}`)), ".") // 10 bytes, so that 4 bits of the payload aren't read
	last := unread[1][len(unread[1])-1]
	unread[1] = unread[1][:len(unread[1])-1] + string(last+1)
	for name, raw := range map[string]string{
		"nothing":                 "",
		"two parts":               parts[0] + "." + parts[1],
		"four parts":              good + ".x",
		"an encrypted one":        good + ".x.y",
		"JSON, flattened":         flattened,
		"JSON, general":           `{"payload":"` + parts[1] + `","signatures":[` + flattened + `]}`,
		"not base64":              parts[0] + ".*." + parts[2],
		"padding":                 parts[0] + "." + parts[1] + "=." + parts[2],
		"other base64":            strings.NewReplacer("-", "+", "_", "/").Replace(good) + "+",
		"a space before":          " " + good,
		"a line feed":             parts[0] + "." + parts[1][:10] + "\n" + parts[1][10:] + "." + parts[2],
		"a carriage return":       parts[0] + "." + parts[1] + "." + parts[2] + "\r",
		"bits that aren't read":   strings.Join(unread, "."),
		"a length that can't be":  parts[0] + "." + parts[1] + ".A",
		"a header of text":        header("x"),
		"a header that is null":   header("null"),
		"a header that is a list": header("[]"),
		"alg that is a number":    header(`{"alg":1}`),
		"kid that is a number":    header(`{"alg":"RS256","kid":1}`),
		"alg twice":               header(`{"alg":"RS256","alg":"RS256"}`),
		"kid twice":               header(`{"alg":"RS256","kid":"first","kid":"second"}`),
		"crit":                    header(`{"alg":"RS256","crit":["exp"]}`),
		"crit of nothing":         header(`{"alg":"RS256","crit":[]}`),
		"crit that is null":       header(`{"alg":"RS256","crit":null}`),
		"b64":                     header(`{"alg":"RS256","b64":false,"crit":["b64"]}`),
		"b64 alone":               header(`{"alg":"RS256","b64":true}`),
		"a private jwk":           header(`{"alg":"RS256","jwk":{"kty":"oct","k":"AQAB"}}`),
		"null":                    payload("null"),
		"a list":                  payload("[]"),
		"text":                    payload("x"),
		"an empty payload":        parts[0] + ".." + parts[2],
		"two objects":             payload("{}{}"),
		"a claim twice":           payload(`{"sub":"a","sub":"a"}`),
		"a claim twice, below":    payload(`{"more":{"a":1,"a":1}}`),
		"sub that is a number":    payload(`{"sub":1}`),
		"aud that is a number":    payload(`{"aud":1}`),
		"aud with a number":       payload(`{"aud":["a",1]}`),
		"aud that is an object":   payload(`{"aud":{"a":"s3cr3t"}}`),
		"exp that is a string":    payload(`{"exp":"s3cr3t"}`),
		"exp without end":         payload(`{"exp":1e999}`),
		"not UTF-8":               payload("{\"sub\":\"\xff\"}"),
		"too many claims":         payload(`{"a":[0` + strings.Repeat(",0", 10_001) + `]}`),
	} {
		t.Run(name, func(t *testing.T) {
			token, err := Parse(raw)
			require.Nil(t, token)
			requireKind(t, err, Malformed, "ID token")
			require.NotContains(t, fmt.Sprintf("%v%+v", err, err), "s3cr3t")
		})
	}
	_, err := Parse(payload(`{"a":[0` + strings.Repeat(",0", 10_001) + `]}`))
	require.ErrorIs(t, err, strictjson.ErrTooLarge)
}

// TestForged refuses whatever isn't signed with a key that the issuer publishes.
func TestForged(t *testing.T) {
	k := makeKeys()
	good := strings.Split(k.first.sign(t, claims()), ".")
	other := strings.Split(k.first.sign(t, claims(map[string]any{"sub": "auth0|2"})), ".")
	der, err := x509.MarshalPKIXPublicKey(k.first.private.Public())
	require.NoError(t, err)
	mac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: der}, (&jose.SignerOptions{}).WithHeader("kid", "first"))
	require.NoError(t, err)
	jws, err := mac.Sign([]byte(`{"iss":"i"}`))
	require.NoError(t, err)
	hs256, err := jws.CompactSerialize()
	require.NoError(t, err)
	own := k.second.public()
	header := func(text string) string { return base64url.EncodeToString([]byte(text)) }
	bits, err := base64url.DecodeString(good[2])
	require.NoError(t, err)
	bits[0] ^= 1
	for name, raw := range map[string]string{
		"another payload":      good[0] + "." + other[1] + "." + good[2],
		"another signature":    good[0] + "." + good[1] + "." + other[2],
		"another bit":          good[0] + "." + good[1] + "." + base64url.EncodeToString(bits),
		"another header":       header(`{"alg":"RS256","kid":"first","x":1}`) + "." + good[1] + "." + good[2],
		"no signature":         good[0] + "." + good[1] + ".",
		"none":                 header(`{"alg":"none"}`) + "." + good[1] + ".",
		"None":                 header(`{"alg":"None","kid":"first"}`) + "." + good[1] + "." + good[2],
		"no alg":               header(`{}`) + "." + good[1] + "." + good[2],
		"RS384 of RS256":       header(`{"alg":"RS384","kid":"first"}`) + "." + good[1] + "." + good[2],
		"the public key's MAC": hs256,
		"a jwk of its own":     k.second.named("first").sign(t, claims(), map[jose.HeaderKey]any{"jwk": own}),
		"a jku of its own":     k.second.named("first").sign(t, claims(), map[jose.HeaderKey]any{"jku": "https://evil.example.com/keys"}),
		"an x5u of its own":    k.second.named("first").sign(t, claims(), map[jose.HeaderKey]any{"x5u": "https://evil.example.com/keys"}),
	} {
		t.Run(name, func(t *testing.T) {
			token, err := Parse(raw)
			require.NoError(t, err)
			i := newIssuer(t, k.first, k.p256)
			err = i.provider("RS256", "RS384", "ES256").Verify(t.Context(), token)
			e := refused(t, err, map[bool]Kind{true: Algorithm, false: Signature}[token.Algorithm != "RS256" && token.Algorithm != "RS384"])
			require.Empty(t, e.Op)
		})
	}
	// What is embedded neither helps nor harms.
	token, err := Parse(k.first.sign(t, claims(), map[jose.HeaderKey]any{"jwk": own, "jku": "https://evil.example.com", "x5u": "https://evil.example.com"}))
	require.NoError(t, err)
	require.NoError(t, newIssuer(t, k.first).provider().Verify(t.Context(), token))
}
