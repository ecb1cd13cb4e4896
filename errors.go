package piecesauth

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/oidc"
	"github.com/piecesauth/piecesauth/internal/redact"
)

// What a caller branches on, with [errors.Is].
var (
	// ErrSignInRequired answers the one question an application asks: the
	// person has to sign in again. It covers a refused grant (invalid_grant),
	// login_required and its kin (OpenID Connect Core §3.1.2.6), a token that
	// expired with nothing to refresh it, one that came from another server or
	// client than those configured, a refresh that was answered for another
	// person, and [ErrNoToken].
	ErrSignInRequired = errors.New("sign-in required")
	// ErrBrowserRequired: the answer to [Authenticator.Authorize] was a page,
	// or a redirect to one. [Error.URI] is the URL to open in a browser.
	ErrBrowserRequired = errors.New("a browser is required")
	// ErrUnknownOutcome: the request to the token endpoint may have been acted
	// on, but no usable answer came back. The code or refresh token in it may
	// be spent, or is, as the text then says; it was not sent again, and sending
	// it again can revoke every token of the sign-in.
	ErrUnknownOutcome = errors.New("unknown whether the server acted")
	// ErrStateMismatch: the callback does not belong to the attempt
	// (RFC 6749 §10.12).
	ErrStateMismatch = errors.New("the callback does not belong to this attempt")
	// ErrIssuerMismatch: the callback, the ID token or the metadata is another
	// issuer's (RFC 9207 §2.4).
	ErrIssuerMismatch = errors.New("issuer missing or not the configured one")
	// ErrSubjectMismatch: a profile or a token is of another person than the
	// one before (OpenID Connect Core §5.3.2 and §12.2).
	ErrSubjectMismatch = errors.New("of another person")
	// ErrNonceMismatch: the ID token was not made for the attempt (OpenID
	// Connect Core §3.1.3.7).
	ErrNonceMismatch = errors.New("nonce missing or not the attempt's")
	// ErrNotVerified: the token has no ID token, or one that was not checked;
	// see [Authenticator.Verify].
	ErrNotVerified = errors.New("ID token not verified")
	// ErrNoToken: a [TokenStore] holds no token.
	ErrNoToken = errors.New("no token stored")
	// ErrTooLarge: an answer was longer than 1 MiB, or had more values than
	// any real one has.
	ErrTooLarge = exchange.ErrTooLarge
)

// Error is what every failed call of this package returns; use [errors.As]. Its
// text is one line and holds neither secrets nor bodies. Further ways to ask:
//
//	errors.Is(err, piecesauth.ErrSignInRequired)
//	errors.Is(err, &piecesauth.Error{Code: "access_denied"})
//	errors.Is(err, context.DeadlineExceeded)
type Error struct {
	// Op is the operation: new, begin, authorize, exchange, complete, refresh,
	// userinfo, logout, verify, discovery, jwks, callback, token or api.
	Op string
	// StatusCode is the answer's HTTP status, 0 where there was no answer.
	StatusCode int
	// Code is the OAuth error code (RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1,
	// OpenID Connect Core §3.1.2.6), such as "invalid_grant"; "" where the
	// server gave none.
	Code string
	// Description is the server's error_description, for developers to read.
	// Secrets of the request that it repeats are cut out.
	Description string
	// URI is the server's error_uri; with [ErrBrowserRequired], the URL to
	// open, which holds the state of the attempt.
	URI string `json:"-"`
	// RetryAfter is how long the server asks to wait; 0 where it doesn't say.
	RetryAfter time.Duration
	// Err is the cause, nil where the server's refusal says it all.
	Err error `json:"-"`
	// Token is what the server granted, where [Authenticator.Refresh] or
	// [Authenticator.Exchange] refused an answer of status 200: store it in
	// place of the token that was used, which may be spent. Its ID token is
	// left out. Nil everywhere else.
	Token *Token `json:"-"`

	unknownOutcome bool
	spent          bool // so the outcome is known, for whoever reads
	signIn         bool // for ErrSignInRequired, where Code doesn't say
}

// Error returns one line: the operation, and the status, OAuth code, description
// and cause as far as there are any.
func (e *Error) Error() string {
	if e == nil {
		return "<nil>"
	}
	parts := []string{"piecesauth: " + e.Op}
	if e.StatusCode != 0 {
		parts = append(parts, "HTTP status "+strconv.Itoa(e.StatusCode))
	}
	for _, s := range []string{e.Code, e.Description} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	switch {
	case e.spent:
		parts = append(parts, "the code or refresh token is spent")
	case e.unknownOutcome:
		parts = append(parts, ErrUnknownOutcome.Error())
	}
	return strings.Join(parts, ": ")
}

// Format prints what Error returns, whatever the verb, of a copy too.
func (e Error) Format(s fmt.State, verb rune) {
	_, _ = fmt.Fprintf(s, fmt.FormatString(s, verb), e.Error())
}

// LogValue logs what Error returns.
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches an *Error whose set fields all equal e's, [ErrSignInRequired] and
// [ErrUnknownOutcome].
func (e *Error) Is(target error) bool {
	switch target {
	case ErrUnknownOutcome:
		return e.unknownOutcome
	case ErrSignInRequired:
		switch e.Code {
		case "invalid_grant", "login_required", "interaction_required", "consent_required", "account_selection_required":
			return true
		}
		return e.signIn || errors.Is(e.Err, ErrNoToken)
	}
	t, ok := target.(*Error)
	if !ok || t.Op+t.Code+t.Description+t.URI == "" && t.StatusCode == 0 && t.RetryAfter == 0 {
		return false
	}
	return (t.Op == "" || t.Op == e.Op) &&
		(t.StatusCode == 0 || t.StatusCode == e.StatusCode) &&
		(t.Code == "" || t.Code == e.Code) &&
		(t.Description == "" || t.Description == e.Description) &&
		(t.URI == "" || t.URI == e.URI) &&
		(t.RetryAfter == 0 || t.RetryAfter == e.RetryAfter)
}

// setOAuth fills in what the server says, tidied: one line, of bearable
// length, without the secrets that it was sent.
func (e *Error) setOAuth(code, description, uri string, secrets []string) {
	tidy := func(s string, least int) string { return exchange.Printable(redact.Cut(s, least, secrets)) }
	e.Code, e.Description, e.URI = tidy(code, 8), tidy(description, 4), tidy(uri, 4)
}

// wrap makes an Error of what a package below returned.
func wrap(op string, err error) *Error {
	var (
		ours    *Error
		failure *exchange.FailedError
		idToken *oidc.Error
	)
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &failure):
		return &Error{Op: op, StatusCode: failure.StatusCode, RetryAfter: failure.RetryAfter, Err: failure.Err, unknownOutcome: failure.MaybeSent}
	case errors.As(err, &idToken):
		return ofIDToken(op, idToken)
	}
	return &Error{Op: op, Err: err}
}

// ofIDToken makes an Error of a check of package oidc.
func ofIDToken(op string, err *oidc.Error) *Error {
	e := &Error{Op: op, StatusCode: err.StatusCode, Err: err.Err}
	if err.Op != "" {
		e.Op = err.Op
	}
	switch err.Kind {
	case oidc.Issuer:
		e.Err = &kindError{err.Err, ErrIssuerMismatch}
	case oidc.Nonce:
		e.Err = &kindError{err.Err, ErrNonceMismatch}
	case oidc.Subject:
		e.Err = &kindError{err.Err, ErrSubjectMismatch}
	}
	return e
}

// kindError is a cause that a sentinel names the kind of; its text is the cause's.
type kindError struct{ cause, kind error }

func (k *kindError) Error() string   { return k.cause.Error() }
func (k *kindError) Unwrap() []error { return []error{k.cause, k.kind} }
