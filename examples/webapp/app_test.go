package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// TestMain runs the program itself where a test has started it.
func TestMain(m *testing.M) {
	if os.Getenv("WEBAPP_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func newKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

func program(t *testing.T, keys string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...) //nolint:gosec // G702: the test itself
	cmd.Env = append(os.Environ(), "WEBAPP_TEST_MAIN=1", "WEBAPP_KEYS="+keys)
	return cmd
}

// start returns where the program can be opened.
func start(t *testing.T, keys string, args ...string) *url.URL {
	t.Helper()
	cmd := program(t, keys, append(args, "-addr", "127.0.0.1:0", "-database", filepath.Join(t.TempDir(), "webapp.db"))...)
	return started(t, cmd)
}

func started(t *testing.T, cmd *exec.Cmd) *url.URL {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "it ended; see above why")
	_, address, _ := strings.Cut(strings.TrimSuffix(line, ")\n"), "listening on ")
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u
}

// TestReplicas: two processes that share keys and a database answer in turn, to
// two people. WEBAPP_TEST_DATABASES lists addresses besides SQLite's, with spaces
// between.
func TestReplicas(t *testing.T) {
	databases := append(strings.Fields(os.Getenv("WEBAPP_TEST_DATABASES")), filepath.Join(t.TempDir(), "webapp.db"))
	for _, database := range databases {
		scheme, _, _ := strings.Cut(database, "://")
		t.Run(filepath.Base(scheme), func(t *testing.T) { testReplicas(t, database) })
	}
}

func testReplicas(t *testing.T, database string) {
	t.Helper()
	var replicas []*url.URL
	var turn atomic.Int64
	front := httptest.NewServer(&httputil.ReverseProxy{
		Transport: &http.Transport{DisableKeepAlives: true},
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(replicas[turn.Add(1)%2]) },
	})
	defer front.Close()
	ada, grace := piecesauthtest.Person{Sub: "auth0|1", Name: "Ada Lovelace"}, piecesauthtest.Person{Sub: "auth0|2", Name: "Grace Hopper"}
	server := piecesauthtest.NewServer(piecesauthtest.Options{People: []piecesauthtest.Person{ada, grace}, ReturnToURLs: []string{front.URL + "/"}})
	defer server.Close()
	config := server.Config()
	key := newKey()
	for range 2 {
		replicas = append(replicas, started(t, program(t, key, "-addr", "127.0.0.1:0", "-url", front.URL, "-database", database,
			"-base-url", config.BaseURL, "-client-id", config.ClientID, "-audience", config.Audience, "-issuer", config.Issuer)))
	}

	for _, person := range []piecesauthtest.Person{ada, grace} {
		browser := server.BrowserAs(person)
		page, err := browser.Open(t.Context(), front.URL+"/account") // leads to the sign-in, and back
		require.NoError(t, err)
		assert.Equal(t, front.URL+"/account", page.URL)
		for range 4 { // either replica knows, and calls the API
			page, err = browser.Open(t.Context(), front.URL+"/account")
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, page.Status, page.Body)
			assert.Contains(t, page.Body, person.Name)
			assert.Contains(t, page.Body, "Your subject is "+person.Sub)
		}
		page, err = browser.Post(t.Context(), "/auth/signout", nil)
		require.NoError(t, err)
		assert.Equal(t, front.URL+"/", page.URL)
		assert.Contains(t, page.Body, "Sign in with Pieces")
	}
	assert.Equal(t, 2, server.Count(piecesauthtest.Exchange))
}

// TestRun runs the program as it is without flags, with its own auth server.
func TestRun(t *testing.T) {
	address := start(t, "").String()
	elsewhere := piecesauthtest.NewServer(piecesauthtest.Options{}) // only for its browser
	defer elsewhere.Close()
	page, err := elsewhere.Browser().Open(t.Context(), address+"/")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status)
	assert.Contains(t, page.Body, "Sign in with Pieces")
	page, err = elsewhere.Browser().Open(t.Context(), address+"/auth/signin")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status)
	assert.Contains(t, page.Body, "This is a server for tests")
	assert.Contains(t, page.Body, "Grace Hopper")
}

func TestRunRefuses(t *testing.T) {
	database := filepath.Join(t.TempDir(), "webapp.db")
	for name, test := range map[string]struct {
		args []string
		keys string
		want string
	}{
		"bad key":      {nil, "!", "base64"},
		"short key":    {nil, "AAAA", "instead of 32"},
		"bad server":   {[]string{"-base-url", "http://example.com", "-client-id", "x"}, newKey(), "BaseURL"},
		"no issuer":    {[]string{"-base-url", "https://example.com", "-client-id", "x", "-audience", "x"}, newKey(), "Issuer"},
		"bad address":  {[]string{"-addr", "nonsense"}, newKey(), "nonsense"},
		"bad url":      {[]string{"-url", "app.example.com"}, newKey(), "URL"},
		"bad database": {[]string{"-database", "redis://%"}, newKey(), "redis"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := program(t, test.keys, append([]string{"-addr", "127.0.0.1:0", "-database", database}, test.args...)...).CombinedOutput()
			require.Error(t, err)
			assert.Contains(t, string(out), test.want)
		})
	}
}
