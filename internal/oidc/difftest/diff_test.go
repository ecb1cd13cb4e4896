package difftest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/oidc"
)

const issuer = "https://issuer.example.com/"

var (
	encoding   = base64.RawURLEncoding
	algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

// signers returns a key for each algorithm.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{"EdDSA": ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))}
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		scalar := bytes.Repeat([]byte{7}, (curve.Params().BitSize+7)/8)
		scalar[0] = 0 // below the order
		key, err := ecdsa.ParseRawPrivateKey(curve, scalar)
		if err != nil {
			panic(err)
		}
		keys[alg] = key
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	for _, alg := range algorithms[:6] {
		keys[alg] = key
	}
	return keys
})

// sign returns what comes of signing text by RFC 7518 §3 and RFC 8037 §3.1.
func sign(t testing.TB, alg string, text []byte) []byte {
	key := signers()[alg]
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	if hash != 0 {
		h := hash.New()
		h.Write(text)
		text = h.Sum(nil)
	}
	if key, ok := key.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, key, text)
		require.NoError(t, err)
		size := (key.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
	var options crypto.SignerOpts = hash
	if alg[:2] == "PS" {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signature, err := key.Sign(rand.Reader, text, options)
	require.NoError(t, err)
	return signature
}

func token(t testing.TB, alg, header, payload string) string {
	text := encoding.EncodeToString([]byte(header)) + "." + encoding.EncodeToString([]byte(payload))
	return text + "." + encoding.EncodeToString(sign(t, alg, []byte(text)))
}

// member returns the JWK of an algorithm's key, with more members.
func member(t testing.TB, alg, more string) string {
	key, err := jwk.Import(signers()[alg].Public())
	require.NoError(t, err)
	text, err := json.Marshal(key)
	require.NoError(t, err)
	return strings.TrimSuffix(string(text), "}") + more + "}"
}

func setOf(members ...string) string { return `{"keys":[` + strings.Join(members, ",") + `]}` }

// ours reports whether package oidc takes the token, and what it reads.
func ours(ctx context.Context, raw, set string) ([]byte, oidc.Claims, error) {
	parsed, err := oidc.Parse(raw)
	if err != nil {
		return nil, oidc.Claims{}, err
	}
	p := oidc.NewProvider(oidc.ProviderConfig{
		URL: issuer, Algorithms: algorithms, CheckURL: func(*url.URL) error { return nil },
		Fetch: func(_ context.Context, op, _, _ string) (oidc.Response, error) {
			if op == "discovery" {
				return oidc.Response{StatusCode: http.StatusNotFound}, nil
			}
			return oidc.Response{StatusCode: http.StatusOK, Body: []byte(set)}, nil
		},
	})
	return parsed.Payload, parsed.Claims, p.Verify(ctx, parsed)
}

// read is a token and a set as the other library reads them, which is asked for
// as little as it can be: any key of the set will do.
type read struct {
	raw, set string
	header   map[string]any
	head     []byte // as it was
	payload  []byte // nil where the token is refused
	key      []byte // that signed it
	keys     int    // of the set
	place    int    // of the key in the set
}

func theirs(raw, set string) *read {
	r := &read{raw: raw, set: set}
	first, _, _ := strings.Cut(raw, ".")
	r.head, _ = encoding.DecodeString(strings.TrimRight(first, "="))
	_ = json.Unmarshal(r.head, &r.header)
	name, _ := r.header["alg"].(string)
	alg, ok := jwa.LookupSignatureAlgorithm(name)
	var members struct{ Keys []json.RawMessage }
	if !ok || !slices.Contains(algorithms, name) || json.Unmarshal([]byte(set), &members) != nil {
		return r
	}
	r.keys = len(members.Keys)
	for place, m := range members.Keys {
		key, err := jwk.ParseKey(m)
		if err != nil {
			key, err = jwk.ParseKey(exactly(m, "kty", "crv", "n", "e", "x", "y"))
		}
		if err != nil {
			continue
		}
		if payload, err := jws.Verify([]byte(raw), jws.WithKey(alg, key), jws.WithCompact(), jws.WithAlgorithmMatch(true)); err == nil {
			r.payload, r.key, r.place = payload, m, place
			return r
		}
	}
	return r
}

// reason is why package oidc refuses what the other library takes.
type reason struct {
	why       string
	sometimes bool // it holds for what package oidc takes, too
	holds     func(*read) bool
}

var stricter = []reason{
	{"base64url has neither padding, white space nor unread bits (RFC 7515 §2)", false, func(r *read) bool {
		for part := range strings.SplitSeq(r.raw, ".") {
			if !exactBase64(part) {
				return true
			}
		}
		return false
	}},
	{"a header names nothing twice, in UTF-8 (RFC 7515 §4)", false, func(r *read) bool { return !exact(r.head) }},
	{"extensions have to be understood (RFC 7515 §4.1.11), and b64 is for no JWT (RFC 7797 §7)", false, func(r *read) bool {
		_, crit := r.header["crit"]
		_, b64 := r.header["b64"]
		return crit || b64
	}},
	{"members of a header have the types of RFC 7515 §4.1", true, func(r *read) bool { return oddHeader(r.header) }},
	{"claims are one object that names nothing twice, in UTF-8 (RFC 7519 §4)", false, func(r *read) bool {
		return !exact(r.payload) || !bytes.HasPrefix(bytes.TrimLeft(bytes.TrimPrefix(r.payload, []byte("\xef\xbb\xbf")), " \t\r\n"), []byte("{"))
	}},
	{"claims have the types of OpenID Connect Core §2", true, func(r *read) bool { return oddClaims(r.payload) }},
	{"a set names nothing twice, in UTF-8, and is an object (RFC 7517 §5)", false, func(r *read) bool { return !exact([]byte(r.set)) || !hasExactly(r.set, "keys") }},
	{"the key that is named, else the only one (RFC 7515 §4.1.4)", true, func(r *read) bool {
		kid, _ := r.header["kid"].(string)
		return kid == "" && r.keys > 1 || kid != "" && r.keyMember("kid") != kid
	}},
	{"a key for signatures (RFC 7517 §4.2 to §4.4)", false, func(r *read) bool {
		use, ops, alg := r.keyMember("use"), r.keyMember("key_ops"), r.keyMember("alg")
		list, isList := ops.([]any)
		return use != nil && use != "" && use != "sig" || ops != nil && (!isList || !slices.Contains(list, any("verify"))) || alg != nil && alg != "" && alg != r.header["alg"]
	}},
	{"a public key", false, func(r *read) bool { return hasExactly(string(r.key), "d") }},
	{"members of a key have the types and names of RFC 7517 §4 and RFC 7518 §6", true, func(r *read) bool { return oddKey(r.key) }},
	{"an RSA key has 2,048 to 4,096 bits and an odd exponent of at most 31 (RFC 7518 §3.3)", false, func(r *read) bool {
		var public rsa.PublicKey
		key, err := jwk.ParseKey(r.key)
		return err == nil && jwk.Export(key, &public) == nil && (public.N.BitLen() < 2048 || public.N.BitLen() > 4096 || public.E < 3 || public.E%2 == 0 || public.E > 1<<31-1)
	}},
	{"a set has at most 100 keys, of which 4 are tried", true, func(r *read) bool { return r.place >= 4 }},
	{"no more values than any token or set has", true, func(r *read) bool {
		return max(strings.Count(r.set, ","), bytes.Count(r.payload, []byte(",")), bytes.Count(r.head, []byte(","))) > 10_000
	}},
}

func (r *read) keyMember(name string) any {
	var members map[string]any
	_ = json.Unmarshal(r.key, &members)
	return members[name]
}

func exactBase64(text string) bool {
	b, err := encoding.Strict().DecodeString(text)
	return err == nil && encoding.EncodeToString(b) == text
}

// exact reports whether text is JSON without names that come twice, in UTF-8.
func exact(text []byte) bool {
	return jsontext.Value(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))).IsValid()
}

func hasExactly(text, name string) bool {
	var members map[string]json.RawMessage
	return json.Unmarshal([]byte(text), &members) == nil && members[name] != nil
}

// isOdd reports whether a member is there that good refuses.
func isOdd(members map[string]any, names string, good func(any) bool) bool {
	for name := range strings.FieldsSeq(names) {
		if v, ok := members[name]; ok && v != nil && !good(v) {
			return true
		}
	}
	return false
}

func isString(v any) bool { _, ok := v.(string); return ok }
func isNumber(v any) bool { _, ok := v.(float64); return ok }
func isStrings(v any) bool {
	list, ok := v.([]any)
	return ok && !slices.ContainsFunc(list, func(v any) bool { return v != nil && !isString(v) })
}

func oddHeader(h map[string]any) bool {
	_, embedded := h["jwk"]
	_, chain := h["x5c"]
	return embedded || chain || isOdd(h, "alg kid nonce", isString)
}

func oddClaims(payload []byte) bool {
	var members map[string]any
	if json.Unmarshal(bytes.TrimPrefix(payload, []byte("\xef\xbb\xbf")), &members) != nil {
		return true
	}
	return isOdd(members, "iss sub azp nonce at_hash", isString) || isOdd(members, "exp iat nbf auth_time", isNumber) ||
		isOdd(members, "aud", func(v any) bool { return isString(v) || isStrings(v) })
}

func oddKey(key []byte) bool {
	var members map[string]any
	if json.Unmarshal(key, &members) != nil {
		return true
	}
	return isOdd(members, "kty kid alg use crv n e x y", isString) || isOdd(members, "key_ops", isStrings) ||
		isOdd(members, "n e x y", func(v any) bool { s, _ := v.(string); return exactBase64(s) }) ||
		members["kty"] == nil
}

// requireAgreement fails where package oidc takes what the other library
// refuses, or what a reason says it refuses; where it refuses what the other
// takes for no reason that is known; or where both read something else.
func requireAgreement(t *testing.T, raw, set string) {
	t.Helper()
	payload, claims, err := ours(t.Context(), raw, set)
	other := theirs(raw, set)
	switch {
	case err == nil && other.payload == nil && isOdd(other.header, "typ cty jku x5u x5t x5t#S256", isString): // which are for nothing in package oidc
	case err == nil && other.payload == nil:
		require.Fail(t, "package oidc takes what the other library refuses", "token %q\nheader %q\nset %q", raw, other.head, set)
	case err == nil:
		for _, r := range stricter {
			require.False(t, !r.sometimes && r.holds(other), "package oidc takes what it should refuse: %s\ntoken %q\nset %q", r.why, raw, set)
		}
		require.Equal(t, other.payload, payload)
		var same struct {
			Iss, Sub, Nonce string
		}
		require.NoError(t, json.Unmarshal(exactly(payload, "iss", "sub", "nonce"), &same))
		require.Equal(t, []string{same.Iss, same.Sub, same.Nonce}, []string{claims.Issuer, claims.Subject, claims.Nonce})
	case other.payload != nil:
		if !slices.ContainsFunc(stricter, func(r reason) bool { return r.holds(other) }) {
			require.Fail(t, "package oidc is stricter for no reason that is known", "%v\ntoken %q\nheader %q\npayload %q\nset %q", err, raw, other.head, other.payload, set)
		}
	}
}

// exactly returns an object with the members of those very names.
func exactly(object []byte, names ...string) []byte {
	var members, some map[string]json.RawMessage = nil, map[string]json.RawMessage{}
	_ = json.Unmarshal(bytes.TrimPrefix(object, []byte("\xef\xbb\xbf")), &members)
	for _, name := range names {
		if v, ok := members[name]; ok {
			some[name] = v
		}
	}
	b, _ := json.Marshal(some)
	return b
}

const payload = `{"iss":"https://issuer.example.com/","sub":"auth0|1","aud":"client","exp":1700003600,"iat":1700000000,"nonce":"n"}`

// FuzzToken signs a header and a payload, then takes some of the text out and
// puts other in.
func FuzzToken(f *testing.F) {
	header := func(alg string) string { return `{"alg":"` + alg + `","kid":"k"}` }
	for i, alg := range algorithms {
		f.Add(uint8(i), header(alg), payload, uint16(0), uint8(0), "")
		f.Add(uint8(i), `{"alg":"none"}`, payload, uint16(0), uint8(0), "")
		f.Add(uint8(i), header("HS256"), payload, uint16(0), uint8(0), "")
		f.Add(uint8(i), header(algorithms[(i+1)%len(algorithms)]), payload, uint16(0), uint8(0), "")
		for _, splice := range []string{" ", "\n", "\r", "=", ".", "A", "\x00"} {
			for _, at := range []uint16{0, 5, 40, 60, 1<<16 - 1} {
				f.Add(uint8(i), header(alg), payload, at, uint8(0), splice)
				f.Add(uint8(i), header(alg), payload, at, uint8(1), splice)
			}
		}
	}
	f.Add(uint8(6), header("ES256"), payload, uint16(33), uint8(1), "R") // the same bytes, by bits that aren't read
	for _, head := range []string{
		`{"alg":"ES256"}`, `{"alg":"ES256","kid":"other"}`, `{"alg":"ES256","alg":"ES256"}`, `{"ALG":"ES256","kid":"k"}`, `{"alg":"ES256","crit":["exp"],"exp":1}`,
		`{"alg":"ES256","crit":[]}`, `{"alg":"ES256","crit":null}`, `{"alg":"ES256","b64":true}`, `{"alg":"ES256","b64":false,"crit":["b64"]}`, `{"alg":"ES256","kid":1}`,
		`{"alg":"ES256","kid":null}`, `{"alg":"ES256","typ":1}`, `{"alg":"ES256","jwk":{"kty":"oct","k":"AQ"}}`, `{"alg":"ES256","jku":"https://evil.example.com"}`,
		`{"alg":"ES256","x5c":["!"]}`, `{"alg":"ES256","kid":"k","x":{"a":1,"a":2}}`, "{\"alg\":\"ES256\",\"x\":\"\xff\"}", "\xef\xbb\xbf" + `{"alg":"ES256"}`, `{"alg":"ES256"}x`, `[]`, `null`, ``,
	} {
		f.Add(uint8(6), head, payload, uint16(0), uint8(0), "")
	}
	for _, claims := range []string{
		`{}`, `[]`, `null`, ``, `{"sub":"a","sub":"b"}`, `{"sub":"a","SUB":"b"}`, `{"sub":1}`, `{"aud":["a",1]}`, `{"aud":{}}`, `{"exp":"1"}`, `{"exp":1e400}`, "\xef\xbb\xbf{}", "{\"sub\":\"\xff\"}", `{"sub":"\ud800"}`, ` {} `, `{}{}`,
	} {
		f.Add(uint8(6), header("ES256"), claims, uint16(0), uint8(0), "")
	}
	f.Fuzz(func(t *testing.T, i uint8, head, claims string, at uint16, cut uint8, splice string) {
		alg := algorithms[int(i)%len(algorithms)]
		raw := token(t, alg, head, claims)
		from := min(int(at), len(raw))
		raw = raw[:from] + splice + raw[min(from+int(cut), len(raw)):]
		requireAgreement(t, raw, setOf(member(t, alg, `,"kid":"k"`)))
	})
}

// FuzzKeySet verifies a token of each kind of key with a set.
func FuzzKeySet(f *testing.F) {
	kinds := []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"}
	for _, alg := range kinds {
		good := member(f, alg, `,"kid":"k"`)
		f.Add(setOf(good))
		f.Add(setOf(member(f, alg, "")))
		f.Add(setOf(good, good, good, good, good, good))
		f.Add(setOf(`{"kty":"new"}`, `1`, `null`, `{"kty":"RSA","n":"AQ","e":"AQAB"}`, good))
		for _, more := range []string{
			`"use":"sig"`, `"use":"enc"`, `"use":1`, `"use":""`, `"key_ops":["verify"]`, `"key_ops":["sign"]`, `"key_ops":[]`, `"key_ops":"verify"`, `"alg":"` + alg + `"`, `"alg":"RS512"`, `"alg":"x"`,
			`"d":"AQ"`, `"d":null`, `"kty":"RSA"`, `"KTY":"oct"`, `"x5c":["!"]`, `"x5t":"!"`, `"x5u":"%"`, `"x":"AQ"`, `"n":"AQ"`,
		} {
			f.Add(setOf(member(f, alg, `,"kid":"k",`+more)))
		}
		f.Add(strings.Replace(setOf(good), `"AQAB"`, `"AQABAQAB"`, 1))
		f.Add(strings.Replace(setOf(good), `"P-256"`, `"P-384"`, 1))
		f.Add(strings.Replace(setOf(good), `"keys"`, `"KEYS"`, 1))
		f.Add(strings.Replace(setOf(good), `{`, `{"keys":[],`, 1))
		f.Add(good)
	}
	f.Add(`{}`)
	f.Add(`{"keys":null}`)
	f.Add(`null`)
	var tokens []string
	for _, alg := range kinds {
		tokens = append(tokens, token(f, alg, `{"alg":"`+alg+`","kid":"k"}`, payload), token(f, alg, `{"alg":"`+alg+`"}`, payload))
	}
	f.Fuzz(func(t *testing.T, set string) {
		for _, raw := range tokens {
			requireAgreement(t, raw, set)
		}
	})
}

// TestBothTake keeps the comparison from being one of refusals alone.
func TestBothTake(t *testing.T) {
	for _, alg := range algorithms {
		raw, set := token(t, alg, `{"alg":"`+alg+`","kid":"k"}`, payload), setOf(member(t, alg, `,"kid":"k"`))
		read, claims, err := ours(t.Context(), raw, set)
		require.NoError(t, err, alg)
		require.Equal(t, "auth0|1", claims.Subject)
		require.JSONEq(t, payload, string(read))
		require.Equal(t, read, theirs(raw, set).payload, alg)
	}
}
