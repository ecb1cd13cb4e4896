// Package newkey controls, through a context, whether a function that returns a
// sealing key may make a new one. If two processes made one at once, one would
// overwrite the other's; so only the holder of the lock on the sealed data may
// have one made.
package newkey

import "context"

type forbidden struct{}

// Forbid returns a context under which no key may be made.
func Forbid(ctx context.Context) context.Context { return context.WithValue(ctx, forbidden{}, true) }

// Allowed reports whether a key may be made if there is none.
func Allowed(ctx context.Context) bool { return ctx.Value(forbidden{}) == nil }
