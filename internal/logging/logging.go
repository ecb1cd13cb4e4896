// Package logging takes the logger of a configuration to a store, which has no
// configuration of its own that could name one.
package logging

import (
	"context"
	"log/slog"
)

type key struct{}

// With returns a context for a store, whose doings the logger hears.
func With(ctx context.Context, logger *slog.Logger) context.Context {
	return context.WithValue(ctx, key{}, logger)
}

// From returns the logger of the context; where there is none, a silent one.
func From(ctx context.Context) *slog.Logger {
	if logger, ok := ctx.Value(key{}).(*slog.Logger); ok && logger != nil {
		return logger
	}
	return slog.New(slog.DiscardHandler)
}
