package piecesauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/exchange"
)

// The tests of a TokenSource run in a bubble, where the clock is theirs and
// nothing touches a network. bench is what they have in it: a token endpoint
// that rotates its refresh tokens, a store, and the order of all that happens.
type bench struct {
	t      *testing.T
	auth   *Authenticator
	source *TokenSource
	store  *fakeStore
	MemoryStore

	answer   http.HandlerFunc // instead of the endpoint's own, once
	delay    time.Duration    // before each answer
	lifetime time.Duration    // of the tokens

	mu        sync.Mutex
	log       []string
	refreshes int
	good      string // the refresh token that the endpoint takes
}

// newBench starts with a token in the store that lasts for an hour.
func newBench(t *testing.T, change ...func(*Config)) *bench {
	b := &bench{t: t, good: "r0", lifetime: time.Hour}
	b.store = &fakeStore{bench: b}
	b.auth = newAuth(t, LiveBaseURL, append(change, func(c *Config) { c.HTTPClient = direct(b.endpoint) })...)
	b.source = b.auth.TokenSource(b.store)
	b.put(&Token{AccessToken: "a0", TokenType: "Bearer", RefreshToken: "r0", Expiry: time.Now().Add(time.Hour)})
	return b
}

// direct answers requests in the same process.
func direct(answer http.HandlerFunc) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		answer(rec, r)
		if r.Body != nil {
			_ = r.Body.Close()
		}
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		resp := rec.Result()
		resp.Request = r
		return resp, nil
	})}
}

func (b *bench) endpoint(w http.ResponseWriter, r *http.Request) {
	sent := r.FormValue("refresh_token")
	if b.delay > 0 { // a timer that is due at once has crashed the race detector within a bubble
		select {
		case <-time.After(b.delay):
		case <-r.Context().Done():
			return
		}
	}
	b.note("refresh " + sent)
	b.mu.Lock()
	b.refreshes++
	n, answer, ok := b.refreshes, b.answer, sent == b.good
	b.answer = nil
	if answer == nil && ok {
		b.good = fmt.Sprint("r", n)
	}
	b.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case !ok:
		reply(400, `{"error":"invalid_grant"}`, asJSON)(w, r)
	default:
		reply(200, fmt.Sprintf(`{"access_token":"a%d","token_type":"Bearer","expires_in":%d,"refresh_token":"r%[1]d"}`, n, int(b.lifetime.Seconds())), asJSON)(w, r)
	}
}

// put stores the token behind everybody's back.
func (b *bench) put(t *Token) {
	require.NoError(b.t, b.MemoryStore.Update(context.Background(), func(context.Context, *Token) (*Token, error) { return t, nil }))
}

// stored returns the refresh token in the store, or "" if there is none.
func (b *bench) stored() string {
	t, err := b.MemoryStore.Load(context.Background())
	if err != nil {
		return ""
	}
	return t.RefreshToken
}

func (b *bench) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, what)
}

// happened returns what was noted since the last call.
func (b *bench) happened() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.log
	b.log = nil
	return log
}

// requireToken asks for a token and says which it has to be.
func (b *bench) requireToken(want string) {
	b.t.Helper()
	token, err := b.source.Token(b.t.Context())
	require.NoError(b.t, err)
	require.Equal(b.t, want, token.AccessToken)
	require.True(b.t, token.Valid())
	b.note("handed out " + want)
}

// fakeStore notes what is asked of the bench's store, and fails to save when
// told to.
type fakeStore struct {
	*bench

	failures []error       // of the next savings
	earlier  *Token        // what fn sees first, in a transaction that is then repeated
	lag      time.Duration // between the end of the next update and the caller's knowing
}

func (s *fakeStore) Load(ctx context.Context) (*Token, error) {
	s.note("load")
	return s.MemoryStore.Load(ctx)
}

func (s *fakeStore) Update(ctx context.Context, fn func(context.Context, *Token) (*Token, error)) error {
	lag := s.lag
	s.lag = 0
	defer func() { time.Sleep(lag) }()
	return s.MemoryStore.Update(ctx, func(ctx context.Context, stored *Token) (*Token, error) {
		s.note("update")
		if s.earlier != nil {
			_, _ = fn(ctx, s.earlier.clone())
		}
		t, err := fn(ctx, stored)
		switch {
		case err != nil:
			return nil, err
		case len(s.failures) > 0:
			err, s.failures = s.failures[0], s.failures[1:]
			s.note("not saved")
			return nil, err
		case t == nil:
			s.note("deleted")
		default:
			s.note("saved " + t.AccessToken)
		}
		return t, nil
	})
}

var errDisk = errors.New("disk full")

func TestTokenSourceHandsOutAValidToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for range 3 {
			b.requireToken("a0")
		}
		require.Equal(t, []string{"load", "handed out a0", "handed out a0", "handed out a0"}, b.happened())
	})
}

// TestTokenSourceWithoutStore keeps the token in memory.
func TestTokenSourceWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.source = b.auth.TokenSource(nil)
		_, err := b.source.Token(t.Context())
		requireError(t, err, &Error{Op: "token"}, ErrNoToken, ErrSignInRequired)
		require.NoError(t, b.source.Save(t.Context(), &Token{RefreshToken: "r0"}))
		b.requireToken("a1")
		require.Equal(t, "r0", b.stored(), "another store is left alone")
	})
}

func TestTokenSourceWithoutExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.put(&Token{AccessToken: "for ever", RefreshToken: "r0"})
		b.requireToken("for ever")
		time.Sleep(50 * 365 * 24 * time.Hour)
		b.requireToken("for ever")
		require.Zero(t, b.refreshes)
	})
}

// TestRefreshBefore refreshes at the moment configured, and not before it,
// while callers still get the token at hand.
func TestRefreshBefore(t *testing.T) {
	for _, tt := range []struct{ configured, lifetime, want time.Duration }{
		{0, time.Hour, 2 * time.Minute},
		{5 * time.Minute, time.Hour, 5 * time.Minute},
		{time.Hour, time.Hour, 15 * time.Minute}, // a quarter of the lifetime
		{0, time.Minute, 15 * time.Second},
	} {
		t.Run(fmt.Sprint(tt.configured, " of ", tt.lifetime), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *Config) { c.RefreshBefore = tt.configured })
				b.lifetime = tt.lifetime
				b.put(&Token{AccessToken: "a0", RefreshToken: "r0", Obtained: time.Now(), Expiry: time.Now().Add(tt.lifetime)})
				b.requireToken("a0")
				for _, next := range []string{"a1", "a2"} {
					time.Sleep(tt.lifetime - tt.want - 1)
					b.requireToken(fmt.Sprint("a", b.refreshes))
					synctest.Wait()
					n := b.refreshes
					time.Sleep(time.Nanosecond)
					b.requireToken(fmt.Sprint("a", n)) // nobody waits
					synctest.Wait()
					b.requireToken(next)
				}
				require.Equal(t, 2, b.refreshes)
				require.Equal(t, "r2", b.stored())
			})
		})
	}
}

// TestRotatedTokenIsSavedFirst holds the order in which things happen.
func TestRotatedTokenIsSavedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		time.Sleep(time.Hour)
		b.requireToken("a1")
		b.requireToken("a1")
		require.Equal(t, []string{"load", "update", "refresh r0", "saved a1", "handed out a1", "handed out a1"}, b.happened())
	})
}

// TestOneRefreshForAll has ten thousand callers at the moment of expiry.
func TestOneRefreshForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.requireToken("a0")
		time.Sleep(time.Hour)
		b.delay = time.Second
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				token, err := b.source.Token(t.Context())
				if assert.NoError(t, err) {
					assert.Equal(t, "a1", token.AccessToken)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, b.refreshes)
		require.Equal(t, []string{"load", "handed out a0", "load", "update", "refresh r0", "saved a1"}, b.happened())
	})
}

// TestCallersGiveUp lets each go by its own context, and loses nothing.
func TestCallersGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.delay = 10 * time.Second
		time.Sleep(time.Hour)
		type outcome struct {
			token *Token
			err   error
			after time.Duration
		}
		start := time.Now()
		ask := func(ctx context.Context) chan outcome {
			c := make(chan outcome, 1)
			go func() {
				token, err := b.source.Token(ctx)
				c <- outcome{token, err, time.Since(start)}
			}()
			synctest.Wait()
			return c
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := ask(ctx)
		patient := ask(t.Context())
		hasty, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		third := ask(hasty)
		time.Sleep(time.Second)
		cancel()

		got := <-first
		requireError(t, got.err, &Error{Op: "token"}, context.Canceled)
		require.Equal(t, time.Second, got.after)
		got = <-third
		requireError(t, got.err, &Error{Op: "token"}, context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, got.after)
		got = <-patient
		require.NoError(t, got.err)
		require.Equal(t, "a1", got.token.AccessToken)

		// All of them gone, what was spent is saved nonetheless.
		time.Sleep(time.Hour)
		ctx, cancel = context.WithCancel(t.Context())
		only := ask(ctx)
		cancel()
		require.ErrorIs(t, (<-only).err, context.Canceled)
		time.Sleep(b.delay)
		synctest.Wait()
		require.Equal(t, "r2", b.stored())
		require.Equal(t, 2, b.refreshes)

		// Who has given up before asking starts nothing, but takes what is there.
		_, err := b.source.Token(ctx)
		require.NoError(t, err)
		time.Sleep(time.Hour)
		_, err = b.source.Token(ctx)
		requireError(t, err, &Error{Op: "token"}, context.Canceled)
		synctest.Wait()
		require.Equal(t, 2, b.refreshes)
	})
}

// TestFlightEnds gives up on a server that never answers.
func TestFlightEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.delay = 24 * time.Hour
		time.Sleep(time.Hour)
		start := time.Now()
		_, err := b.source.Token(t.Context())
		requireError(t, err, &Error{Op: "refresh"}, context.DeadlineExceeded, ErrUnknownOutcome)
		require.Equal(t, exchange.Timeout, time.Since(start))
		b.delay = 0
		b.requireToken("a1")
	})
}

// TestFailureIsNotRemembered tries again for the next caller.
func TestFailureIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		time.Sleep(time.Hour)
		b.answer = reply(500, "<html>", asHTML)
		_, err := b.source.Token(t.Context())
		requireError(t, err, &Error{Op: "refresh", StatusCode: 500}, ErrUnknownOutcome)
		require.Equal(t, "r0", b.stored())
		b.requireToken("a2")
		require.Equal(t, 2, b.refreshes)
	})
}

// TestSavingFails keeps a rotated token, and saves it first thing next time.
func TestSavingFails(t *testing.T) {
	failed := func(t *testing.T) *bench {
		b := newBench(t)
		b.requireToken("a0")
		time.Sleep(time.Hour)
		b.store.failures = []error{errDisk, errDisk}
		for range 2 {
			_, err := b.source.Token(t.Context())
			requireError(t, err, &Error{Op: "token"}, errDisk)
		}
		require.Equal(t, []string{"load", "handed out a0", "load", "update", "refresh r0", "not saved", "update", "not saved"}, b.happened())
		return b
	}
	t.Run("for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := failed(t)
			b.requireToken("a1")
			b.requireToken("a1")
			require.Equal(t, []string{"update", "saved a1", "load", "handed out a1", "handed out a1"}, b.happened())
			require.Equal(t, "r1", b.stored())
		})
	})
	t.Run("until the token has expired", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := failed(t)
			time.Sleep(time.Hour)
			b.requireToken("a2")
			require.Equal(t, []string{"update", "saved a1", "load", "update", "refresh r1", "saved a2", "handed out a2"}, b.happened())
		})
	})
	t.Run("while somebody else saves a newer one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := failed(t)
			b.put(&Token{AccessToken: "theirs", RefreshToken: "r9", Expiry: time.Now().Add(time.Hour)})
			b.requireToken("theirs")
			require.Equal(t, "r9", b.stored())
			require.Equal(t, 1, b.refreshes)
		})
	})
	t.Run("while somebody signs out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := failed(t)
			require.NoError(t, b.source.Forget(t.Context()))
			_, err := b.source.Token(t.Context())
			requireError(t, err, &Error{Op: "token"}, ErrNoToken, ErrSignInRequired)
			require.Empty(t, b.stored())
		})
	})
	t.Run("while somebody signs in", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := failed(t)
			b.good = "n0"
			require.NoError(t, b.source.Save(t.Context(), &Token{AccessToken: "new", RefreshToken: "n0", Expiry: time.Now().Add(time.Minute)}))
			b.requireToken("new") // which is refreshed beside
			synctest.Wait()
			time.Sleep(time.Minute)
			b.requireToken("a2")
			require.Equal(t, "r2", b.stored())
		})
	})
}

// TestStoreRunsTwice redeems a refresh token once, however often the store
// runs the function.
func TestStoreRunsTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.store.earlier = &Token{RefreshToken: "r0"}
		time.Sleep(time.Hour)
		b.requireToken("a1")
		require.Equal(t, 1, b.refreshes)
		require.Equal(t, "r1", b.stored())
	})
	synctest.Test(t, func(t *testing.T) { // another token was stored meanwhile
		b := newBench(t)
		b.store.earlier = &Token{RefreshToken: "r0"}
		b.put(&Token{RefreshToken: "r1"})
		b.requireToken("a2")
		require.Equal(t, 2, b.refreshes)
		require.Equal(t, "r2", b.stored())
	})
}

// TestSomebodyElseRefreshed uses what another process got.
func TestSomebodyElseRefreshed(t *testing.T) {
	theirs := func() *Token {
		return &Token{AccessToken: "theirs", RefreshToken: "r9", Expiry: time.Now().Add(time.Hour)}
	}
	t.Run("before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.requireToken("a0")
			time.Sleep(time.Hour)
			b.put(theirs())
			b.requireToken("theirs")
			require.Zero(t, b.refreshes)
		})
	})
	t.Run("while this one waited", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			time.Sleep(time.Hour)
			locked, release := make(chan bool), make(chan bool)
			go func() {
				assert.NoError(t, b.MemoryStore.Update(t.Context(), func(context.Context, *Token) (*Token, error) {
					close(locked)
					<-release
					return theirs(), nil
				}))
			}()
			<-locked
			go func() {
				synctest.Wait() // until the source waits for its turn
				close(release)
			}()
			b.requireToken("theirs")
			require.Equal(t, []string{"load", "update", "saved theirs", "handed out theirs"}, b.happened())
		})
	})
	t.Run("without the lock", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			time.Sleep(time.Hour)
			b.answer = func(w http.ResponseWriter, r *http.Request) {
				b.token.Store(theirs())
				reply(400, `{"error":"invalid_grant"}`, asJSON)(w, r)
			}
			b.requireToken("theirs")
			require.Equal(t, 1, b.refreshes)
		})
	})
	t.Run("without the lock, and it has expired too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			time.Sleep(time.Hour)
			b.answer = func(w http.ResponseWriter, r *http.Request) {
				b.token.Store(&Token{AccessToken: "theirs", RefreshToken: "r9", Expiry: time.Now()})
				b.good = "r9"
				reply(400, `{"error":"invalid_grant"}`, asJSON)(w, r)
			}
			b.requireToken("a2")
			require.Equal(t, "r2", b.stored())
		})
	})
}

// TestTokenSourceWithoutToken says when the person has to sign in again.
func TestTokenSourceWithoutToken(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stored *Token
		err    *Error
		causes []error
	}{
		{name: "nothing stored", err: &Error{Op: "token"}, causes: []error{ErrSignInRequired, ErrNoToken}},
		{name: "expired, with nothing to refresh it", stored: &Token{AccessToken: "a"}, err: &Error{Op: "token"}, causes: []error{ErrSignInRequired}},
		{name: "a grant that is gone", stored: &Token{AccessToken: "a", RefreshToken: "gone"}, err: &Error{Op: "refresh", StatusCode: 400, Code: "invalid_grant"}, causes: []error{ErrSignInRequired}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				if tt.stored != nil {
					tt.stored.Expiry = time.Now()
				}
				b.put(tt.stored)
				for range 2 {
					token, err := b.source.Token(t.Context())
					require.Nil(t, token)
					requireError(t, err, tt.err, tt.causes...)
				}
			})
		})
	}
	t.Run("about to expire, with nothing to refresh it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.put(&Token{AccessToken: "last", Expiry: time.Now().Add(2 * time.Second)})
			time.Sleep(time.Second)
			b.requireToken("last")
			require.NoError(t, b.source.Save(t.Context(), &Token{RefreshToken: "r0"}))
			b.requireToken("a1")
		})
	})
}

// TestStoreFails passes on what the store says.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s := b.auth.TokenSource(brokenStore{})
		_, err := s.Token(t.Context())
		requireError(t, err, &Error{Op: "token"}, errDisk)
		requireError(t, s.Save(t.Context(), &Token{AccessToken: "a"}), &Error{Op: "token"}, errDisk)
		requireError(t, s.Forget(t.Context()), &Error{Op: "token"}, errDisk)
		for _, empty := range []*Token{nil, {}, {IDToken: "x"}} {
			requireError(t, b.source.Save(t.Context(), empty), &Error{Op: "token"})
		}
		require.Equal(t, "r0", b.stored())
	})
}

type brokenStore struct{}

func (brokenStore) Load(context.Context) (*Token, error) { return nil, errDisk }

func (brokenStore) Update(context.Context, func(context.Context, *Token) (*Token, error)) error {
	return errDisk
}

// TestChangeDuringRefresh lets no refresh undo what a person did meanwhile.
func TestChangeDuringRefresh(t *testing.T) {
	during := func(t *testing.T, lag time.Duration, change func(*bench) error) *bench {
		b := newBench(t)
		b.delay, b.store.lag = time.Second, lag
		time.Sleep(time.Hour)
		done := make(chan error)
		go func() {
			_, err := b.source.Token(t.Context())
			done <- err
		}()
		synctest.Wait()
		require.NoError(t, change(b))
		require.NoError(t, <-done)
		require.Equal(t, 1, b.refreshes)
		return b
	}
	for _, lag := range []time.Duration{0, time.Minute} { // so that the refresh ends first, or last
		t.Run(fmt.Sprint("Save ", lag), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := during(t, lag, func(b *bench) error {
					return b.source.Save(t.Context(), &Token{AccessToken: "new", RefreshToken: "n0", Expiry: time.Now().Add(time.Hour)})
				})
				b.requireToken("new")
				require.Equal(t, "n0", b.stored())
			})
		})
		t.Run(fmt.Sprint("Forget ", lag), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := during(t, lag, func(b *bench) error { return b.source.Forget(t.Context()) })
				_, err := b.source.Token(t.Context())
				requireError(t, err, &Error{Op: "token"}, ErrNoToken, ErrSignInRequired)
			})
		})
	}
}

func TestSaveAndForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.requireToken("a0")
		saved := &Token{AccessToken: "new", RefreshToken: "n0", Expiry: time.Now().Add(time.Hour)}
		require.NoError(t, b.source.Save(t.Context(), saved))
		saved.AccessToken = "changed"
		b.requireToken("new")
		require.Equal(t, "n0", b.stored())
		require.NoError(t, b.source.Forget(t.Context()))
		_, err := b.source.Token(t.Context())
		requireError(t, err, &Error{Op: "token"}, ErrNoToken, ErrSignInRequired)
		require.Empty(t, b.stored())
	})
}

// TestOAuth2 hands tokens to the rest of the ecosystem, but for the refresh
// token.
func TestOAuth2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ctx, cancel := context.WithCancel(t.Context())
		source := b.source.OAuth2(ctx)
		token, err := source.Token()
		require.NoError(t, err)
		require.Equal(t, "a0", token.AccessToken)
		require.Equal(t, "Bearer", token.Type())
		require.True(t, time.Now().Add(time.Hour).Equal(token.Expiry))
		require.Empty(t, token.RefreshToken)
		time.Sleep(time.Hour)
		token, err = source.Token()
		require.NoError(t, err)
		require.Equal(t, "a1", token.AccessToken)
		cancel()
		time.Sleep(time.Hour)
		_, err = source.Token()
		requireError(t, err, &Error{Op: "token"}, context.Canceled)
	})
}

// Callers wait for a refresh once 30 seconds are left, or a tenth of the
// lifetime if that is less.
func TestWhoWaits(t *testing.T) {
	for lifetime, waits := range map[time.Duration]time.Duration{time.Hour: 30 * time.Second, 100 * time.Second: 10 * time.Second} {
		for _, left := range []time.Duration{waits + time.Second, waits - time.Second} {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.delay = time.Second
				b.put(&Token{AccessToken: "a0", TokenType: "Bearer", RefreshToken: "r0", Obtained: time.Now(), Expiry: time.Now().Add(lifetime)})
				time.Sleep(lifetime - left)
				want := "a0"
				if left < waits {
					want = "a1"
				}
				b.requireToken(want)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				require.Equal(t, 1, b.refreshes)
			})
		}
	}
}

// A stored ID token that can't be read does no harm.
func TestUnreadableIDToken(t *testing.T) {
	b := newBench(t)
	b.put(&Token{AccessToken: "a0", RefreshToken: "r0", IDToken: "x.y", Expiry: time.Now().Add(time.Hour)})
	token, err := b.source.Token(t.Context())
	require.NoError(t, err)
	require.Empty(t, token.IDToken)
	_, err = b.auth.UserInfo(t.Context(), &Token{AccessToken: "a0", IDToken: "x.y"})
	require.Error(t, err, "given by hand it is a mistake")
}
