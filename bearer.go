package piecesauth

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/piecesauth/piecesauth/internal/exchange"
)

// Client returns an HTTP client for calling APIs: a copy of base, or of
// [http.DefaultClient] if base is nil, that sends the access token as a bearer
// token (RFC 6750 §2.1). On a 401 it replaces the token once, as
// [TokenSource.Invalidate] does, and repeats the request if its body can be
// read again. It never sends the token over http, except to this machine, and
// never to another host that a redirect leads to, nor with any request after
// that.
func (s *TokenSource) Client(base *http.Client) *http.Client {
	var c http.Client
	if base != nil {
		c = *base
	}
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	c.Transport = &bearer{source: s, next: next}
	return &c
}

type bearer struct {
	source *TokenSource
	next   http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	if exchange.WentAway(req) {
		return b.next.RoundTrip(req)
	}
	token, err := (*Token)(nil), exchange.CheckURL(req.URL)
	if err != nil {
		err = &Error{Op: "token", Err: fmt.Errorf("the URL %w", err)}
	} else {
		token, err = b.source.Token(req.Context())
	}
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	resp, err := b.next.RoundTrip(withBearer(req, token))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return resp, err
	}
	return b.again(req, resp, token)
}

// again repeats a request that was answered with 401, using another token. If
// there is none, it returns the original answer, which explains the problem
// better.
func (b *bearer) again(req *http.Request, resp *http.Response, rejected *Token) (*http.Response, error) {
	token, err := b.source.replacement(req.Context(), rejected)
	if errors.Is(err, ErrSignInRequired) || errors.Is(err, ErrSubjectMismatch) {
		discard(resp)
		return nil, err
	}
	if err != nil {
		return resp, nil //nolint:nilerr // see above
	}
	repeated := withBearer(req, token)
	if req.GetBody != nil {
		if repeated.Body, err = req.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // likewise
		}
	}
	discard(resp)
	return b.next.RoundTrip(repeated)
}

// discard reads a little of what is left of the body, so that the connection
// can be reused, and closes it.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 16<<10)
	_ = resp.Body.Close()
}

func withBearer(req *http.Request, t *Token) *http.Request {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+t.AccessToken)
	return req
}
