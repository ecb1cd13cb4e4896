package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
)

// TestWebApp: two processes of examples/webapp, which share keys and a
// database, answer in turn behind one address.
func TestWebApp(t *testing.T) {
	program := build(t, "../examples/webapp")
	postgres, redis := database(t, "FLEET_POSTGRES"), database(t, "FLEET_REDIS")
	sqlite := filepath.Join(t.TempDir(), "webapp.db")
	for _, c := range []struct {
		name, database string
		mode           piecesauth.ResponseMode
	}{
		{"PostgreSQL", postgres, piecesauth.ResponseModeFormPost},
		{"PostgreSQL", postgres, piecesauth.ResponseModeQuery},
		{"Redis", redis, piecesauth.ResponseModeFormPost},
		{"Redis", redis, piecesauth.ResponseModeQuery},
		{"SQLite", sqlite, piecesauth.ResponseModeFormPost},
	} {
		t.Run(c.name+"/"+string(c.mode), func(t *testing.T) {
			t.Parallel()
			app, key := newWebApp(t, program, c.database, c.mode)
			app.pictures = c.database == sqlite
			// Carol's token expires while the others are busy.
			tab := newTab(t)
			app.signIn(tab, t, "carol")
			app.knows(tab, t, "carol")
			carol := app.cookies(tab, t)

			t.Run("one person", func(t *testing.T) { app.testOnePerson(t) })
			t.Run("two tabs", func(t *testing.T) { app.testTwoTabs(t) })
			people := map[string]context.Context{ada: newTab(t), "grace": newTab(t)}
			t.Run("two people", func(t *testing.T) { app.testTwoPeople(t, people) })
			t.Run("a replica killed", func(t *testing.T) { app.testKilled(t, people, key) })
			t.Run("keys rotated", func(t *testing.T) { app.testKeys(t, people, key) })
			t.Run("signed out", func(t *testing.T) { app.testSignedOut(people[ada], t) })
			t.Run("token expired", func(t *testing.T) { app.testExpired(t, carol, "carol") })
			assert.Empty(t, app.provider.seen(t).Refused, "no code and no refresh token was used twice")
		})
	}
}

// testOnePerson: the whole journey of one, who then would rather not sign in.
func (a *webApp) testOnePerson(t *testing.T) {
	tab := newTab(t)
	a.answered()
	a.signIn(tab, t, ada)
	_, by := a.answered()
	require.Contains(t, by, "/auth/signin")
	require.Contains(t, by, "/auth/callback")
	assert.NotEqual(t, by["/auth/signin"], by["/auth/callback"], "one replica began the sign-in, the other completed it")

	a.knows(tab, t, ada)
	a.picture(tab, t, "webapp-account")

	// A page elsewhere can't sign the person out.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><form method="post" action="` + a.url + `/auth/signout"><button>Win</button></form>`))
	}))
	defer elsewhere.Close()
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(elsewhere.URL)))
	response, err := chromedp.RunResponse(tab, chromedp.Click(css(`button`)))
	require.NoError(t, err)
	assert.Equal(t, int64(http.StatusForbidden), response.Status)
	a.picture(tab, t, "webapp-cross-origin")
	a.knows(tab, t, ada)

	// Their own click does: here, and at the provider.
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(a.url+"/")))
	a.signOut(tab, t)
	a.picture(tab, t, "webapp-signed-out")
	require.NoError(t, chromedp.Do(tab,
		chromedp.Click(css(`#signin`)),
		chromedp.WaitVisible(css(`input[name=login]`)), // the provider asks who it is
		// And here is someone who would rather not.
		chromedp.Click(css(`a[href$="/abort"]`)),
		chromedp.WaitVisible(chromedp.Search(`//*[contains(text(), "Try again")]`)),
	))
	assert.Contains(t, bodyText(tab, t), "canceled")
	a.picture(tab, t, "webapp-canceled")
	// And then would.
	require.NoError(t, chromedp.Do(tab, chromedp.Click(css(`main a`)), chromedp.WaitVisible(css(`input[name=login]`))))
}

// testTwoTabs: one person has a sign-in under way in both at once.
func (a *webApp) testTwoTabs(t *testing.T) {
	first := newTab(t)
	tabs := []context.Context{first, anotherTab(first, t)}
	for _, tab := range tabs {
		require.NoError(t, chromedp.Do(tab, chromedp.Navigate(a.url+"/account"), chromedp.WaitVisible(css(`input[name=login]`))))
	}
	// One tab after the other: the provider takes two answers at one moment for
	// those of two sessions.
	for _, tab := range slices.Backward(tabs) {
		require.NoError(t, a.provider.enter(tab))
		require.NoError(t, chromedp.Do(tab, chromedp.WaitVisible(css(`#name`))))
		assert.Contains(t, bodyText(tab, t), "Your subject is ada.", "each tab comes back to its page")
	}
	for _, tab := range tabs {
		a.knows(tab, t, ada)
	}
	var sessions []string
	for cookie := range strings.SplitSeq(a.cookies(first, t), "; ") {
		if name, _, _ := strings.Cut(cookie, "="); !strings.Contains(name, "-a-") && !strings.Contains(name, "-seen-") {
			sessions = append(sessions, name)
		}
	}
	assert.Len(t, sessions, 1, "a browser has one session")
}

// testTwoPeople: each in a profile of their own, and each sees their own name.
func (a *webApp) testTwoPeople(t *testing.T, people map[string]context.Context) {
	for name, tab := range people {
		a.signIn(tab, t, name)
	}
	for name, tab := range people {
		a.knows(tab, t, name)
	}
}

// testKilled: what one replica knew, the other knows.
func (a *webApp) testKilled(t *testing.T, people map[string]context.Context, key string) {
	a.replicas[0].kill()
	a.answered()
	for name, tab := range people {
		a.knows(tab, t, name)
	}
	a.signIn(newTab(t), t, "joan")
	by, _ := a.answered()
	assert.Zero(t, by[0])
	a.start(0, key)
	a.answered()
	a.knows(people[ada], t, ada)
	by, _ = a.answered()
	assert.Equal(t, [2]int{1, 1}, by, "both answer again")
}

// testKeys: a new key comes to one replica after the other, first behind the old
// one, then before it. Nobody is signed out, nor stopped while signing in.
func (a *webApp) testKeys(t *testing.T, people map[string]context.Context, old string) {
	underway := newTab(t)
	require.NoError(t, chromedp.Do(underway, chromedp.Navigate(a.url+"/account"), chromedp.WaitVisible(css(`input[name=login]`))))

	next := newKey()
	for _, keys := range [][]string{{old, next}, {next, old}} {
		for i := range a.replicas {
			a.start(i, keys...)
			for name, tab := range people {
				a.knows(tab, t, name)
			}
		}
	}
	require.NoError(t, enterAs(underway, "joan"))
	require.NoError(t, chromedp.Do(underway, chromedp.WaitVisible(css(`#name`))))
	a.knows(underway, t, "joan")
}

// testSignedOut: what happens in one tab is seen in the other, by both replicas,
// and the back button shows nothing.
func (a *webApp) testSignedOut(tab context.Context, t *testing.T) {
	other := anotherTab(tab, t)
	a.knows(other, t, ada)
	a.knows(tab, t, ada)
	copied := a.cookies(tab, t)
	a.signOut(tab, t)

	const status = `fetch('/account').then(r => r.status)`
	for range a.replicas {
		got, err := chromedp.Run(other, chromedp.Evaluate[int](status, chromedp.EvalAwaitPromise))
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, got, "a script of the other tab")
		got, _, err = a.get(tab, copied)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, got, "whoever copied the cookies")
	}
	require.NoError(t, chromedp.Do(other, chromedp.Reload(), chromedp.WaitVisible(css(`input[name=login]`))))

	// Back, to the page that was signed in.
	entries, err := chromedp.Run(tab, chromedp.NavigationEntries())
	require.NoError(t, err)
	var back int64
	for _, entry := range entries.Entries[:entries.CurrentIndex] {
		if entry.URL == a.url+"/account" {
			back = entry.ID
		}
	}
	require.NotZero(t, back)
	require.NoError(t, chromedp.Do(tab, chromedp.NavigateToHistoryEntry(back)))
	assert.NotContains(t, bodyText(tab, t), "ada")
	require.NoError(t, chromedp.Do(tab, chromedp.WaitVisible(css(`input[name=login]`))))
}

// testExpired: fifty requests at once find that the token has expired. It is
// refreshed once, by one replica, for all of them.
func (a *webApp) testExpired(t *testing.T, cookies, name string) {
	before := a.provider.seen(t)
	require.NotZero(t, before.Expires[name])
	// The application counts from when it got the token, which is later.
	expires := time.Unix(before.Expires[name], 0).Add(3 * time.Second)
	<-time.After(time.Until(expires))
	a.answered()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			status, body, err := a.get(t.Context(), cookies)
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
			assert.Contains(t, body, "Your subject is "+name+".")
		})
	}
	all.Wait()
	by, _ := a.answered()
	assert.Equal(t, [2]int{25, 25}, by)
	assert.Equal(t, 1, a.provider.seen(t).Refreshed[name]-before.Refreshed[name])
}
