package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/piecesauth/piecesauth"
)

const (
	attemptLifetime = 10 * time.Minute // how long a person may take to sign in
	sessionLifetime = 12 * time.Hour   // after that they sign in again

	// The __Host- prefix: only this host can have set the cookie, not a
	// neighbour on the same domain, and only as Secure.
	sessionCookie = "__Host-session"
	attemptPrefix = "__Host-attempt-" // the state follows, so two tabs don't collide
)

// app holds no state of its own: whatever outlives a request is in a cookie
// that every replica with the same keys can read.
type app struct {
	auth     *piecesauth.Authenticator
	url      string // where people find the application: scheme and host
	attempts []securecookie.Codec
	sessions []securecookie.Codec
}

// pending is a sign-in that has begun.
type pending struct {
	Attempt *piecesauth.Attempt `json:"attempt"`
	Next    string              `json:"next"` // the page the person came from
}

// session says who is signed in. Tokens stay out of it: with them it would
// pass the 4 KB a browser keeps, and replicas that each refresh the copy in a
// cookie would use one refresh token twice, which revokes it. An application
// that calls APIs for its users keeps their tokens in a piecesauth.TokenStore
// over its database, under Subject.
type session struct {
	Subject string `json:"sub"`
	Name    string `json:"name,omitempty"`
	Email   string `json:"email,omitempty"`
}

// newApp takes the keys of the cookies in base64, 64 bytes each, newest first:
// a new key is put in front, the old one stays until its cookies have expired.
func newApp(auth *piecesauth.Authenticator, url string, keys ...string) (*app, error) {
	a := &app{auth: auth, url: url}
	for i, key := range keys {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
		if err != nil || len(raw) != 64 {
			return nil, fmt.Errorf("key %d is not 64 bytes in base64", i+1)
		}
		// HMAC-SHA256 over AES-256.
		codec := func(lifetime time.Duration) securecookie.Codec {
			return securecookie.New(raw[:32], raw[32:]).SetSerializer(securecookie.JSONEncoder{}).MaxAge(int(lifetime.Seconds()))
		}
		a.attempts = append(a.attempts, codec(attemptLifetime))
		a.sessions = append(a.sessions, codec(sessionLifetime))
	}
	return a, nil
}

func (a *app) handler() (http.Handler, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("GET /account", a.account)
	mux.HandleFunc("GET /signin", a.signIn)
	mux.HandleFunc("POST /callback", a.callback)
	mux.HandleFunc("POST /signout", a.signOut)
	// A POST has to come from one of our own pages. The callback comes from
	// the auth server: there the state vouches for the browser.
	guard := http.NewCrossOriginProtection()
	guard.AddInsecureBypassPattern("POST /callback")
	if err := guard.AddTrustedOrigin(a.url); err != nil { // a proxy may have changed Host
		return nil, err
	}
	return guard.Handler(mux), nil
}

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	s, _ := a.session(r)
	render(w, http.StatusOK, page{Title: "Home", Session: s})
}

// account is a page for people who are signed in.
func (a *app) account(w http.ResponseWriter, r *http.Request) {
	s, ok := a.session(r)
	if !ok {
		http.Redirect(w, r, "/signin?next=/account", http.StatusSeeOther)
		return
	}
	render(w, http.StatusOK, page{Title: "Your account", Session: s, Text: "Your subject is " + s.Subject + "."})
}

func (a *app) signIn(w http.ResponseWriter, r *http.Request) {
	attempt, err := a.auth.Begin(nil)
	if err != nil {
		fail(w, http.StatusInternalServerError, "Signing in is not possible just now.")
		return
	}
	// The callback is a POST from another site: only SameSite=None reaches it.
	err = write(w, attemptPrefix+attempt.State, pending{attempt, localPath(r.FormValue("next"))},
		a.attempts, attemptLifetime, http.SameSiteNoneMode)
	if err != nil {
		fail(w, http.StatusInternalServerError, "Signing in is not possible just now.")
		return
	}
	http.Redirect(w, r, attempt.URL, http.StatusSeeOther)
}

func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		fail(w, http.StatusBadRequest, "This is no answer to a sign-in.")
		return
	}
	var p pending
	name := attemptPrefix + r.PostForm.Get("state")
	if !read(r, name, &p, a.attempts) {
		fail(w, http.StatusBadRequest, "This sign-in took too long, or began in another browser.")
		return
	}
	// An attempt is good for one callback, so its cookie goes first. Should
	// the answer be sent again all the same, the server refuses a used code.
	remove(w, name, http.SameSiteNoneMode)

	token, err := a.auth.Complete(r.Context(), p.Attempt, r.PostForm)
	if err != nil {
		a.refuse(w, err)
		return
	}
	user, err := a.auth.UserInfo(r.Context(), token) // its subject is the ID token's, or this fails
	if err != nil {
		a.refuse(w, err)
		return
	}
	s := session{Subject: user.Sub, Name: user.Name, Email: user.Email}
	if err := write(w, sessionCookie, s, a.sessions, sessionLifetime, http.SameSiteLaxMode); err != nil {
		fail(w, http.StatusInternalServerError, "Signing in did not work.")
		return
	}
	http.Redirect(w, r, p.Next, http.StatusSeeOther)
}

func (a *app) refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, &piecesauth.Error{Code: "access_denied"}):
		fail(w, http.StatusForbidden, "You chose not to sign in.")
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, http.StatusGatewayTimeout, "The sign-in service did not answer.")
	default:
		fail(w, http.StatusBadGateway, "Signing in did not work.")
	}
}

// signOut ends our session, and then, at the auth server, the person's there.
func (a *app) signOut(w http.ResponseWriter, r *http.Request) {
	remove(w, sessionCookie, http.SameSiteLaxMode)
	http.Redirect(w, r, a.auth.LogoutURL(a.url+"/"), http.StatusSeeOther)
}

func (a *app) session(r *http.Request) (s session, ok bool) {
	ok = read(r, sessionCookie, &s, a.sessions)
	return s, ok
}

// localPath lets through a path on this host and makes "/" of the rest, so
// that nobody's link through our sign-in page ends elsewhere: browsers take
// "//host" and "/\host" for another host, and drop tabs and line breaks.
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsFunc(next, func(c rune) bool {
		return c <= ' ' || c == '\\' || c == 0x7f
	}) {
		return "/"
	}
	return next
}

// The cookies: encrypted, authenticated together with their name and the time
// they were written, out of reach of scripts.

func write(w http.ResponseWriter, name string, v any, codecs []securecookie.Codec, lifetime time.Duration, site http.SameSite) error {
	value, err := securecookie.EncodeMulti(name, v, codecs...)
	if err != nil {
		return err
	}
	setCookie(w, name, value, int(lifetime.Seconds()), site)
	return nil
}

func read(r *http.Request, name string, v any, codecs []securecookie.Codec) bool {
	cookie, err := r.Cookie(name)
	return err == nil && securecookie.DecodeMulti(name, cookie.Value, v, codecs...) == nil
}

func remove(w http.ResponseWriter, name string, site http.SameSite) {
	setCookie(w, name, "", -1, site)
}

func setCookie(w http.ResponseWriter, name, value string, maxAge int, site http.SameSite) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // SameSite is set: None for the callback, which comes from another site
		Name: name, Value: value, MaxAge: maxAge,
		Path: "/", Secure: true, HttpOnly: true, SameSite: site,
	})
}

type page struct {
	Title, Text string
	Session     session
}

var layout = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
{{with .Text}}<p>{{.}}</p>{{end}}
{{with .Session}}{{if .Subject}}
<p>Signed in as <strong id="name">{{or .Name .Subject}}</strong>{{with .Email}} ({{.}}){{end}}.</p>
<p><a href="/account">Your account</a></p>
<form method="post" action="/signout"><button>Sign out</button></form>
{{else}}
<p><a id="signin" href="/signin">Sign in with Pieces</a></p>
{{end}}{{end}}
</html>
`))

func fail(w http.ResponseWriter, status int, text string) {
	render(w, status, page{Title: http.StatusText(status), Text: text})
}

func render(w http.ResponseWriter, status int, p page) {
	var body bytes.Buffer
	if err := layout.Execute(&body, p); err != nil {
		http.Error(w, "the page could not be written", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}
