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

// Errors to branch on, with [errors.Is].
var (
	// ErrSignInRequired means that the person has to sign in again. It covers a
	// refused grant (invalid_grant), login_required and the similar codes of
	// OpenID Connect Core §3.1.2.6, an expired token that has no refresh token,
	// a token of a server or client other than the configured one, a refresh
	// that was answered with another person's token, and [ErrNoToken].
	ErrSignInRequired = errors.New("sign-in required")
	// ErrBrowserRequired means that [Authenticator.Authorize] was answered with
	// a page, or a redirect to one. [Error.URI] is the URL to open in a
	// browser.
	ErrBrowserRequired = errors.New("a browser is required")
	// ErrUnknownOutcome means that the token endpoint may have acted on the
	// request, but returned no usable answer. The code or refresh token that
	// was sent may be spent; if it certainly is, the text of the error says so.
	// It was not sent again: sending it twice can revoke every token of the
	// sign-in.
	ErrUnknownOutcome = errors.New("unknown whether the server acted")
	// ErrStateMismatch means that the callback does not belong to the attempt
	// (RFC 6749 §10.12).
	ErrStateMismatch = errors.New("the callback does not belong to this attempt")
	// ErrIssuerMismatch means that the callback, the ID token or the metadata
	// comes from another issuer (RFC 9207 §2.4).
	ErrIssuerMismatch = errors.New("issuer missing or not the configured one")
	// ErrSubjectMismatch means that a profile or a token names nobody, or another
	// person than the one before (OpenID Connect Core §5.3.2 and §12.2).
	ErrSubjectMismatch = errors.New("belongs to another person")
	// ErrNonceMismatch means that the ID token was not made for the attempt
	// (OpenID Connect Core §3.1.3.7).
	ErrNonceMismatch = errors.New("nonce missing or not the attempt's")
	// ErrNotVerified means that the token has no ID token, or one that was not
	// checked; see [Authenticator.Verify].
	ErrNotVerified = errors.New("ID token not verified")
	// ErrNoToken means that a [TokenStore] holds no token.
	ErrNoToken = errors.New("no token stored")
	// ErrTooLarge means that an answer was longer than 1 MiB, or had more
	// values than any real answer has.
	ErrTooLarge = exchange.ErrTooLarge
)

// Error is the error that every call of this package returns when it fails;
// find it with [errors.As]. Its text is one line and holds no secrets and no
// bodies. Other ways to ask:
//
//	errors.Is(err, piecesauth.ErrSignInRequired)
//	errors.Is(err, &piecesauth.Error{Code: "access_denied"})
//	errors.Is(err, context.DeadlineExceeded)
type Error struct {
	// Op is the operation: new, begin, authorize, exchange, complete, refresh,
	// userinfo, logout, verify, discovery, jwks, callback, token or api.
	Op string
	// StatusCode is the HTTP status of the answer, or 0 if there was no answer.
	StatusCode int
	// Code is the OAuth error code (RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1,
	// OpenID Connect Core §3.1.2.6), such as "invalid_grant", or "" if the
	// server sent none.
	Code string
	// Description is the server's error_description, for developers to read.
	// Secrets of the request that the server repeats are removed.
	Description string
	// URI is the server's error_uri. With [ErrBrowserRequired] it is the URL to
	// open, which contains the state of the attempt.
	URI string `json:"-"`
	// RetryAfter is how long the server asks to wait, or 0 if it does not say.
	RetryAfter time.Duration
	// Err is the cause, or nil if the server's refusal is all there is to say.
	Err error `json:"-"`
	// Token is what the server granted when [Authenticator.Refresh] or
	// [Authenticator.Exchange] refused an answer of status 200. Store it in
	// place of the token that was used, which may be spent. It has no ID token.
	// In all other cases Token is nil.
	Token *Token `json:"-"`

	unknownOutcome bool
	spent          bool // the outcome is known
	signIn         bool // set for ErrSignInRequired where Code does not imply it
}

// Error returns one line: the operation, followed by the status, the OAuth
// code, the description and the cause, as far as they are known.
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

// Format prints what Error returns, for every verb. It works on a copy too.
func (e Error) Format(s fmt.State, verb rune) {
	_, _ = fmt.Fprintf(s, fmt.FormatString(s, verb), e.Error())
}

// LogValue logs what Error returns.
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches an *Error if all the fields set in it equal those of e. It also
// matches [ErrSignInRequired] and [ErrUnknownOutcome].
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

// setOAuth sets what the server says, cleaned up: one line of limited length,
// without the secrets of the request.
func (e *Error) setOAuth(code, description, uri string, secrets []string) {
	tidy := func(s string, least int) string { return exchange.Printable(redact.Cut(s, least, secrets)) }
	e.Code, e.Description, e.URI = tidy(code, 8), tidy(description, 4), tidy(uri, 4)
}

// wrap returns an *Error for an error of a package below.
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

// ofIDToken returns an *Error for a check of package oidc that failed.
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

// kindError is a cause with the sentinel that it counts as; its text is that of
// the cause.
type kindError struct{ cause, kind error }

func (k *kindError) Error() string   { return k.cause.Error() }
func (k *kindError) Unwrap() []error { return []error{k.cause, k.kind} }
