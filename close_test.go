package piecesauth

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A program that ends while a refresh runs beside it, or that was interrupted in
// one, keeps what the server grants.
func TestCloseWaitsForARefresh(t *testing.T) {
	for name, left := range map[string]time.Duration{"the token is still valid": time.Minute, "the caller left": -time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.delay = 2 * time.Second
				time.Sleep(time.Hour - left)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := b.source.Token(ctx)
				require.Equal(t, left < 0, err != nil)
				time.Sleep(time.Second / 2)
				b.auth.Close()
				require.Equal(t, "r1", b.stored(), "the one that the server has replaced by now would be lost")
				require.Equal(t, 1, b.refreshes)
				b.requireToken("a1")
			})
		})
	}
}

// A refresh that has spent nothing yet does not hold up the end of a program.
func TestCloseCancelsARefreshThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		store := new(MemoryStore)
		require.NoError(t, store.Update(t.Context(), func(ctx context.Context, _ *Token) (*Token, error) { return b.MemoryStore.Load(ctx) }))
		free := make(chan struct{})
		held := make(chan error)
		go func() { // another process, which is stopped
			held <- store.Update(t.Context(), func(_ context.Context, stored *Token) (*Token, error) {
				<-free
				return stored, nil
			})
		}()
		synctest.Wait()
		source := b.auth.TokenSource(store)
		time.Sleep(time.Hour - time.Minute)
		token, err := source.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "a0", token.AccessToken)
		synctest.Wait()
		began := time.Now()
		b.auth.Close()
		require.Zero(t, time.Since(began))
		close(free)
		require.NoError(t, <-held)
		synctest.Wait()
		require.Zero(t, b.refreshes)
	})
}

// After Close nothing is refreshed; what there is can be used until it expires.
func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.requireToken("a0")
		b.auth.Close()
		b.auth.Close()
		time.Sleep(time.Hour - time.Second)
		b.requireToken("a0")
		time.Sleep(2 * time.Second)
		_, err := b.source.Token(t.Context())
		requireError(t, err, &Error{Op: "token"})
		require.EqualError(t, err, "piecesauth: token: the authenticator is closed")
		_, err = b.auth.TokenSource(b.store).Token(t.Context())
		require.Error(t, err)
		require.Zero(t, b.refreshes)
		require.NoError(t, b.source.Save(t.Context(), &Token{AccessToken: "b", Expiry: time.Now().Add(time.Hour)}))
		b.requireToken("b")
		_, err = b.auth.Refresh(t.Context(), &Token{RefreshToken: "r0"})
		require.NoError(t, err, "by hand")
	})
}
