package web

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/callback"
)

const maxForm = 64 << 10 // bytes of a callback

// signIn begins a sign-in, and redirects the person to the authorization
// server.
func (h *Handler) signIn(w http.ResponseWriter, r *http.Request) {
	next := h.local(r.URL.Query().Get("next"))
	if r.Header.Get("Sec-Fetch-Mode") != "" && !isNavigation(r) {
		// An image or a frame of another page would fill the browser with
		// cookies, many at once.
		h.fail(w, r, errNoPage, next)
		return
	}
	attempt, err := h.config.Auth.Begin(&piecesauth.BeginOptions{RedirectURL: h.origin + h.path + "callback"})
	if err != nil {
		h.fail(w, r, err, next)
		return
	}
	p := pending{Attempt: attempt, Next: next, Begun: time.Now().UnixMicro()}
	if s, ok := h.readSession(r.Cookies()); ok {
		p.Previous = s.ID // the callback, which comes from elsewhere, may not bring it
	}
	h.makeRoom(w, r, p.Previous)
	if err := h.setAttempt(w, h.attemptName(attempt.State), p); err != nil {
		h.fail(w, r, err, next)
		return
	}
	redirect(w, attempt.URL)
}

// callback completes a sign-in.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request) {
	values, err := readCallback(w, r)
	if err != nil {
		h.fail(w, r, err, "")
		return
	}
	p, ok := h.attempt(r, values.Get("state"))
	switch {
	case !ok:
		h.fail(w, r, ErrNoAttempt, "")
		return
	case p.Attempt == nil: // again, as by the back button: what it was for is done
		redirect(w, h.origin+h.orHome(p.Next))
		return
	}
	s, err := h.complete(r.Context(), p, values)
	if err == nil {
		h.endOthers(r, p.Previous)
		h.removeSession(w, r)
		err = h.setSession(w, s)
	}
	if err != nil {
		h.remove(w, p.cookie, h.attemptSite())
		h.fail(w, r, err, p.Next)
		return
	}
	// This removes the attempt. What stays tells where the callback leads when
	// it comes again.
	_ = h.setAttempt(w, p.cookie, pending{Next: p.Next, Begun: p.Begun})
	redirect(w, h.origin+h.orHome(p.Next))
}

// readCallback reads a POST from its body only, and a GET from its query only.
func readCallback(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
		if err != nil || kind != "application/x-www-form-urlencoded" {
			return nil, ErrNoAttempt
		}
		raw = string(body)
	}
	values, unreadable := callback.Parse(raw)
	if unreadable != "" {
		return nil, ErrNoAttempt
	}
	return values, nil
}

// attempt returns the sign-in with this state that began in this browser.
func (h *Handler) attempt(r *http.Request, state string) (pending, bool) {
	for _, cookie := range r.CookiesNamed(h.attemptName(state)) {
		if p, ok := h.readAttempt(cookie); ok {
			return p, true
		}
	}
	return pending{}, false
}

// complete redeems the code, stores the token, and returns the session.
func (h *Handler) complete(ctx context.Context, p pending, values url.Values) (Session, error) {
	s := Session{ID: rand.Text(), SignedIn: time.Now()}
	if h.config.Tokens != nil {
		// Check that the store answers before the code is spent.
		if _, err := h.config.Tokens(s.ID).Load(ctx); err != nil && !errors.Is(err, piecesauth.ErrNoToken) {
			return s, &piecesauth.Error{Op: "token", Err: err}
		}
	}
	token, err := h.config.Auth.Complete(ctx, p.Attempt, values)
	if err != nil {
		return s, err
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
		Name    any    `json:"name"`
		Email   any    `json:"email"`
	}
	if err := token.Claims(&claims); err != nil {
		return s, err
	}
	s.Issuer, s.Subject = claims.Issuer, claims.Subject
	s.Name, _ = claims.Name.(string)
	s.Email, _ = claims.Email.(string)
	if s.Name == "" && s.Email == "" && !h.asksIDOnly {
		user, err := h.config.Auth.UserInfo(ctx, token)
		if errors.Is(err, piecesauth.ErrSubjectMismatch) {
			return s, err
		}
		if err == nil { // else they have no name: that is no reason to turn them away
			s.Name, s.Email = user.Name, user.Email
		}
	}
	if h.config.Tokens != nil {
		err = h.entry(s.ID).source.Save(ctx, token)
	}
	return s, err
}

// endOthers ends the other sessions of the browser: a browser has one, and the
// previous cookies no longer count. A session that can't be ended expires.
func (h *Handler) endOthers(r *http.Request, previous string) {
	ids := []string{previous}
	if s, ok := h.readSession(r.Cookies()); ok && s.ID != previous {
		ids = append(ids, s.ID)
	}
	for _, id := range ids {
		if id != "" {
			_ = h.end(r.Context(), id)
		}
	}
}

// signOut ends the session, and then the person's session at the authorization
// server.
func (h *Handler) signOut(w http.ResponseWriter, r *http.Request) {
	if h.crossOrigin(r) {
		h.fail(w, r, ErrCrossOrigin, "")
		return
	}
	s, ok := h.readSession(r.Cookies())
	h.removeSession(w, r)
	if ok {
		if err := h.end(r.Context(), s.ID); err != nil {
			h.fail(w, r, &signOutError{err}, "")
			return
		}
	}
	redirect(w, h.logoutURL())
}

func (h *Handler) logoutURL() string { return h.config.Auth.LogoutURL(h.origin + h.home) }

// signInURL returns the address to sign in at and then come back to next.
func (h *Handler) signInURL(next string) string {
	u := h.origin + h.path + "signin"
	if next != "" {
		u += "?next=" + url.QueryEscape(next)
	}
	return u
}

// next returns the page that the request is for, as the person's browser shows
// it.
func (h *Handler) next(r *http.Request) string {
	next := r.RequestURI               // no router has changed it
	if !strings.HasPrefix(next, "/") { // a whole URL, or made by hand
		next = r.URL.RequestURI()
	}
	if !strings.HasPrefix(next, h.home) { // a proxy has taken it off
		next = strings.TrimSuffix(h.home, "/") + next
	}
	return h.local(next)
}

func (h *Handler) orHome(next string) string {
	if next == "" {
		return h.home
	}
	return next
}

// local returns next if it is a page of this application and not part of the
// sign-in, and "" otherwise.
func (h *Handler) local(next string) string {
	next = localPath(next)
	if !strings.HasPrefix(next, h.home) || strings.HasPrefix(next, h.path) {
		return ""
	}
	return next
}

// localPath returns next if it is a path on this host, and "" otherwise, so
// that no link through the sign-in can end elsewhere: browsers treat "//host"
// and "/\host" as another host, and drop tabs and line breaks; some proxies
// decode percent-encoding.
func localPath(next string) string {
	outside := func(c rune) bool { return c == '\\' || unicode.IsControl(c) || c == unicode.ReplacementChar }
	if !strings.HasPrefix(next, "/") || strings.ContainsFunc(next, outside) || strings.Contains(next, " ") {
		return ""
	}
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || strings.HasPrefix(u.Path, "//") || strings.ContainsFunc(u.Path, outside) ||
		slices.Contains(strings.Split(u.Path, "/"), "..") {
		return ""
	}
	var ascii strings.Builder
	for _, b := range []byte(next) {
		if b < 0x80 {
			ascii.WriteByte(b)
		} else {
			ascii.WriteString(url.QueryEscape(string([]byte{b})))
		}
	}
	return ascii.String()
}
