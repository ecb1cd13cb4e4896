package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWebApp: two processes of examples/webapp, which share keys and a
// database, answer in turn behind one address.
func TestWebApp(t *testing.T) {
	p := oidcProvider(t)

	type answer struct{ path, replica string }
	var (
		mu       sync.Mutex
		answers  []answer
		replicas []*url.URL
	)
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{DisableKeepAlives: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			mu.Lock()
			defer mu.Unlock()
			to := replicas[len(answers)%len(replicas)]
			answers = append(answers, answer{r.In.URL.Path, to.Host})
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" { // it would spoil the turns
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	// To the browser, localhost is another site than 127.0.0.1, where the
	// provider is: cookies that a form_post needs have to be SameSite=None.
	app := strings.Replace(front.URL, "127.0.0.1", "localhost", 1)

	key := make([]byte, 32)
	_, _ = rand.Read(key)
	program := build(t, "../examples/webapp")
	database := filepath.Join(t.TempDir(), "webapp.db")
	for range 2 {
		cmd := exec.CommandContext(t.Context(), program, "-addr", "127.0.0.1:0", "-url", app,
			"-base-url", p.issuer, "-issuer", p.issuer, "-client-id", clientID, "-audience", "https://api.example.com/",
			"-database", database)
		cmd.Env = append(cmd.Environ(), "WEBAPP_KEYS="+base64.StdEncoding.EncodeToString(key))
		line := start(t, cmd).line(t, "Open ")
		_, address, found := strings.Cut(strings.TrimSuffix(line, ")"), "listening on ")
		require.True(t, found, line)
		replica, err := url.Parse(address)
		require.NoError(t, err)
		replicas = append(replicas, replica)
	}

	tab := newTab(t)
	// Signing in, from a page that needs it.
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(app+"/"), chromedp.Click(css(`#signin`))))
	require.NoError(t, p.enter(tab))
	name, err := chromedp.Run(tab, chromedp.Text(css(`#name`), chromedp.NodeVisible))
	require.NoError(t, err)
	assert.Equal(t, "ada of e2e", name)

	mu.Lock()
	assert.Len(t, replicas, 2)
	by := map[string]string{}
	for _, a := range answers {
		by[a.path] = a.replica
	}
	mu.Unlock()
	require.Contains(t, by, "/auth/signin")
	require.Contains(t, by, "/auth/callback")
	assert.NotEqual(t, by["/auth/signin"], by["/auth/callback"], "one replica began the sign-in, the other completed it")

	// Both know the person.
	for range 2 {
		require.NoError(t, chromedp.Do(tab, chromedp.Navigate(app+"/account")))
		body, err := chromedp.Run(tab, chromedp.Text(css(`body`)))
		require.NoError(t, err)
		assert.Contains(t, body, "Your subject is ada.")
	}

	// A page elsewhere can't sign the person out.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><form method="post" action="` + app + `/auth/signout"><button>Win</button></form>`))
	}))
	defer elsewhere.Close()
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(elsewhere.URL)))
	response, err := chromedp.RunResponse(tab, chromedp.Click(css(`button`)))
	require.NoError(t, err)
	assert.Equal(t, int64(http.StatusForbidden), response.Status)

	// Their own click does: here, and at the provider.
	require.NoError(t, chromedp.Do(tab,
		chromedp.Navigate(app+"/"),
		chromedp.WaitVisible(css(`#name`)),
		chromedp.Click(css(`form[action="/auth/signout"] button`)),
		chromedp.Click(css(`button[name=logout][value=yes]`), chromedp.NodeVisible),
		chromedp.WaitVisible(css(`#signin`)),
	))
	where, err := chromedp.Run(tab, chromedp.Location())
	require.NoError(t, err)
	assert.Equal(t, app+"/", where)
	require.NoError(t, chromedp.Do(tab,
		chromedp.Click(css(`#signin`)),
		chromedp.WaitVisible(css(`input[name=login]`)), // the provider asks who it is
		// And here is someone who would rather not.
		chromedp.Click(css(`a[href$="/abort"]`)),
		chromedp.WaitVisible(chromedp.Search(`//*[contains(text(), "Try again")]`)),
	))
	body, err := chromedp.Run(tab, chromedp.Text(css(`body`)))
	require.NoError(t, err)
	assert.Contains(t, body, "canceled")
}
