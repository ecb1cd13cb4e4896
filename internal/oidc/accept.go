package oidc

import (
	"context"
	"errors"
	"time"

	"github.com/piecesauth/piecesauth/internal/redact"
)

const (
	// keyPatience is how long a refreshed token waits for keys.
	keyPatience = 10 * time.Second
	// mostSkew is how wrong a clock may be for a token to be right all the same.
	mostSkew = 24 * time.Hour
)

// Check parses an ID token and compares its claims with the expected ones. Then it
// verifies the signature, unless the provider is nil.
func Check(ctx context.Context, raw string, e Expected, p *Provider) (*Token, error) {
	t, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	t.Claims.Issuer = redact.Cut(t.Claims.Issuer, 8, e.Secrets)
	if err = t.Check(e); err == nil && p != nil {
		err = p.Verify(ctx, t)
	}
	return t, err
}

// CheckRefreshed is [Check] for an ID token that came with a refresh. The result is
// not settled if the token can't be checked just now: keys can't be fetched, or
// the times are wrong by so little that a wrong clock could be the reason.
func CheckRefreshed(ctx context.Context, raw string, e Expected, p *Provider) (settled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, keyPatience)
	defer cancel()
	t, err := Check(ctx, raw, e, p)
	var failed *Error
	if !errors.As(err, &failed) {
		return true, err
	}
	switch failed.Kind { //nolint:exhaustive // the others settle it
	case Keys:
		return false, err
	case Clock:
		e.Leeway = mostSkew
		return t.Check(e) != nil, err
	}
	return true, err
}

// Person returns issuer and subject of an ID token, or "" if it can't be read. Use
// it only to refuse, because the token has not been checked.
func Person(raw string) (issuer, subject string) {
	t, err := Parse(raw)
	if err != nil {
		return "", ""
	}
	return t.Claims.Issuer, t.Claims.Subject
}
