// Package newkey says, through a context, whether whoever asks for a sealing key
// may be handed a new one. Two processes that make one at once would overwrite each
// other's; so only who holds the lock on what the key is for has one made.
package newkey

import "context"

type forbidden struct{}

// Forbid returns a context under which no key is to be made.
func Forbid(ctx context.Context) context.Context { return context.WithValue(ctx, forbidden{}, true) }

// Allowed reports whether a key may be made where there is none.
func Allowed(ctx context.Context) bool { return ctx.Value(forbidden{}) == nil }
