package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/piecesauth/piecesauth"
)

// The exit codes, which docs/command.md lists.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitSignIn      = 3
	exitServer      = 4
	exitInterrupted = 130
)

// usageError means that the command was called wrongly.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errAlreadySaid ends a command whose result has said that nobody is signed in;
// nothing more is printed.
var errAlreadySaid = errors.New("nobody is signed in")

// signInError adds what to do to an ErrSignInRequired.
type signInError struct {
	err     error
	command string
	others  string
}

func (s *signInError) Error() string {
	if errors.Is(s.err, piecesauth.ErrNoToken) {
		return "nobody is signed in; run: " + s.command + s.others
	}
	return "sign in again; run: " + s.command + " (" + trimPrefix(s.err.Error()) + ")"
}
func (s *signInError) Unwrap() error { return s.err }

// Is also matches ErrSignInRequired for ErrNoToken.
func (s *signInError) Is(target error) bool { return target == piecesauth.ErrSignInRequired }

// classify returns the exit code of an error, and its kind in JSON.
func classify(ctx context.Context, err error) (code int, kind string) {
	var usage *usageError
	var e *piecesauth.Error
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted, "interrupted"
	case errors.As(err, &usage):
		return exitUsage, "usage"
	case errors.Is(err, piecesauth.ErrSignInRequired), errors.Is(err, errAlreadySaid):
		return exitSignIn, "sign_in_required"
	case !errors.As(err, &e):
		return exitFailure, "failure"
	}
	switch {
	case e.Op == "new" || e.Op == "begin":
		return exitUsage, "usage"
	case e.Op == "token" || e.Code == "access_denied":
		return exitFailure, "failure"
	}
	return exitServer, "server"
}

// report prints an error, and returns the exit code.
func (p *program) report(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	if !p.began {
		err = &usageError{err}
	}
	code, kind := classify(ctx, err)
	text := err.Error()
	switch {
	case errors.Is(err, errAlreadySaid):
		return code
	case code == exitInterrupted:
		text = "interrupted"
	}
	if !p.json {
		fmt.Fprintln(p.words, "piecesauth: "+inWordsOfFlags(text))
		return code
	}
	type object struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
		Code    int    `json:"exit_code"`
		OAuth   string `json:"oauth_error,omitempty"`
		Status  int    `json:"http_status,omitempty"`
	}
	o := object{Kind: kind, Message: inWordsOfFlags(text), Code: code}
	var e *piecesauth.Error
	if errors.As(err, &e) {
		o.OAuth, o.Status = e.Code, e.StatusCode
	}
	_ = encodeLine(p.words, map[string]object{"error": o})
	return code
}

// trimPrefix removes the name of the package, since the command prints its own.
func trimPrefix(text string) string { return strings.TrimPrefix(text, "piecesauth: ") }

// inWordsOfFlags replaces the names of Go fields by those of flags.
func inWordsOfFlags(text string) string {
	return strings.NewReplacer(
		"new: BaseURL ", "--base-url ", "new: ClientID ", "--client-id ", "new: Issuer ", "--issuer ", "new: Audience ", "--audience ", "new: Scopes has", "--scope has",
		"loopback: Options.RedirectURLs", "--redirect-url", "loopback: ", "", "tokenfile: ", "", "keyring: ", "", "piecesauthtest: Addr: ", "--addr: ",
		", or pass tokenfile.Sealed a key that is kept elsewhere", "",
	).Replace(trimPrefix(text))
}
