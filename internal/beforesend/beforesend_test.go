package beforesend_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/piecesauth/piecesauth/internal/beforesend"
)

func TestCall(t *testing.T) {
	assert.NoError(t, beforesend.Call(t.Context()), "no check")

	refused := errors.New("refused")
	type name struct{}
	checked := 0
	ctx := beforesend.With(t.Context(), func(ctx context.Context) error {
		checked++
		assert.Equal(t, "of the request", ctx.Value(name{}))
		return refused
	})
	ctx = context.WithValue(ctx, name{}, "of the request")
	assert.ErrorIs(t, beforesend.Call(ctx), refused)
	assert.ErrorIs(t, beforesend.Call(ctx), refused)
	assert.Equal(t, 2, checked, "each attempt is checked")
}
