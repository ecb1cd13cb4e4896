package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestExampleSignIn runs examples/signin as somebody without a display does: it
// prints the URL, which they open in Chromium.
func TestExampleSignIn(t *testing.T) {
	program := build(t, "../examples/signin")
	for name, start := range map[string]func(*testing.T) *provider{"oidc-provider": oidcProvider, "zitadel": zitadel} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			tokenFile := filepath.Join(t.TempDir(), "private", "token.json")
			for _, mode := range modes {
				t.Run(string(mode), func(t *testing.T) {
					example := runExample(t, program, p, "-response-mode", string(mode), "-token-file", tokenFile+string(mode))
					tab := newTab(t)
					require.NoError(t, chromedp.Do(tab, chromedp.Navigate(example.line(t, "http://"))))
					require.NoError(t, p.enter(tab))
					output := example.rest(t)
					assert.Equal(t, "You are signed in", heading(tab, t))
					for _, step := range []string{"2. ", "3. ", "4. User: " + p.subject, "5. Refreshed: ", "6. "} {
						assert.Contains(t, "\n"+output, "\n"+step)
					}

					// The next run is signed in already.
					output = runExample(t, program, p, "-response-mode", string(mode), "-token-file", tokenFile+string(mode)).rest(t)
					for _, step := range []string{"1, 2. Signed in already", "4. User: " + p.subject, "5. Refreshed: ", "6. "} {
						assert.Contains(t, "\n"+output, "\n"+step)
					}
				})
			}
			t.Run("paste", func(t *testing.T) {
				// The browser is on another machine, and what it ends at does not reach the program.
				elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/html")
					_, _ = w.Write([]byte(`<!doctype html><main><h1>Elsewhere</h1></main>`))
				}))
				defer elsewhere.Close()
				redirect := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1) + "/pkce/response/code"
				example := runExample(t, program, p, "-response-mode", "query", "-redirect-url", redirect, "-paste")
				tab := newTab(t)
				require.NoError(t, chromedp.Do(tab, chromedp.Navigate(example.line(t, "http://"))))
				require.NoError(t, p.enter(tab))
				require.Equal(t, "Elsewhere", heading(tab, t))
				final, err := chromedp.Run(tab, chromedp.Location())
				require.NoError(t, err)
				_, err = io.WriteString(example.in, final+"\n")
				require.NoError(t, err)
				assert.Contains(t, example.rest(t), "4. User: "+p.subject)
			})
		})
	}
}

func runExample(t *testing.T, program string, p *provider, args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{
		"-base-url", p.issuer, "-issuer", p.issuer, "-client-id", clientID, "-redirect-url", redirectURL,
	}, args...)...)
	cmd.Env = append(cmd.Environ(), "SSH_CONNECTION=127.0.0.1 1 127.0.0.1 22") // so no window opens here
	return start(t, cmd)
}
