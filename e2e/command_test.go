package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// desk is where this program, as the command in $BROWSER, hands over an address.
const desk = "PIECESAUTH_E2E_DESK"

func handOver(desk, address string) error {
	response, err := http.PostForm(desk, url.Values{"address": {address}}) //nolint:gosec,noctx // on loopback; the process ends with it
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the browser failed: status %d", response.StatusCode)
	}
	return errors.Join(err, response.Body.Close())
}

// shell runs the command as somebody does who has a home of their own.
type shell struct {
	program string
	env     []string
	file    string // of the token
}

func newShell(t *testing.T, env ...string) *shell {
	t.Helper()
	home := t.TempDir()
	return &shell{
		program: build(t, "../cmd/piecesauth"),
		env:     append([]string{"HOME=" + home, "XDG_CONFIG_HOME=" + home, "BROWSER=" + os.Args[0], "PIECES_STORAGE=file"}, env...),
		file:    filepath.Join(home, "piecesauth", "default", "token.json"),
	}
}

// run returns the results, and the words for people.
func (s *shell) run(t *testing.T, code int, args ...string) (out, words string) {
	t.Helper()
	var results, said strings.Builder
	c := exec.CommandContext(t.Context(), s.program, args...)
	c.Env, c.Stdout, c.Stderr = s.env, &results, &said
	_ = c.Run()
	require.Equal(t, code, c.ProcessState.ExitCode(), "%v: %s", args, said.String())
	return results.String(), said.String()
}

// expire has the stored token expired, and returns the file as it is then.
func (s *shell) expire(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(s.file)
	require.NoError(t, err)
	var document struct {
		Version int            `json:"version"`
		Token   map[string]any `json:"token"`
	}
	require.NoError(t, json.Unmarshal(data, &document))
	require.Contains(t, document.Token, "expiry")
	document.Token["expiry"] = time.Now().Add(-time.Minute)
	data, err = json.Marshal(document)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.file, data, 0o600))
	return data
}

// TestCommand is the journey of somebody in a shell, at both providers.
func TestCommand(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *provider{"oidc-provider": oidcProvider, "zitadel": zitadel} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			tab := newTab(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := open(tab, p.enter)(r.FormValue("address")); err != nil {
					http.Error(w, "failed", http.StatusBadGateway)
				}
			}))
			t.Cleanup(server.Close)
			t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
			s := newShell(t, desk+"="+server.URL, "PIECES_REDIRECT_URL="+redirectURL)

			_, words := s.run(t, 0, "login", "--base-url", p.issuer, "--client-id", clientID, "--issuer", p.issuer)
			assert.Contains(t, words, `as the account "default".`)
			assert.Equal(t, "You are signed in", heading(tab, t))
			first, _ := s.run(t, 0, "token")
			again, _ := s.run(t, 0, "token")
			assert.Equal(t, first, again)

			before := s.expire(t)
			header, _ := s.run(t, 0, "token", "--header")
			second, found := strings.CutPrefix(header, "Authorization: Bearer ")
			require.True(t, found, "no header line")
			assert.NotEqual(t, first, second)
			who, _ := s.run(t, 0, "whoami")
			assert.Contains(t, who, "@")
			profile, _ := s.run(t, 0, "whoami", "--json")
			assert.Contains(t, profile, `"sub":"`+p.subject+`"`)
			status, _ := s.run(t, 0, "status")
			assert.Contains(t, status, "renewed when needed")

			require.NoError(t, os.WriteFile(s.file, before, 0o600)) // whose refresh token was used
			out, words := s.run(t, 3, "token")
			assert.Empty(t, out)
			assert.Contains(t, words, "run: piecesauth login")

			_, words = s.run(t, 0, "logout")
			assert.Contains(t, words, "Signed out")
			assert.NoFileExists(t, s.file)
			s.run(t, 3, "token")
		})
	}
}
