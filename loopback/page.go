package loopback

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/page"
)

// writePage shows the person the result of the sign-in.
func writePage(w io.Writer, err error) {
	if err == nil {
		show(w, "You are signed in", "You can close this window and go back to the application.", "")
		return
	}
	details := err.Error()
	if errors.Is(err, &piecesauth.Error{Code: "access_denied"}) {
		details = "" // it is the person's own doing
	}
	show(w, "The sign-in failed", plainly(err)+" You can close this window and go back to the application, to sign in again from there.", details)
}

// plainly returns the text of an error for the person rather than for a
// developer.
func plainly(err error) string {
	var e *piecesauth.Error
	known := errors.As(err, &e)
	switch {
	case errors.Is(err, &piecesauth.Error{Code: "access_denied"}):
		return "The application was not given access."
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "The application stopped waiting for the answer."
	case errors.Is(err, piecesauth.ErrUnknownOutcome):
		return "The sign-in server was asked to finish, and its answer did not arrive."
	case known && e.Op == "callback", errors.Is(err, piecesauth.ErrStateMismatch), errors.Is(err, piecesauth.ErrIssuerMismatch):
		return "What the browser brought is not an answer that can be used."
	case known && e.Code != "":
		return "The sign-in server refused."
	}
	return "The application could not finish it."
}

// refuse answers a request that is not the redirect, and changes nothing.
func refuse(w http.ResponseWriter, status int, why string) {
	w.WriteHeader(status)
	show(w, "This is not the answer that the sign-in waits for",
		why+" If you were signing in just now, go back to the application and use the address that it shows, or sign in again from there.", "")
}

// show writes a page of plain text.
func show(w io.Writer, title, text, details string) {
	page.Page{Title: title, Text: text, Details: details}.Write(w)
}
