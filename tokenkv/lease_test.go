package tokenkv_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/beforesend"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// crash leaves a lease behind, of a process that is gone.
func crash(t *testing.T, db tokenkv.DB, id string) {
	t.Helper()
	var gone atomic.Bool
	s := storeOf(t, open(t, &bentDB{DB: db, swap: func(_ []byte, do func() (string, bool, error)) (string, bool, error) {
		if gone.Load() {
			return "", false, errDown
		}
		return do()
	}}), id)
	_ = s.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
		gone.Store(true)
		return nil, errDown
	})
}

func withoutAge(db tokenkv.DB) tokenkv.DB {
	return &bentDB{DB: db, get: func(do func() (tokenkv.Row, error)) (tokenkv.Row, error) {
		row, err := do()
		row.Age = 0
		return row, err
	}}
}

// A lease that nobody renews is taken over when the token has expired: by the
// database's clock, so that a process that comes late need not see it through.
func TestTakeover(t *testing.T) {
	for name, test := range map[string]struct {
		db          func(tokenkv.DB) tokenkv.DB
		token       func(string) *piecesauth.Token
		comes       time.Duration // after the crash
		least, most time.Duration // that it waits
	}{
		"at once":                     {nil, expired, 0, 10 * time.Second, 11 * time.Second},
		"later":                       {nil, expired, 10 * time.Second, time.Second, 1500 * time.Millisecond},
		"a database without a clock":  {withoutAge, expired, time.Hour, 10 * time.Second, 11 * time.Second},
		"a good token":                {nil, good, 0, 120 * time.Second, 121 * time.Second},
		"a good token, later":         {nil, good, 2 * time.Minute, time.Second, 1500 * time.Millisecond},
		"a token that doesn't expire": {nil, func(r string) *piecesauth.Token { return &piecesauth.Token{AccessToken: r, RefreshToken: r} }, 0, 120 * time.Second, 121 * time.Second},
		"a good token that expires soon": {nil, func(r string) *piecesauth.Token {
			return &piecesauth.Token{AccessToken: r, RefreshToken: r, Expiry: time.Now().Add(30 * time.Second)}
		}, 0, 30 * time.Second, 31 * time.Second},
		"a good token, no clock, and late": {withoutAge, good, time.Hour, 0, 11 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var db tokenkv.DB = new(tokenkv.MemoryDB)
				if test.db != nil {
					db = test.db(db)
				}
				s := storeOf(t, open(t, db), "person")
				require.NoError(t, s.Replace(t.Context(), test.token("old")))
				crash(t, db, "person")
				time.Sleep(test.comes)
				began := time.Now()
				require.NoError(t, s.Update(t.Context(), to(good("new"))))
				took := time.Since(began)
				assert.GreaterOrEqual(t, took, test.least-400*time.Millisecond) // for which the crash went on
				assert.LessOrEqual(t, took, test.most)
				expectStored(t, s, "new")
			})
		})
	}
}

// A lease is renewed for as long as a refresh takes, and nobody else is at it.
func TestSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := new(tokenkv.MemoryDB)
		require.NoError(t, storeOf(t, open(t, db), "person").Replace(t.Context(), expired("old")))
		var refreshes atomic.Int32
		var all sync.WaitGroup
		for range 5 {
			s := storeOf(t, open(t, db), "person")
			all.Go(func() {
				assert.NoError(t, s.UpdateUnless(t.Context(), (*piecesauth.Token).Valid, func(ctx context.Context, _ *piecesauth.Token) (*piecesauth.Token, error) {
					refreshes.Add(1)
					time.Sleep(10 * time.Minute)
					return good("new"), ctx.Err()
				}))
			})
		}
		all.Wait()
		assert.EqualValues(t, 1, refreshes.Load())
		expectStored(t, storeOf(t, open(t, db), "person"), "new")
	})
}

// A database's clock that is set forward, or that of another node after a
// failover, makes all rows look old. A live holder is not taken for gone.
func TestDatabaseClockSetForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(tokenkv.MemoryDB)
		require.NoError(t, storeOf(t, open(t, memory), "person").Replace(t.Context(), expired("old")))
		var refreshes atomic.Int32
		var all sync.WaitGroup
		for range 5 {
			s := storeOf(t, open(t, &bentDB{DB: memory, get: func(do func() (tokenkv.Row, error)) (tokenkv.Row, error) {
				row, err := do()
				row.Age += time.Hour
				return row, err
			}}), "person")
			all.Go(func() {
				assert.NoError(t, s.UpdateUnless(t.Context(), (*piecesauth.Token).Valid, func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
					refreshes.Add(1)
					time.Sleep(20 * time.Second)
					return good("new"), nil
				}))
			})
		}
		all.Wait()
		assert.EqualValues(t, 1, refreshes.Load())
	})
}

// Waiters ask again after 25 to 250 milliseconds, and no longer than they may.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(tokenkv.MemoryDB)
		s := storeOf(t, open(t, memory), "person")
		require.NoError(t, s.Replace(t.Context(), expired("old")))
		var asked []time.Time
		waiter := storeOf(t, open(t, &bentDB{DB: memory, get: func(do func() (tokenkv.Row, error)) (tokenkv.Row, error) {
			asked = append(asked, time.Now())
			return do()
		}}), "person")
		_, err := refreshing(t, s, good("new"), func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			began := time.Now()
			assert.ErrorIs(t, waiter.Update(ctx, to(nil)), context.DeadlineExceeded)
			assert.Equal(t, 5*time.Second, time.Since(began))
		})
		assert.NoError(t, err)
		gaps := map[time.Duration]bool{}
		for i, at := range asked[1:] {
			gap := at.Sub(asked[i])
			assert.GreaterOrEqual(t, gap, 25*time.Millisecond)
			assert.LessOrEqual(t, gap, 250*time.Millisecond)
			gaps[gap] = true
		}
		assert.Greater(t, len(gaps), 10, "they vary")
	})
}

// The context of a refresh ends when its lease can't be renewed for half of its
// length, but not once a request was sent: then its answer is stored, however
// long that takes.
func TestDatabaseDownDuringARefresh(t *testing.T) {
	for name, sent := range map[string]bool{"nothing sent": false, "sent": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				memory := new(tokenkv.MemoryDB)
				db := &bentDB{
					DB: memory,
					get: func(do func() (tokenkv.Row, error)) (tokenkv.Row, error) {
						if down.Load() {
							return tokenkv.Row{}, errDown
						}
						return do()
					},
					swap: func(_ []byte, do func() (string, bool, error)) (string, bool, error) {
						if down.Load() {
							return "", false, errDown
						}
						return do()
					},
				}
				s := storeOf(t, open(t, db), "person")
				require.NoError(t, s.Replace(t.Context(), expired("old")))
				began := time.Now()
				err := s.Update(t.Context(), func(ctx context.Context, _ *piecesauth.Token) (*piecesauth.Token, error) {
					down.Store(true)
					if !sent {
						<-ctx.Done()
						assert.InDelta(t, 5*time.Second, time.Since(began), float64(200*time.Millisecond))
						assert.ErrorContains(t, context.Cause(ctx), "stopped for so long")
						assert.Error(t, beforesend.Call(ctx), "nor may anything be sent")
						return nil, ctx.Err()
					}
					assert.NoError(t, beforesend.Call(ctx))
					time.Sleep(time.Hour)
					time.AfterFunc(time.Hour, func() { down.Store(false) })
					return good("new"), ctx.Err()
				})
				if !sent {
					assert.ErrorIs(t, err, errDown)
					down.Store(false)
					expectStored(t, s, "old")
					return
				}
				assert.NoError(t, err)
				assert.InDelta(t, 2*time.Hour, time.Since(began), float64(200*time.Millisecond))
				expectStored(t, s, "new")
			})
		})
	}
}

// A holder that was stopped before it sent asks the database, and finds who took
// over: what that got is used.
func TestStoppedBeforeSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(tokenkv.MemoryDB)
		var stopped atomic.Bool // it renews nothing
		s := storeOf(t, open(t, &bentDB{DB: memory, swap: func(_ []byte, do func() (string, bool, error)) (string, bool, error) {
			if stopped.Load() {
				return "", false, errDown
			}
			return do()
		}}), "person")
		require.NoError(t, s.Replace(t.Context(), expired("old")))
		var calls int
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, stored *piecesauth.Token) (*piecesauth.Token, error) {
			if calls++; calls == 2 {
				assert.Equal(t, "new", stored.RefreshToken)
				return stored, nil
			}
			stopped.Store(true)
			assert.NoError(t, storeOf(t, open(t, memory), "person").Update(t.Context(), to(good("new")))) //nolint:contextcheck // another process has another context
			stopped.Store(false)
			err := beforesend.Call(ctx)
			assert.Error(t, err)
			return nil, err
		}))
		assert.Equal(t, 2, calls)
		expectStored(t, s, "new")
	})
}

// invalid_grant after a takeover leaves a tombstone: whoever had the lease
// before may have got a successor, and stores it. Signing out or in ends that.
func TestTombstone(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(context.Context, optional) error
		want      string
	}{
		"nothing":          {func(context.Context, optional) error { return nil }, "late"},
		"somebody looks":   {func(ctx context.Context, s optional) error { return s.Update(ctx, to(nil)) }, ""},
		"somebody fails":   {func(ctx context.Context, s optional) error { _ = s.Update(ctx, failing(errRefused)); return nil }, "late"},
		"sign-out":         {func(ctx context.Context, s optional) error { return s.Replace(ctx, nil) }, ""},
		"sign-in":          {func(ctx context.Context, s optional) error { return s.Replace(ctx, good("new")) }, "new"},
		"sign-in by turns": {func(ctx context.Context, s optional) error { return s.Update(ctx, to(good("new"))) }, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := new(tokenkv.MemoryDB)
				var stopped atomic.Bool
				holder := storeOf(t, open(t, &bentDB{DB: memory, swap: func(_ []byte, do func() (string, bool, error)) (string, bool, error) {
					if stopped.Load() {
						return "", false, errDown
					}
					return do()
				}}), "person")
				other := storeOf(t, open(t, memory), "person")
				require.NoError(t, holder.Replace(t.Context(), expired("old")))
				_, _ = refreshing(t, holder, good("late"), func() {
					stopped.Store(true)
					assert.ErrorIs(t, other.Update(t.Context(), failing(errRefused)), errRefused)
					expectStored(t, other, "")
					require.NoError(t, test.meanwhile(t.Context(), other))
					stopped.Store(false)
				})
				expectStored(t, other, test.want)
			})
		})
	}
}

func failing(err error) func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
	return func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return nil, err }
}

// Without a takeover a refusal changes nothing, as any other error.
func TestRefusedWithoutATakeover(t *testing.T) {
	s := storeOf(t, open(t, new(tokenkv.MemoryDB)), "person")
	require.NoError(t, s.Replace(t.Context(), expired("old")))
	for range 3 {
		assert.ErrorIs(t, s.Update(t.Context(), failing(errRefused)), errRefused)
	}
	expectStored(t, s, "old")
}

// The token of a holder that was overtaken while it waited for an answer is
// dropped if the other one's came first, which took over later.
func TestTheLaterTakeoverWins(t *testing.T) {
	for name, first := range map[string]string{"the holder is first": "holder's", "the other is first": "other's"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := new(tokenkv.MemoryDB)
				var stopped atomic.Bool
				holder := storeOf(t, open(t, &bentDB{DB: memory, swap: func(_ []byte, do func() (string, bool, error)) (string, bool, error) {
					if stopped.Load() {
						return "", false, errDown
					}
					return do()
				}}), "person")
				other := storeOf(t, open(t, memory), "person")
				require.NoError(t, holder.Replace(t.Context(), expired("old")))
				var all sync.WaitGroup
				sent := make(chan struct{})
				all.Go(func() {
					_, err := refreshing(t, holder, good("holder's"), func() {
						close(sent)
						stopped.Store(true)
						if first == "holder's" {
							time.Sleep(20 * time.Second)
						} else {
							time.Sleep(40 * time.Second)
						}
						stopped.Store(false)
					})
					assert.NoError(t, err)
				})
				<-sent
				_, err := refreshing(t, other, good("other's"), func() { time.Sleep(20 * time.Second) })
				assert.NoError(t, err)
				all.Wait()
				expectStored(t, other, "other's")
			})
		})
	}
}

// An error is one line, and names neither the person nor a token.
func TestErrors(t *testing.T) {
	db := &bentDB{DB: new(tokenkv.MemoryDB), get: func(func() (tokenkv.Row, error)) (tokenkv.Row, error) { return tokenkv.Row{}, errDown }}
	synctest.Test(t, func(t *testing.T) {
		s := storeOf(t, open(t, db), "ada")
		_, err := s.Load(t.Context())
		for _, err := range []error{err, s.Update(t.Context(), to(good("secret"))), s.Replace(t.Context(), good("secret"))} {
			assert.EqualError(t, err, "tokenkv: reading: the database is down")
			assert.ErrorIs(t, err, errDown)
		}
	})
}

// A database that can't be written, or does not answer, spends no refresh token:
// without a lease nobody refreshes.
func TestNothingIsSpentWithoutALease(t *testing.T) {
	for name, bend := range map[string]func(*bentDB){
		"no answers": func(b *bentDB) {
			b.get = func(func() (tokenkv.Row, error)) (tokenkv.Row, error) { return tokenkv.Row{}, errDown }
		},
		"read only": func(b *bentDB) {
			b.swap = func([]byte, func() (string, bool, error)) (string, bool, error) { return "", false, errDown }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := new(tokenkv.MemoryDB)
				require.NoError(t, storeOf(t, open(t, memory), "person").Replace(t.Context(), expired("old")))
				db := &bentDB{DB: memory}
				bend(db)
				began := time.Now()
				assert.ErrorIs(t, storeOf(t, open(t, db), "person").Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
					assert.Fail(t, "fn ran")
					return nil, errDown
				}), errDown)
				assert.Less(t, time.Since(began), time.Second, "it says so soon")
			})
		})
	}
}
