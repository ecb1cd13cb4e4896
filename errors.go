package piecesauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// What a caller branches on, with [errors.Is].
var (
	// ErrSignInRequired answers the one question an application asks: the
	// person has to sign in again. It covers a refused grant (invalid_grant),
	// login_required and its kin (OpenID Connect Core §3.1.2.6), a token that
	// expired with nothing to refresh it, and [ErrNoToken].
	ErrSignInRequired = errors.New("sign-in required")
	// ErrBrowserRequired: the answer to [Authenticator.Authorize] was a page,
	// or a redirect to one. [Error.URI] is the URL to open in a browser.
	ErrBrowserRequired = errors.New("a browser is required")
	// ErrUnknownOutcome: the request to the token endpoint may have been acted
	// on, but no usable answer came back. The code or refresh token in it may
	// be spent; it was not sent again, and sending it again can revoke every
	// token of the sign-in.
	ErrUnknownOutcome = errors.New("unknown whether the server acted")
	// ErrStateMismatch: the callback does not belong to the attempt
	// (RFC 6749 §10.12).
	ErrStateMismatch = errors.New("state missing, repeated or not the attempt's")
	// ErrIssuerMismatch: the callback, the ID token or the metadata is another
	// issuer's (RFC 9207 §2.4).
	ErrIssuerMismatch = errors.New("issuer missing or not the configured one")
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
	ErrTooLarge = errors.New("answer too large")
)

// Error is what every failed call returns; use [errors.As]. Its text is one
// line and holds neither secrets nor bodies. Further ways to ask:
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

	unknownOutcome bool
}

// Error gives one line: the operation, and the status, OAuth code, description
// and cause as far as there are any.
func (e *Error) Error() string {
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
	if e.unknownOutcome {
		parts = append(parts, ErrUnknownOutcome.Error())
	}
	return strings.Join(parts, ": ")
}

// Format prints what Error gives, whatever the verb, of a copy too.
func (e Error) Format(s fmt.State, verb rune) {
	_, _ = fmt.Fprintf(s, fmt.FormatString(s, verb), e.Error())
}

// LogValue logs what Error gives.
func (e Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// Unwrap gives the cause.
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
		return errors.Is(e.Err, ErrNoToken)
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
	// A secret of a few characters, as in a test, may well be part of a word.
	tidy := func(s string, least int) string {
		for _, secret := range secrets {
			if len(secret) >= least {
				for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
					s = strings.ReplaceAll(s, form, "[redacted]")
				}
			}
		}
		s = strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return ' '
			}
			return r
		}, s)
		const most = 300
		if len(s) > most {
			s = strings.ToValidUTF8(s[:most], "") + "…"
		}
		return strings.TrimSpace(s)
	}
	e.Code, e.Description, e.URI = tidy(code, 8), tidy(description, 4), tidy(uri, 4)
}

// opaque stands for a cause whose text may repeat what was sent or received.
type opaque struct {
	text  string
	cause error
}

func (o *opaque) Error() string        { return o.text }
func (o *opaque) GoString() string     { return o.text }
func (o *opaque) Is(target error) bool { return errors.Is(o.cause, target) }
func (o *opaque) As(target any) bool   { return errors.As(o.cause, target) }

// transportCause gives the cause of a failed exchange of messages in words
// that hold no URL and nothing of either message: only errors that are known
// to be clean keep their own.
func transportCause(err error) error {
	var (
		op   *net.OpError
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		host x509.HostnameError
		with *url.Error
	)
	for errors.As(err, &with) {
		err = with.Err // without the URL
	}
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &cert):
		return cert
	case errors.As(err, &host):
		return host
	case errors.As(err, &op) && clean(op.Err):
		return op
	}
	for _, known := range []error{
		ErrTooLarge, io.ErrUnexpectedEOF, io.EOF, http.ErrSchemeMismatch, http.ErrServerClosed,
		syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &opaque{"timed out", err}
	}
	return &opaque{fmt.Sprintf("the HTTP exchange failed (%T)", err), err}
}

// clean reports whether err is of the operating system, and nothing else.
func clean(err error) bool {
	switch err.(type) { //nolint:errorlint // wrapped, it may come with any text
	case syscall.Errno, *os.SyscallError:
		return true
	}
	return false
}
