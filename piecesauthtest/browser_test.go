package piecesauthtest_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func TestBrowserDelivers(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	var got []string
	var form url.Values
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			assert.NoError(t, r.ParseForm())
			form = r.Form
			var names []string
			for _, c := range r.Cookies() {
				names = append(names, c.Name)
			}
			got = append(got, r.Method+" "+strings.Join(names, ","))
			http.Redirect(w, r, "/home", http.StatusSeeOther)
			return
		}
		if r.URL.Path == "/home" {
			_, _ = io.WriteString(w, "welcome")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "none", Value: "1", Path: "/", SameSite: http.SameSiteNoneMode, Secure: true})
		http.SetCookie(w, &http.Cookie{Name: "insecure", Value: "1", Path: "/", SameSite: http.SameSiteNoneMode})
		http.SetCookie(w, &http.Cookie{Name: "lax", Value: "1", Path: "/", SameSite: http.SameSiteLaxMode})
		http.SetCookie(w, &http.Cookie{Name: "strict", Value: "1", Path: "/", SameSite: http.SameSiteStrictMode})
		http.SetCookie(w, &http.Cookie{Name: "elsewhere", Value: "1", Path: "/other", SameSite: http.SameSiteLaxMode})
		http.Redirect(w, r, authorizeURL(server, values{
			"redirect_uri": "http://" + r.Host + "/callback", "response_mode": r.URL.Query().Get("mode"),
		}), http.StatusFound)
	}))
	defer app.Close()

	for mode, want := range map[string]string{"form_post": "POST none", "query": "GET none,lax"} {
		got = nil
		browser := server.Browser()
		page, err := browser.Open(t.Context(), app.URL+"/login?mode="+mode)
		require.NoError(t, err)
		assert.Equal(t, piecesauthtest.Page{URL: app.URL + "/home", Status: 200, Body: "welcome"}, *page)
		assert.Equal(t, []string{want}, got, mode)
		assert.NotEmpty(t, form.Get("code"))
		assert.Equal(t, "the state", form.Get("state"))

		logins := server.Count(piecesauthtest.Login)
		_, err = browser.Open(t.Context(), app.URL+"/login?mode="+mode)
		require.NoError(t, err)
		assert.Equal(t, logins, server.Count(piecesauthtest.Login), "signed in already")
	}

	page, err := server.Browser().Open(t.Context(), authorizeURL(server, values{
		"redirect_uri": app.URL + "/home", "response_mode": "fragment",
	}))
	require.NoError(t, err)
	assert.Contains(t, page.URL, app.URL+"/home#")
	assert.Contains(t, page.URL, "state=the+state")

	_, err = server.Browser().Open(t.Context(), authorizeURL(server, values{"redirect_uri": "http://127.0.0.1:1/nobody"}))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "state")
}

// An application with a page that has a button, over TLS.
func newApp(t *testing.T, server *piecesauthtest.Server) (app *httptest.Server, posts *[]string) {
	t.Helper()
	posts = &[]string{}
	mux := http.NewServeMux()
	note := func(r *http.Request) {
		var cookies []string
		for _, c := range r.Cookies() {
			cookies = append(cookies, c.Name)
		}
		*posts = append(*posts, strings.Join([]string{
			r.Method, r.URL.Path, r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site"), strings.Join(cookies, ","),
		}, " "))
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		note(r)
		http.SetCookie(w, &http.Cookie{Name: "strict", Value: "1", Path: "/", Secure: true, SameSite: http.SameSiteStrictMode})
		http.SetCookie(w, &http.Cookie{Name: "none", Value: "1", Path: "/", Secure: true, SameSite: http.SameSiteNoneMode})
		http.Redirect(w, r, authorizeURL(server, values{
			"redirect_uri": "https://" + r.Host + "/callback", "response_mode": "form_post",
		}), http.StatusFound)
	})
	mux.HandleFunc("POST /callback", func(w http.ResponseWriter, r *http.Request) {
		note(r)
		http.Redirect(w, r, "/home", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /home", func(w http.ResponseWriter, r *http.Request) {
		note(r)
		_, _ = io.WriteString(w, `<form method="post" action="/signout"><button>Sign out</button></form>`)
	})
	mux.HandleFunc("POST /signout", func(w http.ResponseWriter, r *http.Request) {
		note(r)
		assert.Equal(t, "now", r.PostFormValue("button"))
		_, _ = io.WriteString(w, "bye")
	})
	mux.Handle("GET /start", http.RedirectHandler("/home", http.StatusFound))
	app = httptest.NewTLSServer(mux)
	t.Cleanup(app.Close)
	return app, posts
}

func TestBrowserTrustsAndPosts(t *testing.T) {
	for _, secure := range []bool{false, true} {
		server := newServer(t, piecesauthtest.Options{TLS: secure})
		app, seen := newApp(t, server)
		server.Change(func(o *piecesauthtest.Options) {
			o.RedirectURLs = []string{app.URL + "/callback"}
			o.StrictRedirects = true
		})
		browser := server.Browser()
		_, err := browser.Post(t.Context(), app.URL+"/signout", nil)
		require.ErrorContains(t, err, "no page is open")
		browser.Trust(app.Certificate())

		page, err := browser.Open(t.Context(), app.URL)
		require.NoError(t, err)
		assert.Equal(t, app.URL+"/home", page.URL)
		page, err = browser.Post(t.Context(), "/signout", url.Values{"button": {"now"}})
		require.NoError(t, err)
		assert.Equal(t, "bye", page.Body)
		assert.Equal(t, []string{
			"GET /  none ",
			"POST /callback null cross-site none",
			"GET /home  cross-site none",
			"POST /signout " + app.URL + " same-origin strict,none",
		}, *seen)

		*seen = nil
		_, err = browser.Open(t.Context(), app.URL+"/start")
		require.NoError(t, err)
		assert.Equal(t, []string{"GET /home  none strict,none"}, *seen, "where a typed address leads")

		// Somebody else's page posts there too.
		evil := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(evil.Close)
		*seen = nil
		_, err = browser.Open(t.Context(), evil.URL)
		require.NoError(t, err)
		_, err = browser.Post(t.Context(), app.URL+"/signout", url.Values{"button": {"now"}})
		require.NoError(t, err)
		assert.Equal(t, []string{"POST /signout null cross-site none"}, *seen)
	}
}

func TestBrowserTrustsNobodyElse(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	app, _ := newApp(t, server)
	_, err := server.Browser().Open(t.Context(), app.URL)
	var unknown *tls.CertificateVerificationError
	require.ErrorAs(t, err, &unknown)

	secure := newServer(t, piecesauthtest.Options{TLS: true})
	browser := server.Browser()
	browser.Trust(secure.Certificate())
	page, err := browser.Open(t.Context(), secure.URL+"/v2/logout")
	require.NoError(t, err)
	assert.Contains(t, page.Body, "Signed out")
	assert.Nil(t, server.Certificate())
}
