package piecesauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const theIssuer = "https://issuer.example.com/"

// issuerBench is a bench whose tokens come with ID tokens of an issuer.
type issuerBench struct {
	*bench

	claims  map[string]any   // of the next ID tokens, in place of the good ones; nil takes one out
	signer  keyPair          // of the next ID tokens
	members map[string]any   // of the next answers, in place of the good ones; nil takes one out
	status  int              // of the next answers, where they would be 200
	keys    http.HandlerFunc // instead of the keys
}

// newIssuerBench starts with a token of auth0|1 that lasts for an hour.
func newIssuerBench(t *testing.T) *issuerBench {
	b := &issuerBench{bench: &bench{t: t, good: "r0", lifetime: time.Hour}, signer: makeKeys().ed, status: 200}
	b.store = &fakeStore{bench: b.bench}
	b.auth = newAuth(t, LiveBaseURL, func(c *Config) {
		c.Issuer, c.IDTokenAlgorithms, c.HTTPClient = theIssuer, []string{"EdDSA"}, direct(b.serve)
	})
	b.source = b.auth.TokenSource(b.store)
	b.put(b.person("auth0|1"))
	return b
}

// person returns a token of the person that lasts for an hour.
func (b *issuerBench) person(sub string) *Token {
	return &Token{
		AccessToken: "a0", TokenType: "Bearer", RefreshToken: "r0", IDToken: makeKeys().ed.sign(b.t, b.idClaims(map[string]any{"sub": sub})),
		Obtained: time.Now(), Expiry: time.Now().Add(time.Hour),
	}
}

func (b *issuerBench) idClaims(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	return changed(map[string]any{"iss": theIssuer, "sub": "auth0|1", "aud": theClient, "exp": now + 3600, "iat": now}, changes)
}

// changed returns m with the changes; nil takes a member out.
func changed(m, changes map[string]any) map[string]any {
	for name, v := range changes {
		if m[name] = v; v == nil {
			delete(m, name)
		}
	}
	return m
}

func (b *issuerBench) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		reply(200, `{"issuer":"`+theIssuer+`","jwks_uri":"`+theIssuer+`keys"}`, asJSON)(w, r)
	case "/keys":
		if b.keys != nil {
			b.keys(w, r)
			return
		}
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: makeKeys().ed.private.Public(), KeyID: "ed", Use: "sig"}}})
		assert.NoError(b.t, err)
		reply(200, string(set), asJSON)(w, r)
	default:
		rec := httptest.NewRecorder()
		b.endpoint(rec, r)
		var answer map[string]any
		if rec.Code != 200 || json.Unmarshal(rec.Body.Bytes(), &answer) != nil {
			reply(rec.Code, rec.Body.String(), asJSON)(w, r)
			return
		}
		answer["id_token"] = b.signer.sign(b.t, b.idClaims(b.claims))
		text, err := json.Marshal(changed(answer, b.members))
		assert.NoError(b.t, err)
		reply(b.status, string(text), asJSON)(w, r)
	}
}

// load returns the stored token, nil where there is none.
func (b *bench) load() *Token {
	t, err := b.MemoryStore.Load(context.Background())
	if err != nil {
		return nil
	}
	return t
}

// TestGrantsAreNeverLost bends what a refresh answers, in one way after the
// other, while the token at hand is good.
func TestGrantsAreNeverLost(t *testing.T) {
	type bent = map[string]any
	const (
		handedOut = iota // with the new ID token
		unchecked        // handed out with the previous ID token
		kept             // not handed out: the new refresh token is kept beside the old access token
		forgotten        // for good
	)
	unix := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for _, tt := range []struct {
		name string
		bend func(*issuerBench)
		want int
	}{
		{"nothing", func(*issuerBench) {}, handedOut},
		{"keys answer 500", func(b *issuerBench) { b.keys = reply(500, "<html>", asHTML) }, unchecked},
		{"keys answer 429 for long", func(b *issuerBench) { b.keys = reply(429, "", "Retry-After: 3600") }, unchecked},
		{"keys answer 403", func(b *issuerBench) { b.keys = reply(403, "") }, unchecked},
		{"keys are a page", func(b *issuerBench) { b.keys = reply(200, "<html>", asHTML) }, unchecked},
		{"keys hang", func(b *issuerBench) { b.keys = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() } }, unchecked},
		{"a clock 31 seconds slow", func(b *issuerBench) { b.claims = bent{"iat": unix(31 * time.Second)} }, handedOut},
		{"a clock six minutes slow", func(b *issuerBench) { b.claims = bent{"iat": unix(6 * time.Minute)} }, unchecked},
		{"a clock an hour fast", func(b *issuerBench) { b.claims = bent{"iat": unix(-2 * time.Hour), "exp": unix(-time.Hour)} }, unchecked},
		{"nbf to come", func(b *issuerBench) { b.claims = bent{"nbf": unix(time.Hour)} }, unchecked},
		{"another key's signature", func(b *issuerBench) { b.signer = makeKeys().ed.named("other") }, kept},
		{"another algorithm", func(b *issuerBench) { b.signer = makeKeys().ec }, kept},
		{"another at_hash", func(b *issuerBench) { b.claims = bent{"at_hash": "x"} }, kept},
		{"a second aud", func(b *issuerBench) { b.claims = bent{"aud": []string{theClient, "other"}} }, kept},
		{"another aud", func(b *issuerBench) { b.claims = bent{"aud": "other"} }, kept},
		{"another azp", func(b *issuerBench) { b.claims = bent{"azp": "other"} }, kept},
		{"a nonce", func(b *issuerBench) { b.claims = bent{"nonce": "n"} }, kept},
		{"no exp", func(b *issuerBench) { b.claims = bent{"exp": nil} }, kept},
		{"an ID token that can't be read", func(b *issuerBench) { b.members = bent{"id_token": "x.y"} }, kept},
		{"an encrypted ID token", func(b *issuerBench) { b.members = bent{"id_token": "a.b.c.d.e"} }, kept},
		{"no access_token", func(b *issuerBench) { b.members = bent{"access_token": nil} }, kept},
		{"an empty access_token", func(b *issuerBench) { b.members = bent{"access_token": ""} }, kept},
		{"access_token a number", func(b *issuerBench) { b.members = bent{"access_token": 1} }, kept},
		{"access_token an object", func(b *issuerBench) { b.members = bent{"access_token": bent{"token": "x"}} }, kept},
		{"an access_token on two lines", func(b *issuerBench) { b.members = bent{"access_token": "a\nb"} }, kept},
		{"token_type DPoP", func(b *issuerBench) { b.members = bent{"token_type": "DPoP"} }, kept},
		{"token_type missing", func(b *issuerBench) { b.members = bent{"token_type": nil} }, handedOut},
		{"token_type empty", func(b *issuerBench) { b.members = bent{"token_type": ""} }, handedOut},
		{"token_type in small", func(b *issuerBench) { b.members = bent{"token_type": "bearer"} }, handedOut},
		{"token_type a list", func(b *issuerBench) { b.members = bent{"token_type": []string{"Bearer"}} }, handedOut},
		{"expires_in a date", func(b *issuerBench) { b.members = bent{"expires_in": "2026-01-02T03:04:05Z"} }, handedOut},
		{"expires_in in quotes", func(b *issuerBench) { b.members = bent{"expires_in": "3600"} }, handedOut},
		{"expires_in an object", func(b *issuerBench) { b.members = bent{"expires_in": bent{}} }, handedOut},
		{"scope a list", func(b *issuerBench) { b.members = bent{"scope": []string{"openid", "email"}} }, handedOut},
		{"scope a number", func(b *issuerBench) { b.members = bent{"scope": 1} }, handedOut},
		{"schema in words", func(b *issuerBench) { b.members = bent{"schema": "none"} }, handedOut},
		{"id_token missing", func(b *issuerBench) { b.members = bent{"id_token": nil} }, unchecked},
		{"id_token null", func(b *issuerBench) { b.members = bent{"id_token": json.RawMessage("null")} }, unchecked},
		{"id_token an object", func(b *issuerBench) { b.members = bent{"id_token": bent{}} }, unchecked},
		{"status 201", func(b *issuerBench) { b.status = 201 }, handedOut},
		{"another person", func(b *issuerBench) { b.claims = bent{"sub": "auth0|2"} }, forgotten},
		{"another person, and everything else wrong", func(b *issuerBench) {
			b.claims = bent{"sub": "auth0|2", "aud": "other", "exp": 1}
			b.keys = reply(500, "")
		}, forgotten},
		{"another issuer", func(b *issuerBench) { b.claims = bent{"iss": "https://other.example.com/"} }, forgotten},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newIssuerBench(t)
				before := b.load()
				b.requireToken("a0")
				time.Sleep(58 * time.Minute)
				tt.bend(b)
				b.requireToken("a0") // nobody waits
				time.Sleep(70 * time.Second)
				synctest.Wait()
				require.Equal(t, 1, b.refreshes)
				stored := b.load()
				switch tt.want {
				case handedOut, unchecked:
					b.requireToken("a1")
					require.Equal(t, "r1", stored.RefreshToken)
					require.Equal(t, tt.want == unchecked, stored.IDToken == before.IDToken)
					require.Equal(t, "Bearer", stored.TokenType)
				case kept:
					require.Equal(t, "r1", stored.RefreshToken)
					require.Equal(t, "a0", stored.AccessToken)
					require.Equal(t, before.IDToken, stored.IDToken)
					b.claims, b.members, b.signer = nil, nil, makeKeys().ed
					time.Sleep(time.Minute)
					b.requireToken("a2")
				case forgotten:
					require.Nil(t, stored)
					_, err := b.source.Token(t.Context())
					requireError(t, err, &Error{Op: "token"}, ErrNoToken, ErrSignInRequired)
				}
			})
		})
	}
}

// TestWrongOnceIsTriedAgain holds the pauses between tries, and what callers
// are told meanwhile.
func TestWrongOnceIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newIssuerBench(t)
		b.claims = map[string]any{"at_hash": "x"}
		time.Sleep(time.Hour)
		var tries []time.Duration
		for start := time.Now(); time.Since(start) < time.Hour; time.Sleep(time.Second) {
			n := b.refreshes
			token, err := b.source.Token(t.Context())
			require.Nil(t, token)
			requireError(t, err, &Error{Op: "refresh"}, ErrUnknownOutcome)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Nil(t, e.Token, "it is stored already, and not to be used")
			if b.refreshes > n {
				tries = append(tries, time.Since(start))
			}
			require.Equal(t, fmt.Sprint("r", b.refreshes), b.stored(), "each answer is kept")
		}
		s := time.Second
		require.Equal(t, []time.Duration{0, 30 * s, 90 * s, 210 * s, 450 * s, 930 * s, 1830 * s, 2730 * s}, tries)

		b.claims = nil
		time.Sleep(15 * time.Minute)
		b.requireToken(fmt.Sprint("a", len(tries)+1))
	})
}

// TestBareRefreshCarriesTheGrant holds what a caller without a TokenSource gets
// of an answer that was refused.
func TestBareRefreshCarriesTheGrant(t *testing.T) {
	type bent = map[string]any
	for name, tt := range map[string]struct {
		members, claims bent
		want            *Token
	}{
		"another at_hash":       {claims: bent{"at_hash": "x"}, want: &Token{AccessToken: "a1", RefreshToken: "r1"}},
		"no access_token":       {members: bent{"access_token": nil}, want: &Token{RefreshToken: "r1"}},
		"access_token a number": {members: bent{"access_token": 1}, want: &Token{RefreshToken: "r1"}},
		"not rotated":           {members: bent{"access_token": nil, "refresh_token": nil}, want: nil},
		"another person":        {claims: bent{"sub": "auth0|2"}, want: nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newIssuerBench(t)
				b.members, b.claims = tt.members, tt.claims
				token, err := b.auth.Refresh(t.Context(), b.load())
				require.Nil(t, token)
				require.ErrorIs(t, err, ErrUnknownOutcome)
				var e *Error
				require.ErrorAs(t, err, &e)
				if tt.want == nil {
					require.Nil(t, e.Token)
					return
				}
				require.NotNil(t, e.Token)
				require.Equal(t, tt.want.AccessToken, e.Token.AccessToken)
				require.Equal(t, tt.want.RefreshToken, e.Token.RefreshToken)
				require.Empty(t, e.Token.IDToken)
				require.NotContains(t, fmt.Sprintf("%+v %v", e, e.Token), "r1")
			})
		})
	}
}

// trouble is what keeps a refresh from succeeding.
type trouble struct {
	name string
	make func(*bench)
}

func troubles(t *testing.T) []trouble {
	always := func(answer http.HandlerFunc) func(*bench) {
		return func(b *bench) {
			b.auth.client = newAuth(t, LiveBaseURL, func(c *Config) {
				c.HTTPClient = direct(func(w http.ResponseWriter, r *http.Request) {
					b.note("refresh")
					answer(w, r)
				})
			}).client
		}
	}
	return []trouble{
		{"503", always(reply(503, ""))},
		{"500", always(reply(500, "<html>", asHTML))},
		{"429", always(reply(429, ""))},
		{"429 for a minute", always(reply(429, "", "Retry-After: 60"))},
		{"400 without a word", always(reply(400, ""))},
		{"invalid_grant", always(reply(400, `{"error":"invalid_grant"}`, asJSON))},
		{"invalid_client", always(reply(401, `{"error":"invalid_client"}`, asJSON))},
		{"a page", always(reply(200, "<html>", asHTML))},
		{"a redirect", always(reply(302, "", "Location: https://elsewhere.example.com/"))},
		{"no answer", always(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
		{"a transport that panics", always(func(http.ResponseWriter, *http.Request) { panic(theRefresh) })},
		{"a store that can't be written", func(b *bench) { b.store.failures = []error{errDisk, errDisk, errDisk, errDisk, errDisk} }},
		{"another process holds the lock, and is stopped", func(b *bench) {
			held, release := make(chan bool), make(chan bool)
			b.t.Cleanup(func() { synctest.Wait() })
			go func() {
				assert.NoError(b.t, b.MemoryStore.Update(context.Background(), func(_ context.Context, stored *Token) (*Token, error) {
					close(held)
					<-release
					return stored, nil
				}))
			}()
			<-held
			time.AfterFunc(10*time.Minute, func() { close(release) })
		}},
	}
}

// TestGoodTokenIsNeverWithheld hands out the token at hand until it expires,
// whatever a refresh ahead of time meets, in a process that knows the token and
// in one that has just begun.
func TestGoodTokenIsNeverWithheld(t *testing.T) {
	for _, trouble := range troubles(t) {
		for _, left := range []time.Duration{4 * time.Minute, time.Minute, 20 * time.Second, time.Second} {
			for _, knows := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s left/knows %t", trouble.name, left, knows), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := newBench(t, func(c *Config) { c.RefreshBefore = 5 * time.Minute })
						if knows {
							b.requireToken("a0")
						}
						time.Sleep(time.Hour - left)
						trouble.make(b)
						for range 5 {
							if time.Until(b.load().Expiry) <= 0 {
								break
							}
							start := time.Now()
							token, err := b.source.Token(t.Context())
							require.NoError(t, err)
							require.True(t, token.Valid())
							if left > 30*time.Second {
								require.Zero(t, time.Since(start), "nobody waits")
							}
							b.mu.Lock()
							refreshes := b.refreshes
							b.mu.Unlock()
							if refreshes > 0 {
								break // it was saved at last
							}
						}
						time.Sleep(11 * time.Minute) // all that was begun ends
					})
				})
			}
		}
	}
}

// TestNobodyWaits has a thousand callers at the moment of RefreshBefore, and a
// server that takes its time.
func TestNobodyWaits(t *testing.T) {
	for _, knows := range []bool{true, false} {
		t.Run(fmt.Sprint("knows the token ", knows), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.delay = 2 * time.Second
				if knows {
					b.requireToken("a0")
				}
				time.Sleep(time.Hour - 2*time.Minute)
				var wg sync.WaitGroup
				var mu sync.Mutex
				var slowest time.Duration
				for range 1000 {
					wg.Go(func() {
						start := time.Now()
						token, err := b.source.Token(t.Context())
						assert.NoError(t, err)
						assert.True(t, token.Valid())
						mu.Lock()
						defer mu.Unlock()
						slowest = max(slowest, time.Since(start))
					})
				}
				wg.Wait()
				require.LessOrEqual(t, slowest, 5*time.Millisecond)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				b.requireToken("a1")
				require.Equal(t, 1, b.refreshes)
			})
		})
	}
}

// TestRefusedIsNotSentAgain counts the requests of many calls in a row, a second
// apart, once the token has expired.
func TestRefusedIsNotSentAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   int // requests of 30 calls
		causes []error
	}{
		{"invalid_grant", reply(400, `{"error":"invalid_grant"}`, asJSON), 1, []error{ErrSignInRequired}},
		{"invalid_grant with status 200", reply(200, `{"error":"invalid_grant"}`, asJSON), 1, []error{ErrSignInRequired}},
		{"invalid_grant with status 403", reply(403, `{"error":"invalid_grant"}`, asJSON), 1, []error{ErrSignInRequired}},
		{"consent_required", reply(403, `{"error":"consent_required"}`, asJSON), 1, []error{ErrSignInRequired}},
		{"429 for a minute", reply(429, "", "Retry-After: 60"), 1, nil},
		{"503 for a minute", reply(503, "", "Retry-After: 60"), 1, []error{ErrUnknownOutcome}},
		{"403 for 20 seconds", reply(403, "", "Retry-After: 20"), 2, nil},
		{"500", reply(500, ""), 30, []error{ErrUnknownOutcome}},
		{"500, by the way with a limit that isn't reached", reply(500, "", "X-Ratelimit-Limit: 100", "X-Ratelimit-Remaining: 99", "X-Ratelimit-Reset: 946692000"), 30, []error{ErrUnknownOutcome}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				time.Sleep(time.Hour)
				for range 30 {
					b.answer = tt.answer
					_, err := b.source.Token(t.Context())
					requireError(t, err, &Error{Op: "refresh"}, tt.causes...)
					time.Sleep(time.Second)
				}
				require.Equal(t, tt.want, b.refreshes)

				// Another token is another matter.
				b.answer = nil
				b.good = "r9"
				b.put(&Token{AccessToken: "old", RefreshToken: "r9", Expiry: time.Now()})
				b.requireToken(fmt.Sprint("a", tt.want+1))
			})
		})
	}
}

// TestAlwaysRejected bounds what an API causes that answers 401 whatever the
// token.
func TestAlwaysRejected(t *testing.T) {
	rejecting := func(b *bench) map[string]func() {
		client := b.source.Client(direct(reply(401, "")))
		return map[string]func(){
			"Client": func() {
				resp, err := send(b.t, client, http.MethodGet, "https://api.example.com/", nil)
				if assert.NoError(b.t, err) {
					assert.Equal(b.t, 401, resp.StatusCode)
					assert.NoError(b.t, resp.Body.Close())
				}
			},
			"Invalidate": func() {
				token, err := b.source.Token(b.t.Context())
				if assert.NoError(b.t, err) {
					_ = b.source.Invalidate(b.t.Context(), token)
				}
			},
		}
	}
	for _, name := range []string{"Client", "Invalidate"} {
		for _, tt := range []struct {
			calls int
			apart time.Duration
			most  int
		}{
			{25, 0, 1},
			{25, time.Second, 1},
			{3600, time.Second, 8},      // an hour: after 0, 30, 90, 210, 450, 930, 1830 and 2730 seconds
			{24 * 60, time.Minute, 130}, // a day: one each quarter of an hour, and those of expiries
		} {
			t.Run(fmt.Sprint(name, " ", tt.calls, " times, ", tt.apart, " apart"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					call := rejecting(b)[name]
					for range tt.calls {
						call()
						time.Sleep(tt.apart)
					}
					require.LessOrEqual(t, b.refreshes, tt.most)
					require.Positive(t, b.refreshes)
				})
			})
		}
	}
}

// TestRevokedProgram forgets the stored token once an API and the token endpoint
// have both refused it, so that the next run signs in.
func TestRevokedProgram(t *testing.T) {
	calls := map[string]func(*bench) error{
		"Client": func(b *bench) error {
			resp, err := send(b.t, b.source.Client(direct(reply(401, "revoked"))), http.MethodGet, "https://api.example.com/", nil)
			if err == nil {
				_ = resp.Body.Close()
			}
			return err
		},
		"Invalidate": func(b *bench) error {
			token, err := b.source.Token(b.t.Context())
			require.NoError(b.t, err)
			return b.source.Invalidate(b.t.Context(), token)
		},
		"UserInfo": func(b *bench) error {
			_, err := b.source.UserInfo(b.t.Context())
			return err
		},
	}
	for name, call := range calls {
		for _, known := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", known to be refused before ", known), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					b.good = "revoked"
					b.auth.client = newAuth(t, LiveBaseURL, func(c *Config) {
						c.HTTPClient = direct(func(w http.ResponseWriter, r *http.Request) {
							if r.URL.Path == "/userinfo" {
								reply(401, "revoked")(w, r)
								return
							}
							b.endpoint(w, r)
						})
					}).client
					b.requireToken("a0")
					if known {
						time.Sleep(time.Hour - time.Minute)
						b.requireToken("a0")
						synctest.Wait()
						require.Equal(t, "r0", b.stored(), "what a refusal alone leaves")
					}
					require.ErrorIs(t, call(b), ErrSignInRequired)
					require.Equal(t, 1, b.refreshes)
					require.Nil(t, b.load())
					_, err := b.auth.TokenSource(b.store).Token(t.Context()) // the next run
					requireError(t, err, &Error{Op: "token"}, ErrNoToken, ErrSignInRequired)
					_, err = b.source.Token(t.Context())
					requireError(t, err, &Error{Op: "token"}, ErrNoToken, ErrSignInRequired)
				})
			})
		}
	}
	t.Run("somebody signs in meanwhile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.requireToken("a0")
			b.answer = func(w http.ResponseWriter, r *http.Request) {
				reply(400, `{"error":"invalid_grant"}`, asJSON)(w, r)
				b.token.Store(&Token{AccessToken: "new", RefreshToken: "n0", Expiry: time.Now().Add(time.Hour)})
			}
			require.NoError(t, b.source.Invalidate(t.Context(), &Token{AccessToken: "a0"}))
			b.requireToken("new")
			require.Equal(t, "n0", b.stored())
		})
	})
}

// TestInvalidateLooksFirst takes what another process has stored, as at servers
// that end the access token when it is refreshed.
func TestInvalidateLooksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.requireToken("a0")
		b.put(&Token{AccessToken: "theirs", RefreshToken: "r9", Expiry: time.Now().Add(time.Hour)})
		b.requireToken("a0") // which is dead, and nobody knows
		require.NoError(t, b.source.Invalidate(t.Context(), &Token{AccessToken: "a0"}))
		b.requireToken("theirs")
		require.NoError(t, b.source.Invalidate(t.Context(), &Token{AccessToken: "a0"}), "said late")
		b.requireToken("theirs")
		require.Zero(t, b.refreshes)
		for _, nothing := range []*Token{nil, {}} {
			requireError(t, b.source.Invalidate(t.Context(), nothing), &Error{Op: "token"})
		}
	})
}

// TestRefusedRepeat says that nobody knows, where a request that was sent twice
// is refused.
func TestRefusedRepeat(t *testing.T) {
	grant, client := `{"error":"invalid_grant"}`, `{"error":"invalid_client"}`
	for _, tt := range []struct {
		name    string
		answers []http.HandlerFunc
		unknown bool
		signIn  bool
	}{
		{"429, invalid_grant", []http.HandlerFunc{reply(429, ""), reply(400, grant, asJSON)}, true, true},
		{"429, 429, invalid_grant", []http.HandlerFunc{reply(429, ""), reply(429, "", "Retry-After: 1"), reply(403, grant, asJSON)}, true, true},
		{"429, invalid_client", []http.HandlerFunc{reply(429, ""), reply(401, client, asJSON)}, true, false},
		{"429, 400", []http.HandlerFunc{reply(429, ""), reply(400, "")}, true, false},
		{"429, 503", []http.HandlerFunc{reply(429, ""), reply(503, "")}, true, false},
		{"429 only", []http.HandlerFunc{reply(429, ""), reply(429, ""), reply(429, "")}, false, false},
		{"invalid_grant", []http.HandlerFunc{reply(400, grant, asJSON)}, false, true},
	} {
		for op, call := range map[string]func(context.Context, *Authenticator) error{"exchange": exchangeCode, "refresh": refresh} {
			t.Run(op+" "+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sent := 0
					err := call(t.Context(), newAuth(t, LiveBaseURL, func(c *Config) {
						c.HTTPClient = direct(func(w http.ResponseWriter, r *http.Request) { sent++; tt.answers[sent-1](w, r) })
					}))
					require.Len(t, tt.answers, sent)
					require.Equal(t, tt.unknown, errors.Is(err, ErrUnknownOutcome), err)
					require.Equal(t, tt.signIn, errors.Is(err, ErrSignInRequired), err)
				})
			})
		}
	}
}

// TestNeverAsSomebodyElse repeats no request with a token that another person
// has stored meanwhile.
func TestNeverAsSomebodyElse(t *testing.T) {
	for _, tt := range []struct {
		name     string
		theirs   map[string]any // claims of the stored ID token, nil for none
		repeated bool
	}{
		{"the same person", map[string]any{}, true},
		{"another person", map[string]any{"sub": "auth0|2"}, false},
		{"the same name at another issuer", map[string]any{"iss": "https://other.example.com/"}, false},
		{"nobody knows who", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newIssuerBench(t)
				b.requireToken("a0")
				theirs := b.person("auth0|1")
				theirs.AccessToken, theirs.IDToken = "theirs", ""
				if tt.theirs != nil {
					theirs.IDToken = makeKeys().ed.sign(t, b.idClaims(tt.theirs))
				}
				rejected := b.load()
				b.put(theirs)
				var sent []string
				client := b.source.Client(direct(func(w http.ResponseWriter, r *http.Request) {
					if sent = append(sent, r.Header.Get("Authorization")); len(sent) == 1 {
						w.WriteHeader(http.StatusUnauthorized)
					}
				}))
				resp, err := send(t, client, http.MethodDelete, "https://api.example.com/account", nil)
				invalid := b.source.Invalidate(t.Context(), rejected)
				if tt.repeated {
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
					require.Equal(t, []string{"Bearer a0", "Bearer theirs"}, sent)
					require.NoError(t, invalid)
					return
				}
				require.ErrorIs(t, err, ErrSubjectMismatch)
				requireError(t, invalid, &Error{Op: "token"}, ErrSubjectMismatch)
				require.Equal(t, []string{"Bearer a0"}, sent)
				require.NotContains(t, err.Error()+invalid.Error(), "auth0|")
				require.Zero(t, b.refreshes)
			})
		})
	}
}

// TestTokenOfElsewhere sends no stored token to another server, or as another
// client, than it came from.
func TestTokenOfElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name   string
		op     string
		change func(*Token)
		ok     bool
		says   []string
		causes []error
	}{
		{name: "stored before that was known", change: func(*Token) {}, ok: true},
		{name: "the same", change: func(t *Token) { t.BaseURL, t.ClientID = LiveBaseURL+"/", theClient }, ok: true},
		{name: "another server", op: "token", change: func(t *Token) { t.BaseURL = "https://staging.example.com/" }, says: []string{"https://staging.example.com/", LiveBaseURL}},
		{name: "another client", op: "token", change: func(t *Token) { t.ClientID = "other" }, says: []string{`"other"`, theClient}},
		{name: "another issuer", op: "refresh", change: func(t *Token) {
			t.IDToken = unsignedAs("RS256", `{"iss":"https://old.example.com/","sub":"s"}`)
		}, says: []string{"https://old.example.com/", theIssuer}, causes: []error{ErrIssuerMismatch}},
		{name: "an issuer that nobody can read", change: func(t *Token) { t.IDToken = "not.a.jwt" }, ok: true},
	} {
		for _, expired := range []bool{true, false} {
			if !expired && len(tt.causes) > 0 {
				continue // of the server and client all the same
			}
			t.Run(fmt.Sprint(tt.name, ", expired ", expired), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newIssuerBench(t)
					stored := b.load()
					tt.change(stored)
					if expired {
						stored.Expiry = time.Now()
					}
					b.put(stored)
					for range 2 {
						token, err := b.source.Token(t.Context())
						if tt.ok {
							require.NoError(t, err)
							require.True(t, token.Valid())
							continue
						}
						require.Nil(t, token)
						requireError(t, err, &Error{Op: tt.op}, append(tt.causes, ErrSignInRequired)...)
						for _, text := range tt.says {
							require.ErrorContains(t, err, text)
						}
						require.Zero(t, b.refreshes)
						require.Equal(t, "r0", b.stored(), "another program may need it")
					}
				})
			})
		}
	}
}

// TestScopeOfAnswer keeps what was asked for only where the answer has no scope.
func TestScopeOfAnswer(t *testing.T) {
	asked := Scopes{"openid", "profile", "email", "offline_access"}
	for member, want := range map[string]Scopes{
		``:                              asked,
		`,"scope":null`:                 asked,
		`,"scope":""`:                   {},
		`,"scope":" "`:                  {},
		`,"scope":[]`:                   {},
		`,"scope":"openid"`:             {"openid"},
		`,"scope":"openid  email"`:      {"openid", "email"},
		`,"scope":["openid","email"]`:   {"openid", "email"},
		`,"scope":{"openid":true}`:      asked, // which can't be read
		`,"scope":"openid","SCOPE":"x"`: {"openid"},
	} {
		t.Run(member, func(t *testing.T) {
			body := `{"access_token":"` + theAccess + `","token_type":"Bearer","refresh_token":"r1"` + member + `}`
			a := newAuth(t, LiveBaseURL, func(c *Config) { c.HTTPClient = direct(reply(200, body, asJSON)) })
			token, err := complete(t.Context(), a)
			require.NoError(t, err)
			require.ElementsMatch(t, want, token.Scopes)
			token, err = a.Refresh(t.Context(), &Token{RefreshToken: "r0", Scopes: asked})
			require.NoError(t, err)
			require.ElementsMatch(t, want, token.Scopes)
		})
	}
}

// unsignedAs returns a JWT that says it is signed with alg.
func unsignedAs(alg, payload string) string { return rawJWT(`{"alg":"`+alg+`"}`, payload) }

// changingStore has another token by the time that it is updated for the second
// time.
type changingStore struct {
	first, later *Token
	updates      int
	deleted      bool
}

func (s *changingStore) Load(context.Context) (*Token, error) { return s.first.clone(), nil }

func (s *changingStore) Update(ctx context.Context, fn func(context.Context, *Token) (*Token, error)) error {
	s.updates++
	stored := s.first
	if s.updates > 1 {
		stored = s.later
	}
	token, err := fn(ctx, stored.clone())
	s.deleted = s.deleted || err == nil && token == nil && stored != nil
	return err
}

// A refused refresh deletes what was refused, and nothing that was stored
// meanwhile.
func TestRefusedWhileItChanges(t *testing.T) {
	refused := &Token{AccessToken: "a0", RefreshToken: "bad", Expiry: time.Now().Add(time.Hour)}
	for name, tt := range map[string]struct {
		later *Token
		want  bool
	}{
		"nothing else":         {refused, true},
		"deleted":              {nil, false},
		"another sign-in":      {&Token{AccessToken: "b", RefreshToken: "rb"}, false},
		"another access token": {&Token{AccessToken: "b", RefreshToken: "bad"}, false},
		"another refresh":      {&Token{AccessToken: "a0", RefreshToken: "rb"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			store := &changingStore{first: refused, later: tt.later}
			err := b.auth.TokenSource(store).Invalidate(t.Context(), refused)
			require.ErrorIs(t, err, ErrSignInRequired)
			require.Equal(t, 2, store.updates)
			require.Equal(t, tt.want, store.deleted)
		})
	}
}
