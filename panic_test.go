package piecesauth

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// panicStore panics where it is told to.
type panicStore struct {
	*fakeStore

	in string // load, update, or save, and nothing afterwards
}

func (s *panicStore) panics(in string) {
	if s.in == in {
		s.in = ""
		panic("s3cr3t " + in)
	}
}

func (s *panicStore) Load(ctx context.Context) (*Token, error) {
	s.panics("load")
	return s.fakeStore.Load(ctx)
}

func (s *panicStore) Update(ctx context.Context, fn func(context.Context, *Token) (*Token, error)) error {
	s.panics("update")
	return s.fakeStore.Update(ctx, func(ctx context.Context, stored *Token) (*Token, error) {
		t, err := fn(ctx, stored)
		s.panics("save")
		return t, err
	})
}

// TestPanics makes errors of what panics in a goroutine of ours, and loses
// nothing by it.
func TestPanics(t *testing.T) {
	for _, in := range []string{"load", "update", "save"} {
		t.Run(in, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.source = b.auth.TokenSource(&panicStore{b.store, in})
				time.Sleep(time.Hour)
				_, err := b.source.Token(t.Context())
				requireError(t, err, &Error{Op: "token"})
				require.ErrorContains(t, err, "panic")
				require.NotContains(t, err.Error(), "s3cr3t")
				b.requireToken("a1")
				require.Equal(t, 1, b.refreshes, "what was got before the panic is saved")
				require.Equal(t, "r1", b.stored())
			})
		})
	}
	t.Run("a transport", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.answer = func(http.ResponseWriter, *http.Request) { panic(theRefresh) }
			time.Sleep(time.Hour)
			_, err := b.source.Token(t.Context())
			requireError(t, err, &Error{Op: "token"})
			b.requireToken("a2")
		})
	})
	t.Run("a transport, of a call of the caller's own", func(t *testing.T) {
		a := newAuth(t, LiveBaseURL, func(c *Config) {
			c.HTTPClient = direct(func(http.ResponseWriter, *http.Request) { panic("theirs") })
		})
		require.PanicsWithValue(t, "theirs", func() { _ = refresh(t.Context(), a) })
		client := a.TokenSource(&MemoryStore{}).Client(nil)
		require.NotNil(t, client)
	})
}
