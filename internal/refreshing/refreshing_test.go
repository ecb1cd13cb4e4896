package refreshing_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/refreshing"
)

type value struct {
	access string
	expiry time.Time
}

// source makes values that last for an hour, are refreshed a quarter of an hour
// before they expire, and waited for a minute before.
type source struct {
	renewed atomic.Int32
	delay   time.Duration
	err     error
	panics  any
	found   *value // to be told of first
}

func (s *source) Renew(ctx context.Context, _ string, found func(*refreshing.Current[value])) (*refreshing.Current[value], error) {
	n := s.renewed.Add(1)
	if s.found != nil {
		found(s.Current(s.found))
	}
	select {
	case <-time.After(s.delay + 1):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.panics != nil {
		panic(s.panics)
	}
	if s.err != nil {
		return nil, s.err
	}
	return s.Current(&value{fmt.Sprint("v", n), time.Now().Add(time.Hour)}), nil
}

func (s *source) Current(v *value) *refreshing.Current[value] {
	if v == nil {
		return nil
	}
	at := v.expiry.UnixNano()
	return &refreshing.Current[value]{Value: v, RefreshAt: at - int64(15*time.Minute), WaitAt: at - int64(time.Minute), Expiry: at}
}

func names(v *value) (access, refresh string) { return v.access, "r" + v.access }

type keeper = refreshing.Keeper[value]

func get(t *testing.T, k *keeper) string {
	t.Helper()
	v, err := k.Get(t.Context(), "")
	require.NoError(t, err)
	return v.access
}

func in(t *testing.T, test func(*testing.T, *keeper, *source)) {
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		test(t, &keeper{Renew: s.Renew, Group: refreshing.NewGroup(names)}, s)
	})
}

var errBroken = errors.New("broken")

func TestOneRefreshForAll(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, s *source) {
		s.delay = time.Second
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				ctx := context.Background() // without a deadline, and with one
				if i%2 == 0 {
					ctx = t.Context()
				}
				v, err := k.Get(ctx, "")
				assert.NoError(t, err)
				assert.Equal(t, "v1", v.access)
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, s.renewed.Load())
		require.Equal(t, "v1", k.Good().access)
	})
}

func TestWhoWaits(t *testing.T) {
	for left, want := range map[time.Duration]struct {
		value string
		waits time.Duration
	}{
		16 * time.Minute: {"old", 0}, 15 * time.Minute: {"old", 0}, 14 * time.Minute: {"old", 0}, time.Minute: {"v1", 10 * time.Second},
		50 * time.Second: {"v1", 10 * time.Second}, 10 * time.Second: {"old", 5 * time.Second}, 0: {"v1", 10 * time.Second},
	} {
		in(t, func(t *testing.T, k *keeper, s *source) {
			for _, ctx := range []context.Context{t.Context(), context.Background()} { // which can end, and can't
				s.renewed.Store(0)
				s.delay = 10*time.Second - 1
				k.Replace(s.Current(&value{"old", time.Now().Add(left)}))
				require.Equal(t, left > 15*time.Minute, k.Good() != nil, left)
				begun := time.Now()
				v, err := k.Get(ctx, "")
				require.NoError(t, err)
				require.Equal(t, want.value, v.access, left)
				require.Equal(t, want.waits, time.Since(begun))
				synctest.Wait()
				require.Equal(t, left > 15*time.Minute, s.renewed.Load() == 0, left)
				time.Sleep(time.Minute)
			}
		})
	}
}

func TestCallerLeaves(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, s *source) {
		s.delay = time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.Get(ctx, "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, "v1", get(t, k), "the refresh goes on")
		require.EqualValues(t, 1, s.renewed.Load())
		v, err := k.Get(ctx, "")
		require.NoError(t, err)
		require.Equal(t, "v1", v.access)
	})
}

func TestRejected(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, s *source) {
		require.Equal(t, "v1", get(t, k))
		v, err := k.Get(t.Context(), "v1")
		require.NoError(t, err)
		require.Equal(t, "v2", v.access)
		v, err = k.Get(t.Context(), "v1")
		require.NoError(t, err)
		require.Equal(t, "v2", v.access, "it is another already")
		k.Drop("v1")
		require.NotNil(t, k.Good())
		k.Drop("v2")
		require.Nil(t, k.Good())
	})
}

// A refresh that brings the rejected value once more is an error.
func TestRejectedOnceMore(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, s *source) {
		k.Renew = func(context.Context, string, func(*refreshing.Current[value])) (*refreshing.Current[value], error) {
			return s.Current(&value{"same", time.Now().Add(time.Hour)}), nil
		}
		_, err := k.Get(t.Context(), "same")
		require.EqualError(t, err, "the refresh returned what it was to replace")
		require.Equal(t, "same", get(t, k), "for those to whom nobody rejected it")
	})
}

func TestFound(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, s *source) {
		s.delay, s.found = time.Hour, &value{"found", time.Now().Add(10 * time.Minute)}
		begun := time.Now()
		require.Equal(t, "found", get(t, k))
		require.Zero(t, time.Since(begun))
		time.Sleep(2 * time.Hour)
	})
}

func TestReplacedMeanwhile(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, s *source) {
		s.delay = time.Second
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = k.Get(t.Context(), "") })
		synctest.Wait()
		k.Replace(s.Current(&value{"other", time.Now().Add(time.Hour)}))
		wg.Wait()
		require.Equal(t, "other", k.Good().access)
		k.Replace(nil)
		require.Nil(t, k.Good())
	})
}

func TestPanics(t *testing.T) {
	var none map[string]int
	runtimeError := func() (p any) {
		defer func() { p = recover() }()
		none["x"] = 1
		return nil
	}()
	for want, p := range map[string]any{
		"the store or the transport panicked with a string": "s3cr3t", "the store or the transport panicked: assignment to entry in nil map": runtimeError,
	} {
		in(t, func(t *testing.T, k *keeper, s *source) {
			s.panics = p
			_, err := k.Get(t.Context(), "")
			require.EqualError(t, err, want)
			s.panics = nil
			require.Equal(t, "v2", get(t, k))
		})
	}
}

func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lasts refreshing.Lasts
		want  []time.Duration // of one failure after the other
		held  bool
	}{
		{"briefly", refreshing.Briefly, []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute}, false},
		{"doubling", refreshing.Doubling, []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute}, true},
		{"as asked", refreshing.AsAsked, []time.Duration{time.Hour, time.Hour}, true},
		{"for ever", refreshing.Forever, []time.Duration{math.MaxInt64}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, k *keeper, s *source) {
				require.NoError(t, k.Failure("rold"))
				fail := func() time.Time {
					return k.Failed(refreshing.Failure{Used: "rold", Next: "rold", Err: errBroken, Lasts: tt.lasts, After: time.Hour})
				}
				fail()
				require.Equal(t, tt.held, k.Failure("rold") != nil)
				require.NoError(t, k.Failure("another"))
				k.Succeeded(false)
				require.NoError(t, k.Failure("rold"), "something else is there")
				start := time.Now()
				for i, want := range tt.want {
					until := fail()
					if want == math.MaxInt64 {
						require.Zero(t, until)
						time.Sleep(1000 * time.Hour)
						require.ErrorIs(t, k.Failure("rold"), errBroken)
						continue
					}
					require.Equal(t, want, until.Sub(start), i)
					time.Sleep(want - 1)
					require.Equal(t, tt.held, errors.Is(k.Failure("rold"), errBroken))
					time.Sleep(time.Nanosecond)
					require.NoError(t, k.Failure("rold"))
					start = time.Now()
				}
			})
		})
	}
}

// A pause grows while one refresh token, or its successor, fails.
func TestFailuresOfOneToken(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, _ *source) {
		for i, tt := range []struct {
			used, next string
			want       time.Duration
		}{
			{"a", "b", 30 * time.Second},
			{"b", "c", time.Minute}, // it was rotated
			{"x", "c", 2 * time.Minute},
			{"y", "z", 30 * time.Second},
		} {
			until := k.Failed(refreshing.Failure{Used: tt.used, Next: tt.next, Err: errBroken, Lasts: refreshing.Doubling})
			require.Equal(t, tt.want, time.Until(until), i)
		}
	})
}

// TestFailureBeside hands out the value at hand, and does not try again at once.
func TestFailureBeside(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, s *source) {
		k.Replace(s.Current(&value{"old", time.Now().Add(10 * time.Minute)}))
		require.Equal(t, "old", get(t, k))
		time.Sleep(time.Second)
		require.EqualValues(t, 1, s.renewed.Load())
		require.Equal(t, "v1", k.Good().access)

		k.Replace(s.Current(&value{"old", time.Now().Add(10 * time.Minute)}))
		k.Failed(refreshing.Failure{Used: "rold", Next: "rold", Err: errBroken})
		require.Equal(t, "old", get(t, k))
		time.Sleep(4 * time.Second)
		require.Equal(t, "old", get(t, k))
		require.EqualValues(t, 1, s.renewed.Load())
		time.Sleep(2 * time.Second)
		require.Equal(t, "old", get(t, k))
		time.Sleep(time.Second)
		require.EqualValues(t, 2, s.renewed.Load())
	})
}

func TestRejectedAgainAndAgain(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, _ *source) {
		require.Zero(t, k.Rejected())
		require.Equal(t, 30*time.Second, k.Rejected())
		time.Sleep(30 * time.Second)
		require.Zero(t, k.Rejected())
		k.Succeeded(true)
		require.Equal(t, 30*time.Second, k.Rejected(), "it was refreshed moments ago")
		time.Sleep(30 * time.Second)
		require.Equal(t, 30*time.Second, k.Rejected(), "the third waits longer")
		time.Sleep(time.Hour)
		require.Zero(t, k.Rejected(), "long ago")
		require.Equal(t, 30*time.Second, k.Rejected())
	})
}

// The moments at which one thing begins and another ends.
func TestRejectedJustThen(t *testing.T) {
	in(t, func(t *testing.T, k *keeper, _ *source) {
		k.Succeeded(true)
		time.Sleep(30 * time.Second)
		require.Zero(t, k.Rejected())
		require.Equal(t, 30*time.Second, k.Rejected())
		time.Sleep(time.Minute)
		require.Zero(t, k.Rejected())
		require.Equal(t, time.Minute, k.Rejected(), "not long enough ago to be forgotten")
		time.Sleep(2*time.Minute + 1)
		require.Zero(t, k.Rejected())
		require.Equal(t, 30*time.Second, k.Rejected(), "long enough")
	})
}

// A refresh that has spent something goes on when its group is closed; one that has
// not is cancelled, and no other begins.
func TestClose(t *testing.T) {
	for _, commits := range []bool{true, false} {
		in(t, func(t *testing.T, k *keeper, s *source) {
			s.delay = time.Minute
			renew := s.Renew
			k.Renew = func(ctx context.Context, rejected string, found func(*refreshing.Current[value])) (*refreshing.Current[value], error) {
				if commits {
					assert.NoError(t, k.Commit())
				}
				v, err := renew(ctx, rejected, found)
				if commits {
					assert.NoError(t, k.Commit(), "once is enough")
				} else {
					assert.ErrorIs(t, k.Commit(), refreshing.ErrClosed)
				}
				return v, err
			}
			s.found = &value{"found", time.Now().Add(10 * time.Minute)} // its caller doesn't wait
			require.Equal(t, "found", get(t, k))
			synctest.Wait()
			begun := time.Now()
			k.Group.Close()
			if commits {
				require.Equal(t, time.Minute, time.Since(begun).Truncate(time.Second))
				require.Equal(t, "v1", get(t, k))
			} else {
				require.Zero(t, time.Since(begun))
				require.Equal(t, "found", get(t, k))
			}
			k.Replace(nil)
			_, err := k.Get(t.Context(), "")
			require.ErrorIs(t, err, refreshing.ErrClosed)
			require.EqualValues(t, 1, s.renewed.Load())
		})
	}
}

// One group has many keepers.
func TestCloseOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := refreshing.NewGroup(names)
		var saved atomic.Int32
		for i := range 10 {
			k := &keeper{Group: group}
			k.Renew = func(context.Context, string, func(*refreshing.Current[value])) (*refreshing.Current[value], error) {
				if err := k.Commit(); err != nil {
					return nil, err
				}
				time.Sleep(time.Duration(i) * time.Second)
				saved.Add(1)
				return new(source).Current(&value{"v", time.Now().Add(time.Hour)}), nil
			}
			go func() { _, _ = k.Get(t.Context(), "") }()
		}
		synctest.Wait()
		group.Close()
		require.EqualValues(t, 10, saved.Load())
	})
}
