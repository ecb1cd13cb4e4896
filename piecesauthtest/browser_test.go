package piecesauthtest_test

import (
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
