package beforesend_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/beforesend"
)

func TestCall(t *testing.T) {
	assert.NoError(t, beforesend.Call(t.Context()), "no check")
	assert.False(t, beforesend.Asked(t.Context()))

	refused := errors.New("refused")
	type name struct{}
	checked := 0
	ctx := beforesend.With(t.Context(), func(ctx context.Context) error {
		checked++
		assert.Equal(t, "of the request", ctx.Value(name{}))
		return refused
	})
	ctx = context.WithValue(ctx, name{}, "of the request")
	assert.True(t, beforesend.Asked(ctx))
	assert.ErrorIs(t, beforesend.Call(ctx), refused)
	assert.ErrorIs(t, beforesend.Call(ctx), refused)
	assert.Equal(t, 2, checked, "each attempt is checked")
}

// The first Read of a body is where a transport can be stopped.
func TestBody(t *testing.T) {
	refused := errors.New("refused")
	for _, http2 := range []bool{false, true} {
		var served atomic.Int32
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil {
				served.Add(1)
			}
		}))
		server.EnableHTTP2 = http2
		server.StartTLS()
		t.Cleanup(server.Close)
		for _, want := range []error{nil, refused} {
			calls := 0
			ctx := beforesend.With(t.Context(), func(context.Context) error { calls++; return want })
			newBody := func() (io.ReadCloser, error) { return &body{ctx: ctx, r: strings.NewReader("secret")}, nil }
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, nil)
			require.NoError(t, err)
			req.Body, _ = newBody()
			req.GetBody, req.ContentLength = newBody, 6
			resp, err := server.Client().Do(req)
			assert.ErrorIs(t, err, want)
			assert.Equal(t, 1, calls)
			if err == nil {
				assert.NoError(t, resp.Body.Close())
			}
		}
		server.Close()
		assert.EqualValues(t, 1, served.Load(), "HTTP/2: %v", http2)
	}
}

// body asks before it is read.
type body struct {
	ctx   context.Context //nolint:containedctx // Read has no other
	r     *strings.Reader
	asked bool
}

func (b *body) Read(p []byte) (int, error) {
	if !b.asked {
		b.asked = true
		if err := beforesend.Call(b.ctx); err != nil {
			return 0, err
		}
	}
	return b.r.Read(p)
}

func (b *body) Close() error { return nil }
