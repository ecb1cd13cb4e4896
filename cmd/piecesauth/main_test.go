package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenfile"
)

const browserMode = "PIECESAUTH_TEST_BROWSER"

func TestMain(m *testing.M) {
	if os.Getenv(browserMode) != "" {
		if _, err := browse(os.Args[len(os.Args)-1], true); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(withBinary(m))
}

// withBinary builds the command into a folder that every test has in its PATH.
func withBinary(m *testing.M) int {
	folder, err := os.MkdirTemp("", "piecesauth")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	build := exec.CommandContext(context.Background(), "go", "build", "-o", folder+string(os.PathSeparator), ".")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv("PATH", folder+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		return 1
	}
	return m.Run()
}

var (
	formAction  = regexp.MustCompile(`<form id="(login|form_post)" method="post" action="([^"]*)"`)
	hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// browse goes from page to page as a person at a browser, and returns the address
// that it ends at: what delivered the callback, or with deliver false would have.
func browse(address string, deliver bool) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	var last string
	client := &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		last = r.URL.String()
		if !deliver && r.URL.Query().Has("code") {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	body, at, err := page(client.Get(address)) //nolint:noctx // page closes it
	for range 5 {
		match := formAction.FindStringSubmatch(body)
		if err != nil || match == nil {
			break
		}
		form := url.Values{"action": {"signin"}}
		for _, input := range hiddenInput.FindAllStringSubmatch(body, -1) {
			form.Set(html.UnescapeString(input[1]), html.UnescapeString(input[2]))
		}
		var action *url.URL
		if action, err = at.Parse(html.UnescapeString(match[2])); err != nil {
			break
		}
		body, at, err = page(client.PostForm(action.String(), form)) //nolint:noctx // page closes it
	}
	return last, err
}

func page(response *http.Response, err error) (string, *url.URL, error) {
	if err != nil {
		return "", nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode >= http.StatusBadRequest {
		err = errors.Join(err, fmt.Errorf("status %d of %s", response.StatusCode, response.Request.URL.Host))
	}
	return string(body), response.Request.URL, err
}

// machine is a home of its own, with a browser and without a credential store.
type machine struct {
	home string
	env  []string
}

func newMachine(t *testing.T, env ...string) *machine {
	t.Helper()
	home := t.TempDir()
	all := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, "config"),
		"AppData=" + filepath.Join(home, "config"), "SystemRoot=" + os.Getenv("SystemRoot"),
		"BROWSER=" + os.Args[0], browserMode + "=1", "PIECES_STORAGE=file",
	}
	return &machine{home: home, env: append(all, env...)}
}

func (m *machine) folder() string {
	if matches, _ := filepath.Glob(filepath.Join(m.home, "*", "piecesauth", "default")); len(matches) == 1 {
		return matches[0]
	}
	return filepath.Join(m.home, "Library", "Application Support", "piecesauth", "default")
}

// command returns the command with arguments, not yet started.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "piecesauth", args...)
	c.Env, c.Dir = m.env, m.home
	return c
}

type result struct {
	code     int
	out, err string
}

func finish(t *testing.T, c *exec.Cmd) result {
	t.Helper()
	var out, words bytes.Buffer
	c.Stdout, c.Stderr = &out, &words
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), words.String()}
}

func (m *machine) run(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, m.command(t.Context(), args...))
}

// ok runs what has to go well.
func (m *machine) ok(t *testing.T, args ...string) result {
	t.Helper()
	r := m.run(t, args...)
	require.Equal(t, 0, r.code, "%v: %s", args, r.err)
	return r
}

func newServer(t *testing.T, options piecesauthtest.Options) *piecesauthtest.Server {
	t.Helper()
	server := piecesauthtest.NewServer(options)
	t.Cleanup(server.Close)
	return server
}

func loginArgs(server *piecesauthtest.Server, more ...string) []string {
	return append([]string{
		"login", "--base-url", server.URL, "--client-id", server.ClientID, "--issuer", server.Issuer,
		"--redirect-url", "http://127.0.0.1:0/callback",
	}, more...)
}

// stored returns the account's token file, and changes the token in it where edit is not nil.
func (m *machine) stored(t *testing.T, edit func(*piecesauth.Token)) *piecesauth.Token {
	t.Helper()
	store, err := tokenfile.New(filepath.Join(m.folder(), "token.json"))
	require.NoError(t, err)
	if edit != nil {
		require.NoError(t, store.Update(t.Context(), func(_ context.Context, token *piecesauth.Token) (*piecesauth.Token, error) {
			edit(token)
			return token, nil
		}))
	}
	token, err := store.Load(t.Context())
	require.NoError(t, err)
	return token
}

func expire(token *piecesauth.Token) { token.Expiry = time.Now().Add(-time.Minute) }

// served is a piecesauth server, as a process.
type served struct {
	BaseURL  string `json:"base_url"`
	ClientID string `json:"client_id"`
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	cmd      *exec.Cmd
}

func (m *machine) serve(t *testing.T, args ...string) served {
	t.Helper()
	s := served{cmd: m.command(t.Context(), append([]string{"server", "--addr", "127.0.0.1:0", "--json"}, args...)...)}
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	require.NoError(t, json.NewDecoder(out).Decode(&s))
	return s
}

func assertNoSecret(t *testing.T, token *piecesauth.Token, texts ...string) {
	t.Helper()
	for _, text := range texts {
		for name, secret := range map[string]string{"access token": token.AccessToken, "refresh token": token.RefreshToken, "ID token": token.IDToken} {
			if secret != "" {
				assert.NotContains(t, text, secret, name)
			}
		}
	}
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
