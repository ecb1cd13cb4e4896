package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
)

// tokenLifetime is that of one person's tokens: short, so that a test can wait
// for the end of one, and long enough for requests at once not to see two.
const tokenLifetime = 16 * time.Second

// database returns the address of one that run.sh starts.
func database(t *testing.T, variable string) string {
	t.Helper()
	address := os.Getenv(variable)
	require.NotEmpty(t, address, "%s is the address of a database: run.sh starts one", variable)
	return address
}

// webApp is examples/webapp: two processes, which share keys and a database, and
// answer in turn behind one address.
type webApp struct {
	t        *testing.T // what the replicas live as long as
	provider *provider
	url      string
	program  string
	args     []string
	proxy    http.Transport
	pictures bool // of one are enough

	mu       sync.Mutex
	replicas [2]*process
	hosts    [2]string // where each of them listens
	turn     int
	answers  []answer
}

// answer is one of a replica's.
type answer struct {
	path    string
	replica int
}

func newKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

func newWebApp(t *testing.T, program, database string, mode piecesauth.ResponseMode) (app *webApp, key string) {
	t.Helper()
	app = &webApp{
		t:        t,
		provider: oidcProviderWith(t, "CAROLS_TOKEN_TTL="+tokenLifetime.String()[:2]),
		program:  program,
		proxy:    http.Transport{DisableKeepAlives: true},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the provider did: %+v", app.provider.seen(t))
		}
	})
	front := httptest.NewServer(http.HandlerFunc(app.serve))
	t.Cleanup(front.Close)
	// To the browser, localhost is another site than 127.0.0.1, where the
	// provider is: cookies that a form_post needs have to be SameSite=None.
	app.url = strings.Replace(front.URL, "127.0.0.1", "localhost", 1)
	app.args = []string{
		"-addr", "127.0.0.1:0", "-url", app.url, "-database", database, "-response-mode", string(mode), "-client-id", clientID,
		"-base-url", app.provider.issuer, "-issuer", app.provider.issuer, "-audience", "https://api.example.com/",
	}
	key = newKey()
	for i := range app.replicas {
		app.start(i, key)
	}
	return app, key
}

// start starts a replica, in place of the one before, if any.
func (a *webApp) start(i int, keys ...string) {
	t := a.t
	t.Helper()
	if a.replicas[i] != nil {
		a.replicas[i].kill()
	}
	cmd := exec.CommandContext(t.Context(), a.program, a.args...)
	cmd.Env = append(cmd.Environ(), "WEBAPP_KEYS="+strings.Join(keys, ","))
	replica := start(t, cmd)
	line := replica.line(t, "Open ")
	_, host, found := strings.Cut(strings.TrimSuffix(line, ")"), "listening on http://")
	require.True(t, found, line)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replicas[i], a.hosts[i] = replica, host
}

func (a *webApp) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/favicon.ico" { // it would spoil the turns
		http.NotFound(w, r)
		return
	}
	(&httputil.ReverseProxy{
		Transport: a,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.Out.URL.Host = "replica" // RoundTrip decides which
			r.Out.Host = r.In.Host
		},
	}).ServeHTTP(w, r)
}

// RoundTrip asks the replica whose turn it is, and the other one if that is not
// there.
func (a *webApp) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	for try := 0; ; try++ {
		a.mu.Lock()
		i := a.turn % len(a.hosts)
		a.turn++
		host := a.hosts[i]
		a.mu.Unlock()
		out := r.Clone(r.Context())
		out.URL.Host = host
		out.Body = io.NopCloser(bytes.NewReader(body))
		response, err := a.proxy.RoundTrip(out)
		if err == nil {
			a.mu.Lock()
			a.answers = append(a.answers, answer{r.URL.Path, i})
			a.mu.Unlock()
		} else if errors.Is(err, syscall.ECONNREFUSED) && try == 0 {
			continue
		}
		return response, err
	}
}

// answered returns how many answers each replica has sent since it was last
// asked, and which was the last to answer for a path.
func (a *webApp) answered() (by [2]int, last map[string]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last = map[string]int{}
	for _, answer := range a.answers {
		by[answer.replica]++
		last[answer.path] = answer.replica
	}
	a.answers = nil
	return by, last
}

// signIn signs a person in by the application's start page.
func (a *webApp) signIn(tab context.Context, t *testing.T, name string) {
	t.Helper()
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(a.url+"/"), chromedp.Click(css(`#signin`))))
	require.NoError(t, enterAs(tab, name))
	shown, err := chromedp.Run(tab, chromedp.Text(css(`#name`), chromedp.NodeVisible))
	require.NoError(t, err)
	require.Equal(t, name+" of e2e", shown)
}

// knows checks that both replicas know the person, and have a token for the API.
func (a *webApp) knows(tab context.Context, t *testing.T, name string) {
	t.Helper()
	for range a.replicas {
		require.NoError(t, chromedp.Do(tab, chromedp.Navigate(a.url+"/account")))
		body := bodyText(tab, t)
		assert.Contains(t, body, "Signed in as "+name+" of e2e.")
		assert.Contains(t, body, "Your subject is "+name+".")
	}
}

// bodyText returns what the page says. It holds on to no node of a page before,
// as the queries of chromedp do for a moment.
func bodyText(tab context.Context, t *testing.T) string {
	t.Helper()
	text, err := chromedp.Run(tab, chromedp.Evaluate[string](`document.body.innerText`))
	require.NoError(t, err)
	return text
}

// signOut clicks the button, here and at the provider.
func (a *webApp) signOut(tab context.Context, t *testing.T) {
	t.Helper()
	for _, button := range []css{`form[action="/auth/signout"] button`, `button[name=logout][value=yes]`} {
		_, err := chromedp.RunResponse(tab, chromedp.Click(button, chromedp.NodeVisible)) // waits for the page that follows
		require.NoError(t, err)
	}
	require.NoError(t, chromedp.Do(tab, chromedp.WaitVisible(css(`#signin`))))
	where, err := chromedp.Run(tab, chromedp.Location())
	require.NoError(t, err)
	assert.Equal(t, a.url+"/", where)
}

// cookies are those that the tab would send to the application.
func (a *webApp) cookies(tab context.Context, t *testing.T) string {
	t.Helper()
	got, err := chromedp.Call(tab, network.GetCookies, network.GetCookiesParams{URLs: []string{a.url + "/"}})
	require.NoError(t, err)
	var all []string
	for _, cookie := range got.Cookies {
		all = append(all, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(all, "; ")
}

// get asks for /account as a program with these cookies.
func (a *webApp) get(ctx context.Context, cookies string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/account", nil)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Cookie", cookies)
	response, err := a.proxy.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// picture keeps pictures of the page.
func (a *webApp) picture(tab context.Context, t *testing.T, name string) {
	t.Helper()
	if a.pictures {
		shots(tab, t, name)
	}
}

// seen is what the provider's token endpoint did, by person.
type seen struct {
	Refreshed map[string]int   `json:"refreshed"`
	Expires   map[string]int64 `json:"expires"`
	Refused   []string         `json:"refused"`
}

func (p *provider) seen(t *testing.T) (s seen) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, p.issuer+"seen", nil)
	require.NoError(t, err)
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.NoError(t, json.NewDecoder(response.Body).Decode(&s))
	return s
}
