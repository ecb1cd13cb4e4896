// Package beforesend runs a last check before a refresh token is sent. Between
// the check that nobody else is refreshing and the request lies the time that a
// connection takes, and the process may be stopped in that time.
//
// The check runs at the first Read of the request's body: a transport reads it
// once it has a connection, and if Read fails the request is not sent, in
// HTTP/1 and HTTP/2. Cancelling the context in httptrace's GotConn would not
// do: HTTP/1 may send the request all the same.
package beforesend

import "context"

type key struct{}

// With returns a context whose check [Call] runs before each request is sent.
func With(ctx context.Context, check func(context.Context) error) context.Context {
	return context.WithValue(ctx, key{}, check)
}

// Asked reports whether [Call] has to be called; a request without a check can
// be sent in one piece.
func Asked(ctx context.Context) bool {
	_, ok := ctx.Value(key{}).(func(context.Context) error)
	return ok
}

// Call runs the check of the context and returns its error, after which nothing
// may be sent. It returns nil if there is no check.
func Call(ctx context.Context) error {
	check, ok := ctx.Value(key{}).(func(context.Context) error)
	if !ok {
		return nil
	}
	return check(ctx)
}
