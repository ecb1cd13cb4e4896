// Package beforesend lets a store have a last word before a refresh token is
// sent: between the check that nobody else refreshes and the request lies the
// time that a connection takes, and a process can be stopped in it.
//
// The place to ask is the first Read of the request's body: a transport reads it
// once it has a connection, and an error of it ends the request unsent, in HTTP/1
// and HTTP/2. A context that is canceled in httptrace's GotConn does not: HTTP/1
// may send the request all the same.
package beforesend

import "context"

type key struct{}

// With returns a context for whoever may send: [Call] runs check before each
// request that is to be sent.
func With(ctx context.Context, check func(context.Context) error) context.Context {
	return context.WithValue(ctx, key{}, check)
}

// Asked reports whether [Call] has to be called: a request without a check can
// be sent in one piece.
func Asked(ctx context.Context) bool {
	_, ok := ctx.Value(key{}).(func(context.Context) error)
	return ok
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
