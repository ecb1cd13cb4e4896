package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/strictjson"
)

// errSignedOut is a [piecesauth.ErrSignInRequired] for a request of nobody who
// is signed in.
var errSignedOut = fmt.Errorf("web: nobody is signed in: %w", piecesauth.ErrSignInRequired)

// Session is a person who is signed in. Several requests may share one: don't
// change it.
type Session struct {
	// ID is new at every sign-in. The token is stored under it.
	ID string
	// Issuer and Subject together identify the person. Don't use anything else
	// for that: a name or an address can change, and pass to another person.
	Issuer, Subject string
	// Name and Email are for display; either may be empty.
	Name, Email string
	// SignedIn is when the person signed in, to the second.
	SignedIn time.Time

	source *piecesauth.TokenSource
}

// TokenSource returns the source of the session's access tokens, which all its
// requests share, or nil without [Config.Tokens]. Its Client calls an API as the
// person, and its UserInfo returns their profile. Pass its errors to
// [Handler.Error].
func (s *Session) TokenSource() *piecesauth.TokenSource { return s.source }

// storedSession is a Session as stored in its cookie.
type storedSession struct {
	ID       string `json:"id"`
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Name     string `json:"n,omitempty"`
	Email    string `json:"e,omitempty"`
	SignedIn int64  `json:"t"`
}

// sessionKey is the context's key for the session of a request that a handler
// let through.
type sessionKey struct{ h *Handler }

// Require serves next to people who are signed in. Others are redirected to the
// sign-in and back if they ask for a page; any other request, such as one by a
// script or by POST, is answered with 401. A request that changes something or
// opens a WebSocket, and comes from a page of another origin, is answered with
// 403. The answers of next are not cached, unless next sets another
// Cache-Control.
func (h *Handler) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noStore(w)
		if h.crossOrigin(r) {
			h.Error(w, r, ErrCrossOrigin)
			return
		}
		s, seen, err := h.session(r)
		if err != nil {
			h.Error(w, r, err)
			return
		}
		if time.Since(seen) > h.config.Idle/10 {
			h.setSeen(w, s.ID)
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{h}, s)))
	})
}

// crossOrigin reports whether a page of another origin sent a request that can
// change something. A WebSocket can, although it begins with a GET.
func (h *Handler) crossOrigin(r *http.Request) bool {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		opening := *r
		opening.Method = http.MethodPost
		r = &opening
	}
	return h.guard.Check(r) != nil
}

// Session returns the session of the request. Behind [Handler.Require] there
// always is one, and nothing is checked again. Elsewhere Session checks it but
// does not extend it, and the caller must keep the answer out of caches.
func (h *Handler) Session(r *http.Request) (*Session, bool) {
	if s, ok := r.Context().Value(sessionKey{h}).(*Session); ok {
		return s, true
	}
	s, _, err := h.session(r)
	if err != nil {
		return nil, false
	}
	return s, true
}

// session returns the session of the request and when it was last used.
func (h *Handler) session(r *http.Request) (*Session, time.Time, error) {
	cookies := r.Cookies()
	s, ok := h.readSession(cookies)
	if !ok {
		return nil, time.Time{}, errSignedOut
	}
	var e *entry
	if h.config.Tokens != nil || h.config.Revoked != nil {
		e = h.entry(s.ID)
		s.source = e.source
	}
	seen, ok := h.readSeen(cookies, s.ID, e)
	if !ok {
		return nil, time.Time{}, errSignedOut
	}
	return s, seen, h.check(r.Context(), s, e)
}

// readSession reads only the cookie.
func (h *Handler) readSession(cookies []*http.Cookie) (*Session, bool) {
	for _, cookie := range cookies {
		if cookie.Name != h.cookie {
			continue
		}
		plaintext, ok := h.open(cookie, "")
		var c storedSession
		if !ok || strictjson.Unmarshal(plaintext, &c) != nil {
			continue
		}
		s := &Session{ID: c.ID, Issuer: c.Issuer, Subject: c.Subject, Name: c.Name, Email: c.Email, SignedIn: time.Unix(c.SignedIn, 0)}
		if time.Since(s.SignedIn) < h.config.Lifetime {
			return s, true
		}
	}
	return nil, false
}

// setSeen sets a second cookie with the time when the session was last used. If
// the answer arrives after a sign-out or another sign-in, that cookie signs
// nobody in.
func (h *Handler) setSeen(w http.ResponseWriter, id string) {
	cookie := &http.Cookie{Name: h.seenName(id), MaxAge: int(h.config.Idle.Seconds()), SameSite: http.SameSiteLaxMode} //nolint:gosec // set has the rest
	h.set(w, cookie, strconv.AppendInt(nil, time.Now().Unix(), 10), id)
}

// readSeen reads the cookie, and opens it only if it has changed since the last
// time.
func (h *Handler) readSeen(cookies []*http.Cookie, id string, e *entry) (time.Time, bool) {
	name := h.seenName(id)
	for _, cookie := range cookies {
		if cookie.Name != name {
			continue
		}
		var last *seen
		if e != nil {
			last = e.seen.Load()
		}
		if last == nil || last.cookie != cookie.Value {
			plaintext, _ := h.open(cookie, id)
			seconds, err := strconv.ParseInt(string(plaintext), 10, 64)
			if err != nil {
				continue
			}
			last = &seen{cookie.Value, time.Unix(seconds, 0)}
			if e != nil {
				e.seen.Store(last)
			}
		}
		if time.Since(last.at) < h.config.Idle {
			return last.at, true
		}
	}
	return time.Time{}, false
}

// seen is a cookie that was opened, with its content.
type seen struct {
	cookie string
	at     time.Time
}

// check returns errSignedOut if a session with a valid cookie is over. e is nil
// if nothing has to be asked.
func (h *Handler) check(ctx context.Context, s *Session, e *entry) error {
	if e == nil {
		return nil
	}
	if e.void.Load() {
		return errSignedOut
	}
	now := time.Now()
	if now.UnixNano()-e.checked.Load() < int64(h.config.CheckStore) {
		return nil
	}
	err := h.ask(ctx, s, e)
	switch {
	case err == nil:
		e.checked.Store(now.UnixNano())
	case errors.Is(err, errSignedOut):
		h.live.remove(s.ID)
	}
	return err
}

// ask asks the store and Revoked whether the session is over.
func (h *Handler) ask(ctx context.Context, s *Session, e *entry) error {
	if e.store != nil {
		if _, err := e.store.Load(ctx); errors.Is(err, piecesauth.ErrNoToken) {
			return errSignedOut
		} else if err != nil {
			return &piecesauth.Error{Op: "token", Err: err}
		}
	}
	if h.config.Revoked != nil {
		if over, err := h.config.Revoked(ctx, s); err != nil {
			return &piecesauth.Error{Op: "token", Err: fmt.Errorf("asking whether the session was revoked: %w", err)}
		} else if over {
			return errSignedOut
		}
	}
	return nil
}

// end ends a session on all replicas that check for its token. It waits for no
// refresh if the store has a method Replace.
func (h *Handler) end(ctx context.Context, id string) error {
	if h.config.Tokens == nil {
		return nil
	}
	e := h.entry(id)
	e.void.Store(true) // here at once, whatever becomes of the row
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	return e.source.Forget(ctx)
}

const (
	endTimeout = 5 * time.Second  // of deleting a token
	entryIdle  = 10 * time.Minute // at least, before a session's entry is dropped
	firstSweep = 1024             // entries
)

// live holds what is kept of sessions between their requests. Sessions don't
// depend on it: it saves questions to the store and shares refreshes.
type live struct {
	mu      sync.Mutex
	entries map[string]*entry
	sweepAt int // entries
}

type entry struct {
	source  *piecesauth.TokenSource // nil without Config.Tokens
	store   piecesauth.TokenStore
	void    atomic.Bool  // it was signed out here
	checked atomic.Int64 // when it was last known to be good, in nanoseconds
	seen    atomic.Pointer[seen]
	used    int64 // likewise, guarded by the live's mutex
}

// entry returns what is kept of the session.
func (h *Handler) entry(id string) *entry {
	now := time.Now()
	h.live.mu.Lock()
	defer h.live.mu.Unlock()
	if e := h.live.entries[id]; e != nil {
		e.used = now.UnixNano()
		return e
	}
	h.live.sweep(now.Add(-max(entryIdle, h.config.CheckStore)).UnixNano())
	e := &entry{used: now.UnixNano()}
	if h.config.Tokens != nil {
		e.store = h.config.Tokens(id)
		e.source = h.config.Auth.TokenSource(e.store)
	}
	h.live.entries[id] = e
	return e
}

// sweep drops entries that have not been used since then, once their number has
// doubled; the caller holds the mutex.
func (l *live) sweep(since int64) {
	if l.entries == nil {
		l.entries, l.sweepAt = map[string]*entry{}, firstSweep
	}
	if len(l.entries) < l.sweepAt {
		return
	}
	for id, e := range l.entries {
		if e.used < since {
			delete(l.entries, id)
		}
	}
	l.sweepAt = max(firstSweep, 2*len(l.entries))
}

func (l *live) remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.entries, id)
}
