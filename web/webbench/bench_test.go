//nolint:gosec // G124, G705: no browser sees any of it
package webbench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/web"
)

const appURL = "https://app.example.com"

// session is what the rival keeps of a person: the same as package web does.
type session struct {
	ID, Issuer, Subject, Name, Email string
	SignedIn                         int64
}

type key struct{}

// rival is a handler that reads a session's cookie by gorilla/securecookie,
// encrypted and authenticated, and hands it on as Require does.
func rival(tb testing.TB, json bool) (http.Handler, []*http.Cookie) {
	tb.Helper()
	codec := securecookie.New(make([]byte, 32), make([]byte, 32)).MaxAge(12 * 3600)
	if json {
		codec.SetSerializer(securecookie.JSONEncoder{})
	}
	const name = "__Host-session"
	value, err := codec.Encode(name, session{
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "http://127.0.0.1:40000/", "auth0|507f1f77bcf86cd799439011", "Ada Lovelace", "ada@example.com", time.Now().Unix(),
	})
	require.NoError(tb, err)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Add("Vary", "Cookie")
		cookie, err := r.Cookie(name)
		var s session
		if err != nil || codec.Decode(name, cookie.Value, &s) != nil {
			http.Redirect(w, r, "/signin", http.StatusSeeOther)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), key{}, &s))
		_, _ = io.WriteString(w, r.Context().Value(key{}).(*session).Subject)
	}), []*http.Cookie{{Name: name, Value: value}}
}

// db counts what is read.
type db struct {
	tokenkv.DB

	gets atomic.Int64
}

func (d *db) Get(ctx context.Context, key string) (tokenkv.Row, error) {
	d.gets.Add(1)
	return d.DB.Get(ctx, key)
}

// ours returns a handler behind Require, and the cookies of a person who signed
// in there.
func ours(tb testing.TB, checkStore time.Duration) (http.Handler, []*http.Cookie, *db) {
	tb.Helper()
	server := piecesauthtest.NewServer(piecesauthtest.Options{RedirectURLs: []string{appURL + "/auth/callback"}})
	tb.Cleanup(server.Close)
	config := server.Config()
	config.ResponseMode = piecesauth.ResponseModeQuery
	auth, err := piecesauth.New(config)
	require.NoError(tb, err)
	sealer, err := seal.New(make([]byte, 32))
	require.NoError(tb, err)
	rows := &db{DB: new(tokenkv.MemoryDB)}
	tokens, err := tokenkv.New(rows, tokenkv.Options{Sealer: sealer})
	require.NoError(tb, err)
	h, err := web.New(web.Config{Auth: auth, URL: appURL, Sealer: sealer, Tokens: tokens.Store, CheckStore: checkStore})
	require.NoError(tb, err)

	begun := serve(h, "/auth/signin")
	values, err := server.Browser().SignIn(tb.Context(), begun.Header.Get("Location"))
	require.NoError(tb, err)
	done := serve(h, "/auth/callback?"+values.Encode(), begun.Cookies()...)
	require.Equal(tb, http.StatusSeeOther, done.StatusCode)
	var cookies []*http.Cookie
	for _, cookie := range done.Cookies() { // the attempt's is gone soon
		if !strings.Contains(cookie.Name, "-a-") {
			cookies = append(cookies, cookie)
		}
	}
	return h.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := h.Session(r)
		_, _ = io.WriteString(w, s.Subject)
	})), cookies, rows
}

func request(target string, cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, target, nil)
	r.Header.Set("Accept", "text/html")
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	return r
}

func serve(h http.Handler, target string, cookies ...*http.Cookie) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(target, cookies...))
	return w.Result()
}

// discard is an answer that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func run(b *testing.B, h http.Handler, cookies []*http.Cookie) {
	b.Helper()
	require.Equal(b, http.StatusOK, serve(h, "/", cookies...).StatusCode)
	r, w := request("/", cookies...), discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}

// handlers are what is compared, by name.
var handlers = []struct {
	name string
	make func(testing.TB) (http.Handler, []*http.Cookie)
}{
	{"rival=securecookie,gob", func(tb testing.TB) (http.Handler, []*http.Cookie) { return rival(tb, false) }},
	{"rival=securecookie,json", func(tb testing.TB) (http.Handler, []*http.Cookie) { return rival(tb, true) }},
	{"ours,CheckStore=1m", func(tb testing.TB) (http.Handler, []*http.Cookie) {
		h, cookies, _ := ours(tb, time.Minute)
		return h, cookies
	}},
	{"ours,CheckStore=0", func(tb testing.TB) (http.Handler, []*http.Cookie) { h, cookies, _ := ours(tb, 0); return h, cookies }},
}

func BenchmarkRequire(b *testing.B) {
	for _, c := range handlers {
		b.Run(c.name, func(b *testing.B) { h, cookies := c.make(b); run(b, h, cookies) })
	}
	// What one Get costs of the line above.
	b.Run("one Load alone", func(b *testing.B) {
		_, _, rows := ours(b, 0)
		sealer, err := seal.New(make([]byte, 32))
		require.NoError(b, err)
		tokens, err := tokenkv.New(rows, tokenkv.Options{Sealer: sealer})
		require.NoError(b, err)
		store := tokens.Store("x")
		token := &piecesauth.Token{AccessToken: strings.Repeat("a", 1000), RefreshToken: "r", Expiry: time.Now().Add(time.Hour)}
		require.NoError(b, store.Update(b.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return token, nil }))
		b.ReportAllocs()
		for b.Loop() {
			_, _ = store.Load(b.Context())
		}
	})
}

// TestReads: with CheckStore a minute few requests read the database; by default
// each reads it once.
func TestReads(t *testing.T) {
	for checkStore, want := range map[time.Duration]int64{0: 10, time.Minute: 1} {
		t.Run(fmt.Sprint(checkStore), func(t *testing.T) {
			h, cookies, rows := ours(t, checkStore)
			before := rows.gets.Load()
			for range 10 {
				require.Equal(t, http.StatusOK, serve(h, "/", cookies...).StatusCode)
			}
			require.Equal(t, want, rows.gets.Load()-before, "reads of the database")
		})
	}
}
