package web

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/strictjson"
)

const (
	attemptLifetime = 10 * time.Minute // how long a person may take to sign in
	maxAttempts     = 5                // in progress in one browser
	maxRounds       = 3                // in a minute, from a page to the sign-in and back
	maxCookie       = 1000             // bytes of name and value
	stateInName     = 16               // characters: enough to tell attempts apart
	idInName        = 8                // likewise, for the sessions of one browser
)

var errCookieSize = errors.New("web: the person's identifiers are too long for a cookie")

// pending is a sign-in in progress, as stored in its cookie.
type pending struct {
	Attempt  *piecesauth.Attempt `json:"a,omitempty"` // nil once it has been completed
	Next     string              `json:"n"`           // the page the person came from
	Previous string              `json:"p,omitempty"` // the previous session, which the new one replaces
	Begun    int64               `json:"t"`           // microseconds

	cookie string // its name
}

func (h *Handler) attemptName(state string) string {
	return h.cookie + "-a-" + state[:min(len(state), stateInName)]
}

// seenName returns the name of a cookie that belongs to one session, so that a
// late answer to the previous session does not affect this one.
func (h *Handler) seenName(id string) string {
	return h.cookie + "-seen-" + id[:min(len(id), idInName)]
}

// set sets a sealed cookie, and reports whether it is small enough. Otherwise
// it sets none.
func (h *Handler) set(w http.ResponseWriter, cookie *http.Cookie, plaintext []byte, purpose string) bool { //nolint:gosec // G124: what is missing is set here
	cookie.Value = base64.RawURLEncoding.EncodeToString(h.config.Sealer.Seal(plaintext, h.scope+cookie.Name+purpose))
	if len(cookie.Name)+len(cookie.Value) > maxCookie {
		return false
	}
	cookie.Path, cookie.HttpOnly = "/", true
	cookie.Secure = h.secure || cookie.SameSite == http.SameSiteNoneMode
	http.SetCookie(w, cookie)
	return true
}

// open returns the content of a cookie that was set for the purpose.
func (h *Handler) open(cookie *http.Cookie, purpose string) ([]byte, bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		return nil, false
	}
	plaintext, err := h.config.Sealer.Open(sealed, h.scope+cookie.Name+purpose)
	return plaintext, err == nil
}

func (h *Handler) remove(w http.ResponseWriter, name string, sameSite http.SameSite) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // G124: nothing is in it
		Name: name, MaxAge: -1, Path: "/", HttpOnly: true, SameSite: sameSite,
		Secure: h.secure || sameSite == http.SameSiteNoneMode,
	})
}

// attemptSite returns the SameSite that lets the attempt's cookie come with the
// callback: with a form that another site posts, only SameSite=None cookies are
// sent.
func (h *Handler) attemptSite() http.SameSite {
	if h.mode == piecesauth.ResponseModeFormPost {
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}

// setAttempt keeps p in the browser. If p is too large, it leaves out the page
// to return to.
func (h *Handler) setAttempt(w http.ResponseWriter, name string, p pending) error {
	if p.Attempt != nil {
		small := *p.Attempt
		small.RedirectURL, small.BaseURL, small.ClientID = "", "", "" // as configured: they are part of what it is sealed for
		p.Attempt = &small
	}
	for {
		plaintext, err := json.Marshal(p)
		if err != nil {
			return err
		}
		left := attemptLifetime - time.Since(time.UnixMicro(p.Begun))
		cookie := &http.Cookie{Name: name, MaxAge: int(left.Seconds()), SameSite: h.attemptSite()} //nolint:gosec // set has the rest
		switch {
		case h.set(w, cookie, plaintext, ""):
			return nil
		case p.Next == "":
			return errCookieSize
		}
		p.Next = ""
	}
}

// readAttempt reads a cookie that setAttempt has set.
func (h *Handler) readAttempt(cookie *http.Cookie) (p pending, ok bool) {
	plaintext, ok := h.open(cookie, "")
	if !ok || strictjson.Unmarshal(plaintext, &p) != nil {
		return p, false
	}
	if p.Attempt != nil {
		p.Attempt.RedirectURL = h.origin + h.path + "callback"
	}
	p.cookie = cookie.Name
	age := time.Since(time.UnixMicro(p.Begun))
	return p, age < attemptLifetime
}

// makeRoom removes the cookies of attempts that are over, and the oldest ones
// if there are too many. Otherwise any site could fill the browser with them,
// by sending it to the sign-in again and again. It also removes the cookies of
// earlier sessions, which did not come with the callback that ended them.
func (h *Handler) makeRoom(w http.ResponseWriter, r *http.Request, session string) {
	var kept []pending
	for _, cookie := range r.Cookies() {
		if strings.HasPrefix(cookie.Name, h.seenName("")) && (session == "" || cookie.Name != h.seenName(session)) {
			h.remove(w, cookie.Name, http.SameSiteLaxMode)
		}
		if !strings.HasPrefix(cookie.Name, h.attemptName("")) {
			continue
		}
		if p, ok := h.readAttempt(cookie); ok {
			kept = append(kept, p)
		} else {
			h.remove(w, cookie.Name, h.attemptSite())
		}
	}
	slices.SortFunc(kept, func(a, b pending) int { return cmp.Compare(b.Begun, a.Begun) })
	for _, p := range kept[min(len(kept), maxAttempts-1):] {
		h.remove(w, p.cookie, h.attemptSite())
	}
}

// signsInTooOften reports whether the browser has just signed in several times: sending
// it to the sign-in once more would not help, and would never end if the
// authorization server asks the person nothing.
func (h *Handler) signsInTooOften(r *http.Request) bool {
	done := 0
	for _, cookie := range r.Cookies() {
		if strings.HasPrefix(cookie.Name, h.attemptName("")) {
			if p, ok := h.readAttempt(cookie); ok && p.Attempt == nil && time.Since(time.UnixMicro(p.Begun)) < time.Minute {
				done++
			}
		}
	}
	return done >= maxRounds
}

// removeSession signs the browser out.
func (h *Handler) removeSession(w http.ResponseWriter, r *http.Request) {
	for _, cookie := range r.Cookies() {
		if cookie.Name == h.cookie || strings.HasPrefix(cookie.Name, h.seenName("")) {
			h.remove(w, cookie.Name, http.SameSiteLaxMode)
		}
	}
}

// setSession signs the browser in. It leaves out a name or an address that is
// too long.
func (h *Handler) setSession(w http.ResponseWriter, s Session) error {
	lifetime := int(h.config.Lifetime.Seconds())
	for _, spare := range []*string{&s.Email, &s.Name, nil} {
		plaintext, err := json.Marshal(storedSession{s.ID, s.Issuer, s.Subject, s.Name, s.Email, s.SignedIn.Unix()})
		if err != nil {
			return err
		}
		if h.set(w, &http.Cookie{Name: h.cookie, MaxAge: lifetime, SameSite: http.SameSiteLaxMode}, plaintext, "") { //nolint:gosec // set has the rest
			h.setSeen(w, s.ID)
			return nil
		}
		if spare != nil {
			*spare = ""
		}
	}
	return errCookieSize
}
