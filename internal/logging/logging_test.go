package logging_test

import (
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/piecesauth/piecesauth/internal/logging"
)

func TestFrom(t *testing.T) {
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	assert.Same(t, logger, logging.From(logging.With(t.Context(), logger)))
	assert.False(t, logging.From(t.Context()).Enabled(t.Context(), slog.LevelError), "silent")
	assert.False(t, logging.From(logging.With(t.Context(), nil)).Enabled(t.Context(), slog.LevelError), "silent")
}
