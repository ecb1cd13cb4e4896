// Package logging passes the logger of a configuration to a store through a
// context, because a store has no configuration.
package logging

import (
	"context"
	"log/slog"
)

type key struct{}

// With returns a context for a store that is to use the logger.
func With(ctx context.Context, logger *slog.Logger) context.Context {
	return context.WithValue(ctx, key{}, logger)
}

// From returns the logger of the context, or a silent one if it has none.
func From(ctx context.Context) *slog.Logger {
	if logger, ok := ctx.Value(key{}).(*slog.Logger); ok && logger != nil {
		return logger
	}
	return slog.New(slog.DiscardHandler)
}
