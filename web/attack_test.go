package web_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/web"
)

// TestSignInsAreFew: a site that sends the browser to the sign-in again and
// again, where the authorization server asks nothing, fills it with no cookies.
func TestSignInsAreFew(t *testing.T) {
	server := newServer(t)
	for name, deliver := range map[string]func(*client, url.Values) *http.Response{"form_post": (*client).post, "query": (*client).query} {
		t.Run(name, func(t *testing.T) {
			edit := func(*setup) {}
			if name == "query" {
				edit = byQuery
			}
			c := newClient(t, server, newApp(t, server, edit, withTokens(new(stores))))
			for range 4 {
				var begun []url.Values
				for range 5 {
					begun = append(begun, c.begin("/auth/signin"))
				}
				for _, values := range begun {
					require.Equal(t, http.StatusSeeOther, deliver(c, values).StatusCode)
				}
			}
			assert.LessOrEqual(t, len(c.named("-seen-")), 6)
			assert.Contains(t, c.text("/account"), "Ada Lovelace")
			c.get("/auth/signin")
			assert.Len(t, c.named("-seen-"), 1)
			assert.Contains(t, c.text("/account"), "Ada Lovelace", "to begin a sign-in signs nobody out")
		})
	}
}

// TestWebSocket: SameSite takes a neighbour for the same site, and what opens a
// WebSocket is a GET.
func TestWebSocket(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server))
	c.signIn()
	socket := headers{"Connection": "Upgrade", "Sec-Fetch-Mode": "websocket", "Sec-Fetch-Dest": "websocket", "Accept": ""}
	for name, test := range map[string]struct {
		upgrade, site, origin string
		status                int
	}{
		"of our own":                      {"websocket", "same-origin", appURL, 200},
		"of our own, in an older browser": {"websocket", "", appURL, 200},
		"a neighbour's":                   {"websocket", "same-site", "https://other.example.com", 403},
		"a neighbour's, in an older one":  {"WebSocket", "", "https://other.example.com", 403},
		"of a program":                    {"websocket", "", "", 200},
		"not one":                         {"", "same-site", "https://other.example.com", 200},
	} {
		t.Run(name, func(t *testing.T) {
			socket["Upgrade"], socket["Sec-Fetch-Site"], socket["Origin"] = test.upgrade, test.site, test.origin
			assert.Equal(t, test.status, c.request(http.MethodGet, "/account", nil, socket).StatusCode)
		})
	}
}

// TestNoLoop: where a sign-in doesn't help, nobody is sent round and round
// between the page and the authorization server, which may ask nothing.
func TestNoLoop(t *testing.T) {
	server := newServer(t)
	revoked := func(context.Context, *web.Session) (bool, error) { return true, nil }
	for name, test := range map[string]struct {
		page string
		edit func(*setup)
	}{
		"a session is over at once": {"/account", func(s *setup) { s.web.Revoked = revoked }},
		"an API refuses all tokens": {"/api", func(s *setup) {
			s.auth.Scopes = piecesauth.Scopes{"openid", "profile"} // no refresh token
			s.web.Tokens = new(stores).Store
		}},
	} {
		for mode, deliver := range map[string]func(*client, url.Values) *http.Response{"form_post": (*client).post, "query": (*client).query} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				edit := func(*setup) {}
				if mode == "query" {
					edit = byQuery
				}
				c := newClient(t, server, newApp(t, server, edit, test.edit))
				server.FailFunc(piecesauthtest.UserInfo, func(*piecesauthtest.Request) piecesauthtest.Fault {
					return piecesauthtest.Fault{Status: http.StatusUnauthorized}
				})
				defer server.FailFunc(piecesauthtest.UserInfo, nil)
				rounds, response := 0, c.get(test.page)
				for response.StatusCode == http.StatusSeeOther && rounds < 20 {
					rounds++
					deliver(c, c.begin(response.Header.Get("Location")))
					response = c.get(test.page)
				}
				assert.Equal(t, 3, rounds)
				assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
				body := text(t, response)
				assert.Contains(t, body, "Signing in did not work")
				assert.Contains(t, body, `href="`+appURL+"/auth/signin?next="+url.QueryEscape(test.page)+`"`, "the person can try again")
			})
		}
	}
}

// TestNoLoopManyTabs: a browser that opens many pages at once signs in in each.
func TestNoLoopManyTabs(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server))
	var begun []url.Values
	for range 5 {
		response := c.get("/account")
		require.Equal(t, http.StatusSeeOther, response.StatusCode)
		begun = append(begun, c.begin(response.Header.Get("Location")))
	}
	for _, values := range begun {
		require.Equal(t, http.StatusSeeOther, c.post(values).StatusCode)
		assert.Equal(t, http.StatusOK, c.get("/account").StatusCode)
	}
}

// TestPostLost: a form that was sent after the session had ended is not carried
// out, and its person is told so.
func TestPostLost(t *testing.T) {
	server := newServer(t)
	c := newClient(t, server, newApp(t, server))
	response := c.request(http.MethodPost, "/account?a=b", url.Values{"text": {"of the form"}}, nil)
	assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
	assert.Empty(t, response.Header.Get("Location"))
	body := text(t, response)
	assert.Contains(t, body, "You are not signed in")
	assert.Contains(t, body, "What you sent was not carried out")
	assert.Contains(t, body, `href="`+appURL+`/auth/signin?next=%2Faccount%3Fa%3Db"`)
	assert.NotContains(t, body, "of the form")
}

// TestMixedCookies: when a session was last used is sealed for that session. A
// later time of another doesn't prolong it.
func TestMixedCookies(t *testing.T) {
	server := newServer(t)
	app := newApp(t, server)
	one, two := newClient(t, server, app), newClient(t, server, app)
	one.signIn()
	two.signIn()
	seen := *one.named("-seen-")[0] //nolint:gosec // G124: no browser sees it
	seen.Value = two.named("-seen-")[0].Value
	assert.Equal(t, "hello Ada Lovelace", one.text("/"))
	one.cookies[seen.Name] = &seen
	assert.Equal(t, "hello stranger", one.text("/"))
}
