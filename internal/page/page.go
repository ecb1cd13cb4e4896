// Package page writes the page that a person sees in the browser: plain, in dark
// mode if the browser is, readable on a phone, without scripts, and loading nothing.
package page

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
)

const style = `:root{color-scheme:light dark}` +
	`body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.0625rem/1.5 system-ui,sans-serif;background:#fff;color:#1b1b1f}` +
	`main{box-sizing:border-box;width:100%;max-width:32rem;padding:1.5rem;overflow-wrap:anywhere}` +
	`h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}` +
	`p{margin:0 0 .75rem}` +
	`a{color:#0b57d0}` +
	`.why{padding:.75rem 1rem;border-left:.25rem solid #b3261e;background:#f6f2f2}` +
	`@media(prefers-color-scheme:dark){body{background:#16161a;color:#e6e6ea}a{color:#a8c7fa}.why{border-color:#f2b8b5;background:#2a2224}}`

// Page is the content of a page. All of it is text, and is escaped.
type Page struct {
	Title, Text string
	Details     string // set apart below the text; "" for none
	Link, Label string // where the person can continue; "" for nowhere
}

// Write writes the page. It loads nothing, not even an icon.
func (p Page) Write(w io.Writer) {
	title := html.EscapeString(p.Title)
	paragraphs := "<p>" + html.EscapeString(p.Text) + "</p>\n"
	if p.Details != "" {
		paragraphs += `<p class="why">` + html.EscapeString(p.Details) + "</p>\n"
	}
	if p.Link != "" {
		paragraphs += `<p><a href="` + html.EscapeString(p.Link) + `">` + html.EscapeString(p.Label) + "</a></p>\n"
	}
	_, _ = io.WriteString(w, `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>`+title+`</title>
<link rel="icon" href="data:,">
<style>`+style+`</style>
</head>
<body>
<main>
<h1>`+title+`</h1>
`+paragraphs+`</main>
</body>
</html>
`)
}

// SetHeaders sets the headers of every page: it is not cached, not framed, loads
// nothing, and passes no address on.
func SetHeaders(h http.Header) {
	sum := sha256.Sum256([]byte(style))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}
