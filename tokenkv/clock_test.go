package tokenkv

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/beforesend"
)

// A holder goes by the clock that ran more: the monotonic one stands still while
// the machine sleeps, and the wall clock can be set back.
func TestEitherClock(t *testing.T) {
	for name, test := range map[string]struct {
		mono, wall time.Duration // since the last renewal
		want       int           // renewals before sending
	}{
		"no time passed":      {0, 0, 0},
		"less than half":      {5*time.Second - 1, 5*time.Second - 1, 0},
		"the machine slept":   {0, 5 * time.Second, 1},
		"the clock was set":   {5 * time.Second, -time.Hour, 1},
		"the process stood":   {time.Hour, time.Hour, 1},
		"the clock goes back": {0, -time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tokens, err := New(new(MemoryDB), Options{})
			require.NoError(t, err)
			renewed := 0
			passed := func(d *time.Duration) func(time.Time) time.Duration {
				return func(time.Time) time.Duration { return *d }
			}
			mono, wall := time.Duration(0), time.Duration(0)
			tokens.env.mono, tokens.env.wall = passed(&mono), passed(&wall)
			tokens.env.after = func(time.Duration) <-chan time.Time { return nil } // renewals would come between
			s, ok := tokens.Store("person").(*store)
			require.True(t, ok)
			require.NoError(t, s.Update(t.Context(), func(ctx context.Context, _ *piecesauth.Token) (*piecesauth.Token, error) {
				before, err := s.db.Get(ctx, "person")
				assert.NoError(t, err)
				mono, wall = test.mono, test.wall
				if err := beforesend.Call(ctx); test.want > 0 {
					assert.ErrorIs(t, err, errLost, "here time never begins anew")
				} else {
					assert.NoError(t, err)
				}
				after, err := s.db.Get(ctx, "person")
				assert.NoError(t, err)
				if before.Version != after.Version {
					renewed++
				}
				mono, wall = 0, 0
				return &piecesauth.Token{AccessToken: "new"}, nil
			}))
			assert.Equal(t, test.want, renewed)
		})
	}
}

// An error that has nothing to do with the lease is fn's, though the machine
// slept meanwhile.
func TestErrorAfterSleep(t *testing.T) {
	tokens, err := New(new(MemoryDB), Options{})
	require.NoError(t, err)
	slept := time.Duration(0)
	tokens.env.wall = func(time.Time) time.Duration { return slept }
	tokens.env.after = func(time.Duration) <-chan time.Time { return nil }
	own, calls := errors.New("an error of fn"), 0
	assert.ErrorIs(t, tokens.Store("person").Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
		if calls++; calls > 1 {
			return nil, nil
		}
		slept = time.Hour
		return nil, own
	}), own)
	assert.Equal(t, 1, calls)
}
