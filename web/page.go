package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/page"
)

// Errors that [Config.OnError] can get besides those of package piecesauth.
var (
	// ErrNoAttempt means that a callback belongs to no sign-in that began in
	// this browser within the last ten minutes.
	ErrNoAttempt = errors.New("web: the callback belongs to no sign-in that is under way in this browser")
	// ErrCrossOrigin means that a request that changes something came from a
	// page of another origin.
	ErrCrossOrigin = errors.New("web: the request came from a page of another origin")

	errNoPage = errors.New("web: a sign-in begins in a page of its own, not in a frame or by a script")
)

// signOutError is what prevented a session from being ended everywhere.
type signOutError struct{ err error }

func (e *signOutError) Error() string { return "web: signing out: " + e.err.Error() }
func (e *signOutError) Unwrap() error { return e.err }

// StatusCode returns the HTTP status with which to answer an error of this
// package or of package piecesauth.
func StatusCode(err error) int {
	var e *piecesauth.Error
	ours := errors.As(err, &e)
	switch {
	case errors.Is(err, ErrNoAttempt), errors.Is(err, errNoPage), errors.Is(err, piecesauth.ErrStateMismatch):
		return http.StatusBadRequest
	case errors.Is(err, ErrCrossOrigin), errors.Is(err, &piecesauth.Error{Code: "access_denied"}):
		return http.StatusForbidden
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case ours && e.Op == "complete": // also where the code is refused
		return http.StatusBadGateway
	case errors.Is(err, piecesauth.ErrSignInRequired):
		return http.StatusUnauthorized
	case ours && (e.Op == "token" || e.RetryAfter > 0):
		return http.StatusServiceUnavailable
	case ours && e.Op != "begin":
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}

// Error answers a request that failed with err, such as an error of a session's
// TokenSource. If the person has to sign in again and the request is for a
// page, Error redirects to the sign-in and back, at most three times a minute.
// Any other error goes to [Config.OnError] or, by default, is answered with a
// page for a person, or one line of text for a script, with the status of
// [StatusCode].
func (h *Handler) Error(w http.ResponseWriter, r *http.Request, err error) {
	next := h.next(r)
	if errors.Is(err, piecesauth.ErrSignInRequired) && isPage(r) && !h.signsInTooOften(r) {
		noStore(w)
		redirect(w, h.signInURL(next))
		return
	}
	h.fail(w, r, err, next)
}

// isPage reports whether a browser asks for a page and can be redirected: the
// request has no body that would be lost.
func isPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && isNavigation(r)
}

// isNavigation reports whether a person will see the answer in a window of its
// own.
func isNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		dest := r.Header.Get("Sec-Fetch-Dest")
		return mode == "navigate" && (dest == "" || dest == "document") && !strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch")
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html") // an older browser
}

// fail answers with an error page. next is where another attempt leads.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error, next string) {
	if h.config.OnError != nil {
		h.config.OnError(w, r, err)
		return
	}
	header, status := w.Header(), StatusCode(err)
	var e *piecesauth.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Round(time.Second).Seconds())))
	}
	if status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `SignIn url="`+h.signInURL("")+`"`) // RFC 9110 §11.6.1 wants a challenge
	}
	page.SetHeaders(header)
	if !isNavigation(r) {
		header.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, plainly(err)+"\n")
		return
	}
	title, text, link, label := "Signing in did not work", plainly(err), h.signInURL(next), "Try again"
	var signOut *signOutError
	switch {
	case errors.As(err, &signOut):
		title, link, label = "You are signed out in this browser only", h.logoutURL(), "Finish signing out"
	case errors.Is(err, ErrCrossOrigin):
		title, link, label = "Nothing was done", h.origin+h.home, "Go to the start page"
	case status == http.StatusUnauthorized && r.Method != http.MethodGet && r.Method != http.MethodHead:
		title, label = "You are not signed in", "Sign in"
		text += " What you sent was not carried out: send it again afterwards."
	case e != nil && (e.Op == "token" || e.Op == "userinfo") && status != http.StatusUnauthorized:
		title = "This did not work"
		if next != "" {
			link = h.origin + next // to sign in again would not help
		}
	}
	w.WriteHeader(status)
	page.Page{Title: title, Text: text, Link: link, Label: label}.Write(w)
}

// plainly returns the text of an error for the person rather than for a
// developer.
func plainly(err error) string {
	var e *piecesauth.Error
	known := errors.As(err, &e)
	var signOut *signOutError
	switch {
	case errors.As(err, &signOut):
		return "What is stored of your session could not be deleted just now. It will expire by itself."
	case errors.Is(err, ErrNoAttempt):
		return "This sign-in took too long, or it began in another browser. If this keeps happening, allow cookies for this site."
	case errors.Is(err, ErrCrossOrigin):
		return "The request came from another website, so it was not carried out."
	case errors.Is(err, errNoPage):
		return "A sign-in needs a page of its own. Open it in a new window."
	case errors.Is(err, &piecesauth.Error{Code: "access_denied"}):
		return "The sign-in was canceled, or this application was not given access."
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "The sign-in service did not answer in time."
	case known && e.Op == "complete":
		return "The sign-in service's answer could not be used."
	case errors.Is(err, piecesauth.ErrSignInRequired):
		return "Please sign in."
	case known && e.Op == "token":
		return "It is not possible just now to look up whether you are signed in."
	case known:
		return "The sign-in service did not accept this."
	}
	return "The application could not finish this."
}
