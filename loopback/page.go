package loopback

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
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

// page takes style, title, heading and reason. It loads nothing.
const page = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>%[2]s</title>
<style>%[1]s</style>
</head>
<body>
<main>
<h1>%[2]s</h1>
%[3]s<p>You can close this window and go back to the application.</p>
</main>
</body>
</html>
`

// setHeaders sets what holds for every answer: not stored, not framed, nothing
// loaded, no address passed on.
func setHeaders(h http.Header) {
	sum := sha256.Sum256([]byte(style))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// writePage tells the person how the sign-in ended.
func writePage(w http.ResponseWriter, err error) {
	title, reason := "You are signed in", ""
	if err != nil {
		title, reason = "The sign-in failed", err.Error()
		if errors.Is(err, &piecesauth.Error{Code: "access_denied"}) {
			reason = "The application was not given access."
		}
		reason = "<p class=\"why\">" + html.EscapeString(reason) + "</p>\n"
	}
	_, _ = fmt.Fprintf(w, page, style, title, reason)
}
