package tokenkv_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/beforesend"
	"github.com/piecesauth/piecesauth/internal/logging"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// log is what a logger heard, without its times.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// faulty is a database whose answers are lost on demand, to one process.
type faulty struct {
	down  atomic.Bool // it answers nothing
	loses atomic.Int32
}

func (f *faulty) over(db tokenkv.DB) tokenkv.DB {
	return &bentDB{
		DB: db,
		get: func(do func() (tokenkv.Row, error)) (tokenkv.Row, error) {
			if f.down.Load() {
				return tokenkv.Row{}, errDown
			}
			return do()
		},
		swap: func(_ []byte, do func() (string, bool, error)) (string, bool, error) {
			if f.down.Load() {
				return "", false, errDown
			}
			version, ok, err := do()
			if f.loses.Add(-1) >= 0 {
				return "", false, errDown
			}
			return version, ok, err
		},
	}
}

// during runs an Update, and f in its midst.
func during(ctx context.Context, s optional, result *piecesauth.Token, f func(context.Context)) error {
	calls := 0
	return s.Update(ctx, func(ctx context.Context, stored *piecesauth.Token) (*piecesauth.Token, error) {
		if calls++; calls > 1 {
			return stored, nil
		}
		f(ctx)
		return result, ctx.Err()
	})
}

// A logger hears what befell a refresh, and neither whose it was nor a secret.
//
//nolint:contextcheck // other processes have other contexts
func TestLog(t *testing.T) {
	type sharing struct {
		s, other optional
		db       *faulty // s's
		memory   tokenkv.DB
		heard    func(t *testing.T) context.Context // of the calls to s
	}
	away := func(f *faulty, d time.Duration) {
		f.down.Store(true)
		time.Sleep(d)
		f.down.Store(false)
	}
	for name, test := range map[string]struct {
		do   func(t *testing.T, with sharing)
		want string
	}{
		"nothing happens": {func(t *testing.T, with sharing) {
			require.NoError(t, with.s.Update(with.heard(t), to(good("secret"))))
		}, ``},
		"somebody refreshes": {func(t *testing.T, with sharing) {
			require.NoError(t, during(t.Context(), with.other, good("secret"), func(context.Context) {
				time.AfterFunc(100*time.Millisecond, func() {
					assert.NoError(t, with.s.UpdateUnless(with.heard(t), (*piecesauth.Token).Valid, to(nil)))
				})
				time.Sleep(2 * time.Second)
			}))
			time.Sleep(time.Second)
		}, `msg="tokenkv: waited for a lease" for=[0-9.]+s got_it=false`},
		"nobody is awaited any more": {func(t *testing.T, with sharing) {
			require.NoError(t, during(t.Context(), with.other, good("secret"), func(context.Context) {
				ctx, cancel := context.WithTimeout(with.heard(t), 3*time.Second)
				defer cancel()
				assert.ErrorIs(t, with.s.Update(ctx, to(nil)), context.DeadlineExceeded)
			}))
		}, `msg="tokenkv: waited for a lease" for=3s got_it=false`},
		"a process is gone": {func(t *testing.T, with sharing) {
			crash(t, with.memory, "ada")
			time.Sleep(time.Minute)
			require.NoError(t, with.s.Update(with.heard(t), to(good("secret"))))
		}, `msg="tokenkv: took a lease over" age=1m[0-9.]+s watched=1\.[0-9]+s takeovers=1
msg="tokenkv: waited for a lease" for=1\.[0-9]+s got_it=true`},
		"it is renewed late": {func(t *testing.T, with sharing) {
			require.NoError(t, during(with.heard(t), with.s, good("secret"), func(ctx context.Context) {
				assert.NoError(t, beforesend.Call(ctx))
				away(with.db, 7*time.Second)
				time.Sleep(time.Second)
			}))
		}, `msg="tokenkv: renewed a lease late" since_renewal=7(\.1)?s`},
		"it is given up": {func(t *testing.T, with sharing) {
			require.Error(t, during(with.heard(t), with.s, good("secret"), func(ctx context.Context) {
				with.db.down.Store(true)
				<-ctx.Done()
			}))
		}, `msg="tokenkv: lost a lease" overtaken=false sent=false since_renewal=5[0-9.]*s`},
		"it was taken over before sending": {func(t *testing.T, with sharing) {
			calls := 0
			require.NoError(t, with.s.Update(with.heard(t), func(ctx context.Context, token *piecesauth.Token) (*piecesauth.Token, error) {
				if calls++; calls > 1 {
					return token, nil
				}
				with.db.down.Store(true)
				assert.NoError(t, with.other.Update(t.Context(), to(good("secret"))))
				with.db.down.Store(false)
				<-ctx.Done()
				return nil, beforesend.Call(ctx)
			}))
		}, `msg="tokenkv: lost a lease" overtaken=false sent=false since_renewal=5[0-9.]*s`},
		"it was taken over after sending": {func(t *testing.T, with sharing) {
			require.NoError(t, during(with.heard(t), with.s, good("secret"), func(ctx context.Context) {
				assert.NoError(t, beforesend.Call(ctx))
				with.db.down.Store(true)
				_ = with.other.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
					with.db.down.Store(false)
					time.Sleep(time.Second)
					return nil, errDown
				})
			}))
		}, `msg="tokenkv: lost a lease" overtaken=true sent=true since_renewal=1[0-9.]+s
msg="tokenkv: stored a result after its lease ran out" since_renewal=1[0-9.]+s`},
		"the database was away": {func(t *testing.T, with sharing) {
			require.NoError(t, during(with.heard(t), with.s, good("secret"), func(ctx context.Context) {
				assert.NoError(t, beforesend.Call(ctx))
				with.db.down.Store(true)
				time.AfterFunc(time.Hour, func() { with.db.down.Store(false) })
			}))
		}, `msg="tokenkv: stored a result after its lease ran out" since_renewal=1h0m0[0-9.]*s`},
		"somebody signs in before sending": {func(t *testing.T, with sharing) {
			require.NoError(t, during(with.heard(t), with.s, nil, func(ctx context.Context) {
				assert.NoError(t, with.other.Replace(t.Context(), good("secret")))
				<-ctx.Done()
			}))
		}, `msg="tokenkv: lost a lease" overtaken=true sent=false since_renewal=[0-9.]+ms`},
		"somebody signed in meanwhile": {func(t *testing.T, with sharing) {
			require.NoError(t, during(with.heard(t), with.s, good("secret"), func(context.Context) {
				assert.NoError(t, with.other.Replace(t.Context(), good("secret")))
			}))
		}, `msg="tokenkv: dropped a result: something else was stored meanwhile"`},
		"the answer about a lease is lost": {func(t *testing.T, with sharing) {
			with.db.loses.Store(1)
			require.NoError(t, with.s.Update(with.heard(t), to(good("secret"))))
		}, `msg="tokenkv: found stored what the database had not confirmed" what="a lease"`},
		"the answer about a renewal is lost": {func(t *testing.T, with sharing) {
			require.NoError(t, during(with.heard(t), with.s, good("secret"), func(context.Context) {
				with.db.loses.Store(1)
				time.Sleep(time.Second)
			}))
		}, `msg="tokenkv: found stored what the database had not confirmed" what="a renewal"`},
		"the answer about a result is lost": {func(t *testing.T, with sharing) {
			require.NoError(t, during(with.heard(t), with.s, good("secret"), func(context.Context) { with.db.loses.Store(1) }))
		}, `msg="tokenkv: found stored what the database had not confirmed" what="a result"`},
		"the answer about a sign-in is lost": {func(t *testing.T, with sharing) {
			with.db.loses.Store(1)
			require.NoError(t, with.s.Replace(with.heard(t), good("secret")))
		}, `msg="tokenkv: found stored what the database had not confirmed" what="a sign-in"`},
		"a refusal after a takeover": {func(t *testing.T, with sharing) {
			crash(t, with.memory, "ada")
			time.Sleep(time.Minute)
			require.ErrorIs(t, with.s.Update(with.heard(t), failing(errRefused)), errRefused)
		}, `msg="tokenkv: took a lease over" age=1m[0-9.]+s watched=1\.[0-9]+s takeovers=1
msg="tokenkv: waited for a lease" for=1\.[0-9]+s got_it=true
msg="tokenkv: left a tombstone: the refresh token was refused after a takeover" takeovers=1`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var heard log
				memory, db := new(tokenkv.MemoryDB), new(faulty)
				with := sharing{storeOf(t, open(t, db.over(memory)), "ada"), storeOf(t, open(t, memory), "ada"), db, memory, func(t *testing.T) context.Context { return logging.With(t.Context(), heard.logger()) }}
				require.NoError(t, with.other.Replace(t.Context(), expired("secret of old")))
				test.do(t, with)
				synctest.Wait()
				assert.Regexp(t, `^`+test.want+`\n?$`, heard.String())
				assert.NotContains(t, heard.String(), "secret")
				assert.NotContains(t, heard.String(), "ada")
			})
		})
	}
}

// The logger of a configuration is the one that hears.
func TestConfigLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard log
		memory := new(tokenkv.MemoryDB)
		s := &server{takes: time.Second, used: map[string]bool{}}
		config := newAuthenticator(t, s).Config()
		config.Logger = heard.logger()
		auth, err := piecesauth.New(config)
		require.NoError(t, err)
		save(t, memory, "ada", expired("refresh"))
		crash(t, memory, "ada")
		source := auth.TokenSource(open(t, memory).Store("ada"))
		_, err = source.Token(t.Context())
		require.NoError(t, err)
		assert.Contains(t, heard.String(), "tokenkv: took a lease over")

		db := new(faulty)
		db.loses.Store(1)
		require.NoError(t, auth.TokenSource(open(t, db.over(memory)).Store("ada")).Save(t.Context(), good("new")))
		assert.Contains(t, heard.String(), `what="a sign-in"`)
		assert.NotContains(t, heard.String(), "ada")
	})
}
