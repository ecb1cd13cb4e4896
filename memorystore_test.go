package piecesauth

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMemoryStore holds what any store has to.
func TestMemoryStore(t *testing.T) {
	t.Run("empty", func(t *testing.T) {
		var m MemoryStore
		_, err := m.Load(t.Context())
		require.ErrorIs(t, err, ErrNoToken)
		require.NoError(t, m.Update(t.Context(), func(_ context.Context, stored *Token) (*Token, error) {
			require.Nil(t, stored)
			return nil, nil
		}))
		_, err = m.Load(t.Context())
		require.ErrorIs(t, err, ErrNoToken)
	})
	t.Run("copies", func(t *testing.T) {
		var m MemoryStore
		put := &Token{AccessToken: "a", Scopes: Scopes{"openid"}}
		want := *put
		want.Scopes = slices.Clone(put.Scopes)
		require.NoError(t, m.Update(t.Context(), func(context.Context, *Token) (*Token, error) { return put, nil }))
		put.AccessToken, put.Scopes[0] = "x", "x"
		for range 2 {
			got, err := m.Load(t.Context())
			require.NoError(t, err)
			require.Equal(t, &want, got)
			got.AccessToken, got.Scopes[0] = "x", "x"
		}
		require.ErrorIs(t, m.Update(t.Context(), func(_ context.Context, stored *Token) (*Token, error) {
			require.Equal(t, &want, stored)
			stored.AccessToken, stored.Scopes[0] = "x", "x"
			return stored, errDisk
		}), errDisk)
		got, err := m.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, &want, got, "an error leaves it as it was")
	})
	t.Run("alone", func(t *testing.T) {
		var m MemoryStore
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				assert.NoError(t, m.Update(t.Context(), func(_ context.Context, stored *Token) (*Token, error) {
					if stored == nil {
						stored = &Token{}
					}
					stored.AccessToken += "x"
					return stored, nil
				}))
			})
		}
		wg.Wait()
		got, err := m.Load(t.Context())
		require.NoError(t, err)
		require.Len(t, got.AccessToken, 100)
	})
	t.Run("waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var m MemoryStore
			held, release := make(chan bool), make(chan bool)
			go func() {
				assert.NoError(t, m.Update(t.Context(), func(context.Context, *Token) (*Token, error) {
					close(held)
					<-release
					return &Token{AccessToken: "first"}, nil
				}))
			}()
			<-held
			_, err := m.Load(t.Context())
			require.ErrorIs(t, err, ErrNoToken, "which does not wait")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			never := func(context.Context, *Token) (*Token, error) { t.Error("not alone"); return nil, nil }
			require.ErrorIs(t, m.Update(ctx, never), context.DeadlineExceeded)
			require.Equal(t, time.Minute, time.Since(start))
			close(release)
			synctest.Wait()
			require.ErrorIs(t, m.Update(ctx, never), context.DeadlineExceeded)
			_, err = m.Load(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			got, err := m.Load(t.Context())
			require.NoError(t, err)
			require.Equal(t, "first", got.AccessToken)
		})
	})
}
