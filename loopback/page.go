package loopback

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"

	"github.com/piecesauth/piecesauth"
)

const style = `:root{color-scheme:light dark}` +
	`body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.0625rem/1.5 system-ui,sans-serif;background:#fff;color:#1b1b1f}` +
	`main{box-sizing:border-box;width:100%;max-width:32rem;padding:1.5rem;overflow-wrap:anywhere}` +
	`h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}` +
	`p{margin:0 0 .75rem}` +
	`.why{padding:.75rem 1rem;border-left:.25rem solid #b3261e;background:#f6f2f2}` +
	`@media(prefers-color-scheme:dark){body{background:#16161a;color:#e6e6ea}.why{border-color:#f2b8b5;background:#2a2224}}`

// page takes style, title and paragraphs. It loads nothing, not even an icon.
const page = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>%[2]s</title>
<link rel="icon" href="data:,">
<style>%[1]s</style>
</head>
<body>
<main>
<h1>%[2]s</h1>
%[3]s</main>
</body>
</html>
`

// setHeaders sets the headers of every answer: not stored, not framed, nothing
// loaded, no referrer sent.
func setHeaders(h http.Header) {
	sum := sha256.Sum256([]byte(style))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

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
	paragraphs := "<p>" + html.EscapeString(text) + "</p>\n"
	if details != "" {
		paragraphs += "<p class=\"why\">" + html.EscapeString(details) + "</p>\n"
	}
	_, _ = fmt.Fprintf(w, page, style, title, paragraphs)
}
