package oidc

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVerifyAlgorithms(t *testing.T) {
	keys := makeKeys()
	all := []keyPair{keys.first, keys.p256, keys.p384, keys.p521, keys.ed}
	for alg, signer := range map[jose.SignatureAlgorithm]keyPair{
		"RS256": keys.first, "RS384": keys.first, "RS512": keys.first, "PS256": keys.first, "PS384": keys.first, "PS512": keys.first,
		"ES256": keys.p256, "ES384": keys.p384, "ES512": keys.p521, "EdDSA": keys.ed,
	} {
		token := signer.with(alg).named("k").token(t)
		for _, k := range all {
			err := newIssuer(t, k.named("k")).provider(string(alg)).Verify(t.Context(), token)
			if k.kid == signer.kid {
				require.NoError(t, err, alg)
				continue
			}
			requireKind(t, err, Signature)
		}
		err := newIssuer(t, signer.named("k")).provider("none").Verify(t.Context(), token)
		requireKind(t, err, Algorithm, string(alg))
		named := signer.named("k").public()
		named.Algorithm = "RS256" // as its issuer says
		err = newIssuer(t, named).provider(string(alg)).Verify(t.Context(), token)
		if alg == "RS256" {
			require.NoError(t, err)
		} else {
			requireKind(t, err, Signature)
		}
	}
}

// TestVerifyChoosesKeys: by kid, or because there is no choice.
func TestVerifyChoosesKeys(t *testing.T) {
	k := makeKeys()
	wrong := []any{k.second.named("first"), k.second.named("first"), k.second.named("first")}
	for _, tt := range []struct {
		name   string
		signer keyPair
		keys   []any
		ok     bool
	}{
		{"one of many", k.second, []any{k.first, k.p256, k.second}, true},
		{"kid absent, one key", k.first.named(""), []any{k.first}, true},
		{"kid absent, one key that fits", k.first.named(""), []any{k.p256, k.first}, true},
		{"kid absent, two keys", k.first.named(""), []any{k.first, k.second}, false},
		{"kid absent, another key", k.first.named(""), []any{k.second}, false},
		{"another's kid", k.first, []any{k.second.named("first")}, false},
		{"unknown kid", k.first.named("other"), []any{k.first}, false},
		{"the fourth of a name", k.first, append(wrong[:3:3], k.first), true},
		{"the fifth of a name", k.first, append(append(wrong[:3:3], wrong[0]), k.first), false},
		{"bad ones beside", k.first, []any{1, nil, "x", map[string]any{"kty": 1}, map[string]any{"kty": "RSA", "n": "!", "e": "AQAB"}, map[string]any{"kty": "new"}, k.first}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := newIssuer(t, tt.keys...).provider().Verify(t.Context(), tt.signer.token(t))
			if tt.ok {
				require.NoError(t, err)
				return
			}
			requireKind(t, err, Signature)
		})
	}
}

// TestKeysCold: all who wait share one request, and say what they take.
func TestKeysCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t, makeKeys().first)
		keys := i.keys
		i.keys = func(ctx context.Context, at string) (Response, error) {
			time.Sleep(time.Second)
			return keys(ctx, at)
		}
		p, token := i.provider(), makeKeys().first.token(t)
		var wg sync.WaitGroup
		for n := range 40 {
			wg.Go(func() {
				if n%2 == 0 {
					assert.NoError(t, p.Prepare(t.Context()))
				}
				assert.NoError(t, p.Verify(t.Context(), token))
				_, err := p.Metadata(t.Context())
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		require.Equal(t, map[string]int{"discovery": 1, "jwks": 1}, i.count)
		require.Equal(t, []string{"application/json", "application/jwk-set+json, application/json"}, i.accepts)
	})
}

func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := makeKeys()
		i := newIssuer(t, k.first)
		p := i.provider()
		require.NoError(t, p.Verify(t.Context(), k.first.token(t)))
		time.Sleep(time.Second)
		i.set(newIssuer(t, k.second).keys)
		var wg sync.WaitGroup
		for range 40 { // no caller is refused because others asked
			wg.Go(func() { assert.NoError(t, p.Verify(t.Context(), k.second.token(t))) })
		}
		wg.Wait()
		require.LessOrEqual(t, i.asked("jwks"), 3)
		requireKind(t, p.Verify(t.Context(), k.first.token(t)), Signature)
		require.Equal(t, 1, i.asked("discovery"))
		// The same kid, another key.
		time.Sleep(time.Minute)
		i.set(newIssuer(t, k.first.named("second")).keys)
		require.NoError(t, p.Verify(t.Context(), k.first.named("second").token(t)))
	})
}

func TestUnknownKids(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := makeKeys()
		i := newIssuer(t, k.first)
		p := i.provider()
		requireKind(t, p.Verify(t.Context(), k.second.token(t)), Signature)
		require.Equal(t, 1, i.asked("jwks"), "none are newer than those that were asked for just now")
		for n := range 50 {
			requireKind(t, p.Verify(t.Context(), k.second.named(strconv.Itoa(n)).token(t)), Signature)
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, i.asked("jwks"), 1+mostMissed)
		require.NoError(t, p.Verify(t.Context(), k.first.token(t)))
		time.Sleep(time.Minute)
		i.set(newIssuer(t, k.second).keys)
		require.NoError(t, p.Verify(t.Context(), k.second.token(t)))

		// Where the keys can't be had, that is what is said.
		i.set(func(context.Context, string) (Response, error) { return status(500) })
		for n := range 50 {
			requireKind(t, p.Verify(t.Context(), k.first.named(strconv.Itoa(n)).token(t)), Keys, "HTTP status 500")
		}
		require.LessOrEqual(t, i.asked("jwks"), 1+3*mostMissed)
	})
}

// TestMetadataMissing: a 404 is of the moment.
func TestMetadataMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := makeKeys()
		i := newIssuer(t, k.first)
		var at string
		keys := i.keys
		i.keys = func(ctx context.Context, url string) (Response, error) { at = url; return keys(ctx, url) }
		metadata := i.metadata
		i.metadata = func(context.Context) (Response, error) { return Response{StatusCode: 404}, nil }
		p := i.provider()
		require.NoError(t, p.Verify(t.Context(), k.first.token(t)))
		require.Equal(t, theIssuer+".well-known/jwks.json", at)

		i.metadata = func(context.Context) (Response, error) {
			return ok(`{"issuer":"` + theIssuer + `","jwks_uri":"` + theIssuer + `keys","authorization_response_iss_parameter_supported":"true"}`)
		}
		m, err := p.Metadata(t.Context())
		require.NoError(t, err)
		require.Equal(t, &Metadata{Issuer: theIssuer, KeysURL: theIssuer + "keys", AnnouncesIssuer: true}, m)

		// Metadata that is there outlives a 404, and a day of trouble.
		for _, trouble := range []func(context.Context) (Response, error){
			func(context.Context) (Response, error) { return Response{StatusCode: 404}, nil },
			func(context.Context) (Response, error) { return status(503) },
		} {
			time.Sleep(25 * time.Hour)
			i.metadata = trouble
			again, err := p.Metadata(t.Context())
			require.NoError(t, err)
			require.Equal(t, m, again)
		}
		i.metadata = metadata
		again, err := p.Metadata(t.Context())
		require.NoError(t, err)
		require.False(t, again.AnnouncesIssuer, "read anew")
	})
}

// TestKeysMoved: where they can't be found, the metadata says where they are.
func TestKeysMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := makeKeys()
		i := newIssuer(t, k.first)
		p := i.provider()
		require.NoError(t, p.Verify(t.Context(), k.first.token(t)))
		time.Sleep(time.Second)
		set := setOf(t, k.second)
		i.set(func(_ context.Context, at string) (Response, error) {
			if at != theIssuer+"moved" {
				return status(404)
			}
			return ok(set)
		})
		i.metadata = func(context.Context) (Response, error) {
			return ok(`{"issuer":"` + theIssuer + `","jwks_uri":"` + theIssuer + `moved"}`)
		}
		begun := time.Now()
		require.NoError(t, p.Verify(t.Context(), k.second.token(t)))
		require.Zero(t, time.Since(begun), "without a pause")
		require.Equal(t, map[string]int{"discovery": 2, "jwks": 3}, i.count)
	})
}

// TestKeysAge: a withdrawn key is refused when the keys' age is over; while the
// issuer is down, within a day.
func TestKeysAge(t *testing.T) {
	k := makeKeys()
	for header, age := range map[string]time.Duration{
		"": time.Hour, "max-age=600": 10 * time.Minute, "public, MAX-AGE=\"600\", must-revalidate": 10 * time.Minute, "max-age=0": time.Minute, "no-store": time.Minute,
		"max-age=99999999999999999999": 24 * time.Hour, "max-age=-5": time.Minute, "max-age=x": time.Hour, "s-maxage=5": time.Hour,
	} {
		t.Run(header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer(t)
				set := setOf(t, k.first)
				i.keys = func(context.Context, string) (Response, error) { return ok(set, "Cache-Control", header) }
				p := i.provider()
				verify := func() error { return p.Verify(t.Context(), k.first.token(t)) }
				require.NoError(t, verify())
				i.set(newIssuer(t, k.second).keys)
				time.Sleep(age - time.Second)
				require.NoError(t, verify())
				require.Equal(t, 1, i.asked("jwks"))
				time.Sleep(time.Second)
				requireKind(t, verify(), Signature)
			})
		})
	}
}

func TestKeysStale(t *testing.T) {
	for name, trouble := range map[string]func(context.Context, string) (Response, error){
		"down":   func(context.Context, string) (Response, error) { return status(500) },
		"hangs":  func(ctx context.Context, _ string) (Response, error) { <-ctx.Done(); return Response{}, ctx.Err() },
		"a page": func(context.Context, string) (Response, error) { return ok("<html>") },
		"empty":  func(context.Context, string) (Response, error) { return ok(`{"keys":[]}`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := makeKeys()
				i := newIssuer(t, k.first)
				p := i.provider()
				verify := func() error { return p.Verify(t.Context(), k.first.token(t)) }
				require.NoError(t, verify())
				i.set(trouble)
				time.Sleep(2 * time.Hour)
				began := time.Now()
				for range 20 {
					require.NoError(t, verify())
				}
				require.LessOrEqual(t, time.Since(began), 3*time.Second)
				require.Equal(t, 2, i.asked("jwks"), "asked again after a while only")
				time.Sleep(21 * time.Hour)
				require.NoError(t, verify())
				time.Sleep(time.Hour)
				requireKind(t, verify(), Keys)
				i.set(newIssuer(t, k.first).keys)
				time.Sleep(time.Minute)
				require.NoError(t, verify())
			})
		})
	}
}

// TestPatience: what may pass is asked again, for as long as the caller waits.
func TestPatience(t *testing.T) {
	for name, tt := range map[string]struct {
		code  int
		asked int
	}{"500": {500, 3}, "429": {429, 3}, "404": {404, 3}, "no answer": {0, 3}, "403": {403, 1}, "302": {302, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := makeKeys()
				i := newIssuer(t, k.first)
				good := i.keys
				i.keys = func(context.Context, string) (Response, error) { return status(tt.code) }
				p := i.provider()
				e := refused(t, p.Prepare(t.Context()), Keys)
				require.Equal(t, "jwks", e.Op)
				require.Equal(t, tt.code, e.StatusCode)
				require.Equal(t, 1, i.asked("jwks"), "Prepare is not patient")
				require.Equal(t, 1, i.asked("discovery"), "which was read just now")
				began := time.Now()
				requireKind(t, p.Verify(t.Context(), k.first.token(t)), Keys)
				require.Equal(t, 1+tt.asked, i.asked("jwks"))
				require.LessOrEqual(t, time.Since(began), 3*time.Second)
				if tt.asked == 1 {
					return
				}
				failures := 2
				i.set(func(ctx context.Context, at string) (Response, error) {
					if failures--; failures >= 0 {
						return status(tt.code)
					}
					return good(ctx, at)
				})
				require.NoError(t, p.Verify(t.Context(), k.first.token(t)))

				i.set(func(context.Context, string) (Response, error) { return status(tt.code) })
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				err := p.Verify(ctx, k.second.token(t))
				requireKind(t, err, Keys)
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
		})
	}
}

// TestVerifyContext: who leaves, leaves; the others get their answer.
func TestVerifyContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := makeKeys()
		i := newIssuer(t, k.first)
		keys, answer := i.keys, make(chan struct{})
		i.keys = func(ctx context.Context, at string) (Response, error) {
			select {
			case <-answer:
				return keys(ctx, at)
			case <-ctx.Done():
				return Response{}, ctx.Err()
			}
		}
		p := i.provider()
		first, leave := context.WithCancel(t.Context())
		var left, stayed error
		var wg sync.WaitGroup
		wg.Go(func() { left = p.Verify(first, k.first.token(t)) })
		synctest.Wait()
		wg.Go(func() { stayed = p.Verify(t.Context(), k.first.token(t)) })
		synctest.Wait()
		leave()
		synctest.Wait()
		requireKind(t, left, Keys)
		require.ErrorIs(t, left, context.Canceled)
		close(answer)
		wg.Wait()
		require.NoError(t, stayed)
		require.Equal(t, 1, i.asked("jwks"))

		err := p.Verify(first, k.first.token(t)) // also where nothing has to be asked
		requireKind(t, err, Keys)
		require.ErrorIs(t, err, context.Canceled)
		requireKind(t, p.Prepare(first), Keys)
		_, err = i.provider().Metadata(first)
		require.ErrorIs(t, err, context.Canceled)
	})
}

// TestFetchEnds: a request that nobody waits for any more ends with the last
// who did.
func TestFetchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t, makeKeys().first)
		ended := make(chan error, 1)
		i.metadata = func(ctx context.Context) (Response, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return Response{}, ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := i.provider().Metadata(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		start := time.Now()
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
		require.Zero(t, time.Since(start))
	}) // which fails if a goroutine is left
}

func TestFetchFails(t *testing.T) {
	k := makeKeys()
	cause := errors.New("cause")
	for name, tt := range map[string]struct {
		metadata func(context.Context) (Response, error)
		keys     func(context.Context, string) (Response, error)
		op       string
		kind     Kind
		says     string
	}{
		"metadata of another": {metadata: func(context.Context) (Response, error) { return ok(`{"issuer":"https://issuer.example.com"}`) }, op: "discovery", kind: Issuer, says: "slash"},
		"metadata of nobody":  {metadata: func(context.Context) (Response, error) { return ok(`{}`) }, op: "discovery", kind: Issuer, says: theIssuer},
		"a page":              {metadata: func(context.Context) (Response, error) { return ok(`<html>`) }, op: "discovery", kind: Keys},
		"issuer twice": {metadata: func(context.Context) (Response, error) {
			return ok(`{"issuer":"` + theIssuer + `","issuer":"` + theIssuer + `"}`)
		}, op: "discovery", kind: Keys},
		"keys in the clear":     {metadata: jwksURI("http://example.com/keys"), op: "discovery", kind: Keys, says: "jwks_uri"},
		"keys on this machine":  {metadata: jwksURI("http://127.0.0.1/keys"), op: "discovery", kind: Keys, says: "jwks_uri"},
		"keys in a file":        {metadata: jwksURI("file:///keys"), op: "discovery", kind: Keys, says: "jwks_uri"},
		"keys nowhere":          {metadata: jwksURI("https://%zz"), op: "discovery", kind: Keys, says: "jwks_uri"},
		"jwks_uri of no string": {metadata: func(context.Context) (Response, error) { return ok(`{"issuer":"` + theIssuer + `","jwks_uri":1}`) }, op: "discovery", kind: Keys, says: "jwks_uri"},
		"no metadata":           {metadata: func(context.Context) (Response, error) { return Response{StatusCode: 403}, cause }, op: "discovery", kind: Keys, says: "cause"},
		"no keys":               {keys: func(context.Context, string) (Response, error) { return Response{StatusCode: 403}, cause }, op: "jwks", kind: Keys, says: "cause"},
		"keys that are a page":  {keys: func(context.Context, string) (Response, error) { return ok("<html>") }, op: "jwks", kind: Keys},
		"an empty set":          {keys: func(context.Context, string) (Response, error) { return ok(`{"keys":[]}`) }, op: "jwks", kind: Keys, says: "no key"},
		"keys twice":            {keys: func(context.Context, string) (Response, error) { return ok(`{"keys":[],"keys":[]}`) }, op: "jwks", kind: Keys},
		"panics":                {keys: func(context.Context, string) (Response, error) { panic("s3cr3t") }, kind: Keys, says: "panicked (string)"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t, k.first)
			metadata, keys := i.metadata, i.keys
			if tt.metadata != nil {
				i.metadata = tt.metadata
			}
			if tt.keys != nil {
				i.keys = tt.keys
			}
			p := i.provider()
			err := p.Prepare(t.Context())
			e := refused(t, err, tt.kind, tt.says)
			require.Equal(t, tt.op, e.Op)
			if tt.says == "cause" {
				require.ErrorIs(t, err, cause)
				require.Equal(t, 403, e.StatusCode)
			}
			i.metadata, i.keys = metadata, keys
			require.NoError(t, p.Prepare(t.Context()), "no failure is kept")
			require.NoError(t, p.Verify(t.Context(), k.first.token(t)))
		})
	}
}

func jwksURI(at string) func(context.Context) (Response, error) {
	return func(context.Context) (Response, error) {
		return ok(`{"issuer":"` + theIssuer + `","jwks_uri":"` + at + `"}`)
	}
}

// TestAlgorithms: the configured ones, else the metadata's, and a mismatch is
// said before anything is spent.
func TestAlgorithms(t *testing.T) {
	k := makeKeys()
	for name, tt := range map[string]struct {
		metadata   string
		configured []string
		prepared   bool
		verified   map[jose.SignatureAlgorithm]bool
	}{
		"neither":         {"", nil, true, map[jose.SignatureAlgorithm]bool{"RS256": true, "ES256": false}},
		"metadata":        {`["RS256","ES256","HS256"]`, nil, true, map[jose.SignatureAlgorithm]bool{"RS256": true, "ES256": true, "PS256": false}},
		"odd metadata":    {`"RS256"`, nil, true, map[jose.SignatureAlgorithm]bool{"RS256": true, "ES256": false}},
		"no public key":   {`["HS256","none"]`, nil, false, nil},
		"configured":      {"", []string{"ES256"}, true, map[jose.SignatureAlgorithm]bool{"RS256": false, "ES256": true}},
		"both":            {`["RS256","ES256"]`, []string{"ES256"}, true, map[jose.SignatureAlgorithm]bool{"RS256": false, "ES256": true}},
		"nothing in both": {`["RS256"]`, []string{"ES256"}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t, k.first, k.p256)
			if tt.metadata != "" {
				i.metadata = func(context.Context) (Response, error) {
					return ok(`{"issuer":"` + theIssuer + `","jwks_uri":"` + theIssuer + `keys","id_token_signing_alg_values_supported":` + tt.metadata + `}`)
				}
			}
			p := i.provider(tt.configured...)
			if !tt.prepared {
				requireKind(t, p.Prepare(t.Context()), Algorithm, "the issuer signs ID tokens with")
				require.Zero(t, i.asked("jwks"))
				return
			}
			require.NoError(t, p.Prepare(t.Context()))
			for alg, good := range tt.verified {
				signer := map[bool]keyPair{true: k.p256, false: k.first.with(alg)}[alg == "ES256"]
				err := p.Verify(t.Context(), signer.token(t))
				if good {
					require.NoError(t, err)
				} else {
					requireKind(t, err, Algorithm)
				}
			}
		})
	}
}

// TestParseKey: a key is of a kind that is known, well-formed, strong, public,
// and for signatures.
func TestParseKey(t *testing.T) {
	text := func(bytes int) string { return base64url.EncodeToString([]byte(strings.Repeat("\xff", bytes))) }
	rsaKey := func(e string, bytes int, more string) string {
		return `{"kty":"RSA","e":"` + e + `","n":"` + text(bytes) + `"` + more + `}`
	}
	ec, err := makeKeys().p256.named("").public().MarshalJSON()
	require.NoError(t, err)
	for raw, good := range map[string]bool{
		rsaKey("AQAB", 256, ""):                          true,
		rsaKey("Aw", 256, ""):                            true, // 3, the least there is
		rsaKey("AQ", 256, ""):                            false,
		rsaKey("BA", 256, ""):                            false, // even
		rsaKey("f____w", 256, ""):                        true,  // 31 bits
		rsaKey("gAAAAQ", 256, ""):                        false,
		rsaKey("AQAAAAAAAAAB", 256, ""):                  false,
		rsaKey("AQAB", 255, ""):                          false,
		rsaKey("AQAB", 512, ""):                          true,
		rsaKey("AQAB", 1025, ""):                         false,
		rsaKey("AQAB", 128<<10, ""):                      false,
		rsaKey("AQAB", 256, `,"use":"sig"`):              true,
		rsaKey("AQAB", 256, `,"use":"enc"`):              false,
		rsaKey("AQAB", 256, `,"use":1`):                  false,
		rsaKey("AQAB", 256, `,"key_ops":["verify"]`):     true,
		rsaKey("AQAB", 256, `,"key_ops":["encrypt"]`):    false,
		rsaKey("AQAB", 256, `,"key_ops":[]`):             false,
		rsaKey("AQAB", 256, `,"d":"AQ"`):                 false,
		rsaKey("AQAB", 256, `,"KTY":"oct","N":"AQ"`):     true,
		rsaKey("AQAB", 256, `,"kty":"RSA"`):              false, // twice
		rsaKey("AQAB", 256, `,"x5c":["!"],"x5t":"!"`):    true,
		rsaKey("AQAB\\n", 256, ""):                       false,
		rsaKey("AQAB=", 256, ""):                         false,
		`{"kty":"RSA","e":"AQAB","n":"="}`:               false,
		`{"kty":"RSA"}`:                                  false,
		`{"kty":"oct","k":"AQAB"}`:                       false,
		`{"kty":1}`:                                      false,
		`[]`:                                             false,
		`null`:                                           false,
		string(ec):                                       true,
		strings.Replace(string(ec), "P-256", "P-384", 1): false,
		strings.Replace(string(ec), "P-256", "P-257", 1): false,
		strings.NewReplacer(`"x"`, `"y"`, `"y"`, `"x"`).Replace(string(ec)): false, // not on the curve
		`{"kty":"OKP","crv":"Ed25519","x":"` + text(32) + `"}`:              true,
		`{"kty":"OKP","crv":"X25519","x":"` + text(32) + `"}`:               false,
		`{"kty":"OKP","crv":"Ed25519","x":"` + text(31) + `"}`:              false,
	} {
		_, got := parseKey([]byte(raw))
		require.Equal(t, good, got, "%.300s", raw)
	}
}

// TestKeysMany: a set without end costs no more than one of bearable length.
func TestKeysMany(t *testing.T) {
	k := makeKeys()
	var many []any
	for range mostKeys {
		many = append(many, k.ed)
	}
	p := newIssuer(t, append(many[:len(many)-1:len(many)-1], k.first)...).provider()
	require.NoError(t, p.Verify(t.Context(), k.first.token(t)))
	p = newIssuer(t, append(many, k.first)...).provider()
	requireKind(t, p.Verify(t.Context(), k.first.token(t)), Signature)
}

// TestClockSetBack: keys don't stay fresh until the clock is there again.
func TestClockSetBack(t *testing.T) {
	require.Equal(t, mostAge, since(now().Add(time.Hour)))
	require.Less(t, since(now()), time.Minute)
}

// TestNewerKnown asks for nothing where another call has had newer keys since.
func TestNewerKnown(t *testing.T) {
	k := makeKeys()
	i := newIssuer(t, k.first)
	p := i.provider()
	require.NoError(t, p.Prepare(t.Context()))
	newest, err := p.newer(t.Context(), new(keySet))
	require.NoError(t, err)
	require.Same(t, p.keys, newest)
	require.Equal(t, 1, i.asked("jwks"))
}

// TestKeysTriedInTime: a caller whose context ends waits for no more keys.
func TestKeysTriedInTime(t *testing.T) {
	k := makeKeys()
	p := newIssuer(t, k.first).provider()
	require.NoError(t, p.Prepare(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := p.keys.verify(ctx, k.first.token(t))
	requireKind(t, err, Keys)
	require.ErrorIs(t, err, context.Canceled)
}
