// Package beforesend lets a store have a last word before a refresh token is
// sent: between the check that nobody else refreshes and the request lies the
// time that a connection takes, and a process can be stopped in it.
package beforesend

import "context"

type key struct{}

// With returns a context for whoever may send: check is called by [Call] when
// the connection for the request is had, once for each attempt to send.
func With(ctx context.Context, check func(context.Context) error) context.Context {
	return context.WithValue(ctx, key{}, check)
}

// Call runs the check of the context, and returns its error, after which
// nothing may be sent; nil where there is no check.
func Call(ctx context.Context) error {
	check, ok := ctx.Value(key{}).(func(context.Context) error)
	if !ok {
		return nil
	}
	return check(ctx)
}
