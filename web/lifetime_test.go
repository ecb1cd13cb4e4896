package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/seal"
)

func newBare(t testing.TB, edit ...func(*Config)) *Handler {
	t.Helper()
	auth, err := piecesauth.New(piecesauth.Config{
		BaseURL: "https://auth.example.com", Issuer: "https://auth.example.com/", ClientID: "client", Audience: "api",
	})
	require.NoError(t, err)
	sealer, err := seal.New(make([]byte, 32))
	require.NoError(t, err)
	config := Config{Auth: auth, URL: "https://app.example.com", Sealer: sealer}
	for _, edit := range edit {
		edit(&config)
	}
	h, err := New(config)
	require.NoError(t, err)
	return h
}

// browser keeps cookies for as long as it likes.
type browser map[string]*http.Cookie

func (b browser) get(h http.Handler) (status, cookies int) {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	r.Header.Set("Accept", "text/html")
	for _, cookie := range b {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, b.keep(w)
}

func (b browser) keep(w *httptest.ResponseRecorder) int {
	for _, cookie := range w.Result().Cookies() {
		b[cookie.Name] = cookie
	}
	return len(w.Result().Cookies())
}

func signedIn(t testing.TB, h *Handler) browser {
	t.Helper()
	w, b := httptest.NewRecorder(), browser{}
	require.NoError(t, h.setSession(w, Session{ID: "id", Issuer: "https://auth.example.com/", Subject: "auth0|1", Name: "Ada", SignedIn: time.Now()}))
	b.keep(w)
	return b
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })

func TestIdle(t *testing.T) {
	t.Run("cookies alone", func(t *testing.T) { testIdle(t, nil) })
	t.Run("remembered", func(t *testing.T) {
		testIdle(t, func(context.Context, *Session) (bool, error) { return false, nil })
	})
}

func testIdle(t *testing.T, revoked func(context.Context, *Session) (bool, error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newBare(t, func(c *Config) { c.Lifetime, c.Idle, c.Revoked = 24*time.Hour, time.Hour, revoked })
		app, b := h.Require(ok), signedIn(t, h)
		stale := browser{}
		for name, cookie := range b {
			stale[name] = cookie
		}
		sent := 0
		for range 60 { // a request a minute
			time.Sleep(time.Minute)
			status, cookies := b.get(app)
			require.Equal(t, http.StatusOK, status)
			sent += cookies
		}
		assert.InDelta(t, 60/7, sent, 1, "few answers have a cookie")
		status, _ := stale.get(app)
		assert.Equal(t, http.StatusSeeOther, status, "whoever kept the first cookies is out")
		for range 3 { // as seldom as can be
			time.Sleep(time.Hour - 7*time.Minute)
			status, _ := b.get(app)
			require.Equal(t, http.StatusOK, status)
		}
		time.Sleep(time.Hour)
		status, _ = b.get(app)
		assert.Equal(t, http.StatusSeeOther, status)
	})
}

func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBare(t)
		app, b := h.Require(ok), signedIn(t, h)
		for range 12*60 - 1 {
			time.Sleep(time.Minute)
			status, _ := b.get(app)
			require.Equal(t, http.StatusOK, status)
		}
		time.Sleep(time.Minute)
		status, _ := b.get(app)
		assert.Equal(t, http.StatusSeeOther, status, "however busy it was, and although the browser keeps its cookies")
	})
}

// TestLateAnswer: an answer that was on its way while the person signed out, or
// in as somebody else, changes neither.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBare(t)
		app, b := h.Require(ok), signedIn(t, h)
		time.Sleep(time.Hour)
		late := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		for _, cookie := range b {
			r.AddCookie(cookie)
		}
		app.ServeHTTP(late, r)
		out := browser{}
		require.NotZero(t, out.keep(late))
		status, _ := out.get(app)
		assert.Equal(t, http.StatusSeeOther, status)

		w, other := httptest.NewRecorder(), browser{}
		require.NoError(t, h.setSession(w, Session{ID: "another", Subject: "auth0|2", SignedIn: time.Now()}))
		other.keep(w)
		other.keep(late)
		status, _ = other.get(h.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			s, _ := h.Session(r)
			assert.Equal(t, "auth0|2", s.Subject)
		})))
		assert.Equal(t, http.StatusOK, status)
	})
}

func TestAttemptLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBare(t)
		b := browser{}
		read := func() bool {
			for _, cookie := range b {
				_, ok := h.readAttempt(cookie)
				return ok
			}
			return false
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/auth/signin", nil))
		b.keep(w)
		time.Sleep(attemptLifetime - time.Second)
		assert.True(t, read())
		time.Sleep(2 * time.Second)
		assert.False(t, read())
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/auth/signin", nil)
		for _, cookie := range b {
			r.AddCookie(cookie)
		}
		w = httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Len(t, w.Result().Cookies(), 2)
		assert.Negative(t, w.Result().Cookies()[0].MaxAge, "what is over is removed")
	})
}

// TestCheckStoreAge: the store is asked again once what is known is old.
func TestCheckStoreAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		h := newBare(t, func(c *Config) {
			c.CheckStore = time.Minute
			c.Revoked = func(context.Context, *Session) (bool, error) { asked++; return asked > 2, nil }
		})
		app, b := h.Require(ok), signedIn(t, h)
		for i, want := range []int{1, 1, 1, 2, 2, 2, 3} { // every 20 seconds
			if i > 0 {
				time.Sleep(20 * time.Second)
			}
			status, _ := b.get(app)
			assert.Equal(t, want, asked)
			assert.Equal(t, want > 2, status == http.StatusSeeOther)
		}
		assert.Empty(t, h.live.entries, "nothing is kept of what is over")
	})
}

// TestSweep: what is kept of sessions goes when nobody uses them.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBare(t, func(c *Config) {
			c.Tokens = func(string) piecesauth.TokenStore { return new(piecesauth.MemoryStore) }
		})
		used := h.entry("used")
		for i := range firstSweep - 1 {
			h.entry(strconv.Itoa(i))
		}
		time.Sleep(entryIdle + time.Second)
		assert.Same(t, used, h.entry("used"))
		h.entry("new")
		assert.Len(t, h.live.entries, 2)
		assert.Same(t, used, h.entry("used"))
	})
}

func TestCookieSizes(t *testing.T) {
	h := newBare(t)
	b := signedIn(t, h)
	for _, cookie := range b {
		assert.Less(t, len(cookie.String()), 500, cookie.Name)
	}
	for _, next := range []string{"/", "/" + strings.Repeat("x", 300), "/" + strings.Repeat("x", 9000)} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/auth/signin?next="+next, nil))
		require.Len(t, w.Result().Cookies(), 1)
		cookie := w.Result().Cookies()[0]
		assert.Less(t, len(cookie.String()), 1100)
		p, ok := h.readAttempt(cookie)
		require.True(t, ok)
		assert.Equal(t, len(next) <= 301, p.Next == next, "a path of usual length is kept")
	}
}
