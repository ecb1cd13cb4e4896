package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func TestJourney(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	server := m.serve(t)

	r := m.ok(t, "login", "--base-url", server.BaseURL, "--client-id", server.ClientID, "--issuer", server.Issuer, "--redirect-url", "http://127.0.0.1:0/callback")
	assert.Empty(t, r.out)
	assert.Contains(t, r.err, `Signed in as Ada Lovelace <ada@example.com>, as the account "default".`)
	assert.Contains(t, r.err, "Waiting for you to sign in there (Ctrl-C gives up)")
	assert.NotContains(t, r.err, "\x1b")
	assert.NotContains(t, r.err, "\r", "nothing is rewritten where there is no terminal")

	token := m.stored(t, nil)
	assertNoSecret(t, token, r.err)
	assert.Equal(t, token.AccessToken+"\n", m.ok(t, "token").out)
	assert.Equal(t, "Authorization: Bearer "+token.AccessToken+"\n", m.ok(t, "token", "--header").out)
	var asJSON map[string]any
	require.NoError(t, json.Unmarshal([]byte(m.ok(t, "token", "--json").out), &asJSON))
	assert.Equal(t, token.AccessToken, asJSON["access_token"])
	assert.Equal(t, token.Expiry.Format(time.RFC3339Nano), asJSON["expiry"])
	assert.NotContains(t, asJSON, "refresh_token")

	assert.Equal(t, "Ada Lovelace <ada@example.com>\n", m.ok(t, "whoami").out)
	r = m.ok(t, "status")
	assertNoSecret(t, token, r.out, r.err)
	for _, want := range []string{"account:   default", "signed in: yes", server.BaseURL, filepath.Join(m.folder(), "token.json"), "renewed when needed"} {
		assert.Contains(t, r.out, want)
	}
	var status state
	require.NoError(t, json.Unmarshal([]byte(m.ok(t, "status", "--json").out), &status))
	assert.True(t, status.SignedIn)
	assert.True(t, token.Expiry.Equal(status.Expiry))

	r = m.ok(t, "login") // needs no flags any more
	assert.Contains(t, r.err, "Signed in as Ada Lovelace")

	assert.Contains(t, m.ok(t, "logout").err, "Signed out")
	assert.Contains(t, m.ok(t, "logout").err, "Nobody was signed in")
	r = m.run(t, "token")
	assert.Equal(t, result{3, "", "piecesauth: nobody is signed in; run: piecesauth login\n"}, r)
	r = m.run(t, "status")
	assert.Equal(t, result{3, "account:   default\nsigned in: no\n", ""}, r)
}

func TestFilesAreTheUsersAlone(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
	m.ok(t, loginArgs(server)...)
	token := m.stored(t, nil)
	data, err := os.ReadFile(filepath.Join(m.folder(), "settings.json"))
	require.NoError(t, err)
	assertNoSecret(t, token, string(data))
	entries, err := os.ReadDir(m.folder())
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
		info, err := entry.Info()
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			assert.Equal(t, os.FileMode(0o600), info.Mode(), entry.Name())
		}
	}
	assert.Equal(t, []string{"settings.json", "token.json", "token.json.lock"}, names)
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
	r := m.ok(t, loginArgs(server, "--account", "work")...)
	assert.Contains(t, r.err, `as the account "work"`)
	r = m.run(t, "token")
	assert.Equal(t, result{3, "", "piecesauth: nobody is signed in; run: piecesauth login; --account can be work\n"}, r)
	assert.NotEmpty(t, m.ok(t, "token", "--account", "work").out)
	m.env = append(m.env, "PIECES_ACCOUNT=work")
	assert.NotEmpty(t, m.ok(t, "token").out)
	assert.Contains(t, m.ok(t, "__complete", "token", "--account", "").out, "work")
	for _, bad := range []string{"../x", "", ".hidden", "a/b", strings.Repeat("a", 65)} {
		assert.Equal(t, 2, m.run(t, "token", "--account", bad).code, bad)
	}
}

func TestGrantStaysWithItsServer(t *testing.T) {
	t.Parallel()
	m, server, other := newMachine(t), newServer(t, piecesauthtest.Options{}), newServer(t, piecesauthtest.Options{})
	m.ok(t, loginArgs(server)...)
	before := m.stored(t, expire)
	for _, env := range []string{"PIECES_BASE_URL=" + other.URL, "PIECES_CLIENT_ID=other", "PIECES_AUDIENCE=x", "PIECES_ISSUER=https://x.example/", "PIECES_SCOPE=openid"} {
		elsewhere := &machine{home: m.home, env: append(m.env[:len(m.env):len(m.env)], env)}
		for _, command := range []string{"token", "whoami", "status", "logout"} {
			r := elsewhere.run(t, command)
			assert.Equal(t, 2, r.code, "%s %s", command, env)
			assert.Contains(t, r.err, strings.SplitN(env, "=", 2)[0])
		}
	}
	r := m.run(t, loginArgs(other)...)
	assert.Equal(t, 2, r.code)
	assert.Contains(t, r.err, "log out first")
	assert.Equal(t, 2, m.run(t, "token", "--base-url", other.URL).code)
	assert.Equal(t, 0, other.Count())
	assert.Equal(t, before.RefreshToken, m.stored(t, nil).RefreshToken)

	same := &machine{home: m.home, env: append(m.env[:len(m.env):len(m.env)], "PIECES_BASE_URL="+server.URL+"/")}
	assert.NotEmpty(t, same.ok(t, "token").out)
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	server := newServer(t, piecesauthtest.Options{})
	m := newMachine(t)
	m.ok(t, loginArgs(server)...)
	for name, c := range map[string]struct {
		args  []string
		code  int
		words string
	}{
		"no such command":    {[]string{"tokn"}, 2, "is it token?"},
		"no such flag":       {[]string{"token", "--heade"}, 2, "unknown flag: --heade; piecesauth token --help lists the flags"},
		"an argument":        {[]string{"token", "s3cret"}, 2, "takes no arguments"},
		"header and json":    {[]string{"token", "--header", "--json"}, 2, "exclude each other"},
		"no client":          {[]string{"login", "--account", "new"}, 2, "--client-id is missing"},
		"http beyond":        {[]string{"login", "--account", "new", "--client-id", "c", "--base-url", "http://example.com"}, 2, "--base-url is http"},
		"storage":            {[]string{"login", "--storage", "cloud"}, 2, "--storage is neither keyring nor file"},
		"no keyring":         {[]string{"login", "--storage", "keyring"}, 1, "--storage=file"},
		"server beyond":      {[]string{"server", "--addr", "0.0.0.0:0"}, 2, "--public"},
		"server addr":        {[]string{"server", "--addr", "nowhere"}, 2, "--addr"},
		"server lifetime":    {[]string{"server", "--token-lifetime", "-5s"}, 2, "a second or more"},
		"server leeway":      {[]string{"server", "--refresh-leeway", "-5s"}, 2, "negative"},
		"redirect beyond":    {[]string{"login", "--redirect-url", "http://example.com/cb"}, 2, "--redirect-url has one"},
		"no issuer's URL":    {[]string{"login", "--issuer", "nonsense"}, 2, "piecesauth: --issuer is not an absolute URL"},
		"server people":      {[]string{"server", "--people", "missing.json"}, 2, "--people"},
		"server fault":       {[]string{"server", "--fault", "refresh:maybe"}, 2, "--fault"},
		"server in use":      {[]string{"server", "--addr", strings.TrimPrefix(server.URL, "http://")}, 1, "another --addr"},
		"completion's shell": {[]string{"completion", "bash", "extra"}, 2, ""},
		"not signed in":      {[]string{"whoami", "--account", "new"}, 3, "piecesauth login --account new"},
		"no port":            {[]string{"login", "--redirect-url", "http://" + strings.TrimPrefix(server.URL, "http://") + "/callback"}, 1, "in use"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := m.run(t, c.args...)
			assert.Equal(t, c.code, r.code, r.err)
			assert.Contains(t, r.err, c.words)
			assert.NotContains(t, r.err, "s3cret")
			assert.Empty(t, r.out)
			assert.Len(t, lines(r.err), 1)
		})
	}
}

func TestErrorsAsJSON(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for kind, args := range map[string][]string{
		"usage":            {"token", "--nope", "--json"},
		"sign_in_required": {"token", "--json"},
	} {
		var answer struct {
			Error struct{ Kind, Message string }
		}
		r := m.run(t, args...)
		require.NoError(t, json.Unmarshal([]byte(r.err), &answer), r.err)
		assert.Equal(t, kind, answer.Error.Kind)
		assert.NotEmpty(t, answer.Error.Message)
		assert.Empty(t, r.out)
	}
}

func TestErrorsOfTheServer(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
	m.ok(t, loginArgs(server)...)
	token := m.stored(t, expire)
	for name, c := range map[string]struct {
		fault piecesauthtest.Fault
		code  int
	}{
		"an echo":  {piecesauthtest.Fault{Status: 500, Body: token.RefreshToken + token.AccessToken}, 4},
		"refused":  {piecesauthtest.Fault{Status: 503, Body: `{"error":"temporarily_unavailable","error_description":"` + token.RefreshToken + `"}`}, 4},
		"no grant": {piecesauthtest.Fault{Status: 400, Body: `{"error":"invalid_grant","error_description":"` + token.RefreshToken + `"}`}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			server.Heal()
			server.Fail(piecesauthtest.Refresh, c.fault)
			r := m.run(t, "token")
			assert.Equal(t, c.code, r.code, r.err)
			assert.Empty(t, r.out)
			assertNoSecret(t, token, r.err)
			assert.Len(t, lines(r.err), 1)
			assert.True(t, strings.HasPrefix(r.err, "piecesauth: ") && !strings.Contains(r.err, "piecesauth: piecesauth"), r.err)
		})
	}
	server.Heal()
	m.ok(t, "token")
	server.Fail(piecesauthtest.UserInfo, piecesauthtest.Fault{Status: 500, Times: 10})
	assert.Equal(t, 4, m.run(t, "whoami").code)
	server.Close()
	m.stored(t, expire)
	assert.Equal(t, 4, m.run(t, "token").code)
}

func TestThePersonSaysNo(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
	server.BendCallback(func(v url.Values) {
		delete(v, "code")
		v["error"] = []string{"access_denied"}
	})
	r := m.run(t, loginArgs(server)...)
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "access_denied")
	entries, err := os.ReadDir(m.folder())
	require.NoError(t, err)
	assert.Len(t, entries, 1, "the lock alone is left")
}

func TestWhoamiLeavesSecretsOut(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{User: map[string]any{
		"sub": "auth0|1", "https://x.example/role": "admin",
		"identities":    []any{map[string]any{"provider": "google", "access_token": "s3cret"}},
		"user_metadata": map[string]any{"cloud_key": "s3cret", "open_AI": map[string]any{"api_key": "s3cret"}},
	}})
	m.ok(t, loginArgs(server)...)
	out := m.ok(t, "whoami", "--json").out
	assert.NotContains(t, out, "s3cret")
	assert.Contains(t, out, `"https://x.example/role":"admin"`)
	assert.Contains(t, out, `"provider":"google"`)
	assert.Equal(t, "auth0|1\n", m.ok(t, "whoami").out)
}

func TestLogoutInTheBrowser(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
	m.ok(t, loginArgs(server)...)
	m.ok(t, "logout", "--browser")
	assert.Equal(t, 1, server.Count(piecesauthtest.Logout))
	m.env = append(m.env, "BROWSER=none")
	assert.Contains(t, m.ok(t, "logout", "--browser").err, server.URL+"/v2/logout")
}

func TestSudoIsSaid(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "SUDO_USER=grace")
	r := m.run(t, "status")
	assert.Equal(t, 3, r.code)
	assert.Regexp(t, `^Under sudo this is \S+'s account "default", in \S+, and not grace's\.\n$`, r.err)
}

func TestNoStoreIsSaid(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		t.Skip("the credential store of this system is always there")
	}
	m, server := newMachine(t, "PIECES_STORAGE="), newServer(t, piecesauthtest.Options{})
	r := m.ok(t, loginArgs(server)...)
	assert.Contains(t, r.err, "No credential store can be used here, so the token will be kept unsealed in ")
	assert.NotContains(t, m.ok(t, "login").err, "No credential store")
	assert.Contains(t, m.ok(t, "status", "--json").out, `"storage":"file"`)
}

func TestBrokenSettings(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
	m.ok(t, loginArgs(server)...)
	path := filepath.Join(m.folder(), "settings.json")
	for text, want := range map[string]string{"{": "remove the file, and sign in again", `{"version":9}`: "later version"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		r := m.run(t, "token")
		assert.Equal(t, 1, r.code)
		assert.Contains(t, r.err, want)
		assert.Contains(t, r.err, path)
	}
}

func TestLoginReplacesABrokenToken(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
	m.ok(t, loginArgs(server)...)
	require.NoError(t, os.WriteFile(filepath.Join(m.folder(), "token.json"), []byte("{"), 0o600))
	r := m.run(t, "token")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "token.json")
	m.ok(t, "login")
	m.ok(t, "token")
}

// shell runs a line as a person does, in a shell.
func (m *machine) shell(t *testing.T, line string) result {
	t.Helper()
	c := exec.CommandContext(t.Context(), "sh", "-c", line)
	c.Env, c.Dir = m.env, m.home
	return finish(t, c)
}

func needsCurl(t *testing.T) {
	t.Helper()
	for _, name := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("needs " + name)
		}
	}
}

// A command, or a flag of login or server, that docs/command.md doesn't list.
func TestEveryCommandIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/command.md")
	require.NoError(t, err)
	for _, c := range new(program).command().Commands() {
		if name := c.Name(); name != "help" && name != "completion" { // which are cobra's
			assert.Contains(t, string(page), "| `"+name+"` |", "the table of commands in docs/command.md")
			c.Flags().VisitAll(func(f *pflag.Flag) {
				assert.Contains(t, string(page), "`--"+f.Name, "flags of %s in docs/command.md", name)
			})
		}
	}
}

func TestEveryExample(t *testing.T) {
	t.Parallel()
	needsCurl(t)
	m := newMachine(t)
	server := m.serve(t, "--client-id", "YOUR_CLIENT_ID")
	m.env = append(m.env, "PIECES_BASE_URL="+server.BaseURL, "PIECES_REDIRECT_URL=http://127.0.0.1:0/callback")
	root := new(program).command()
	commands := append(root.Commands(), root)
	for _, c := range root.Commands() {
		commands = append(commands, c.Commands()...)
	}
	seen := 0
	m.ok(t, "login", "--client-id", "YOUR_CLIENT_ID")
	for _, c := range commands {
		path := strings.Fields(c.CommandPath())[1:]
		help := m.ok(t, append(path, "--help")...).out
		require.NotEmpty(t, c.Example, c.CommandPath())
		require.Contains(t, help, "Examples:\n"+c.Example)
		for _, line := range lines(c.Example) {
			line = strings.TrimSpace(strings.ReplaceAll(line, piecesauth.LiveBaseURL, server.BaseURL))
			seen++
			t.Run(line, func(t *testing.T) {
				if strings.HasPrefix(line, "piecesauth server") {
					m.serve(t, strings.Fields(line)[2:]...)
					return
				}
				r := m.shell(t, line)
				assert.Equal(t, 0, r.code, r.err)
				if c.Name() == "token" {
					assert.NotEmpty(t, r.out)
				}
				if c.Name() == "logout" {
					m.ok(t, "login")
				}
			})
		}
	}
	assert.Greater(t, seen, 12)
}

func TestServerFlags(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	people := filepath.Join(m.home, "people.json")
	require.NoError(t, os.WriteFile(people, []byte(`[{"sub":"auth0|7","name":"Grace Hopper","email":"grace@example.com"}]`), 0o600))
	server := m.serve(t, "--people", people, "--token-lifetime", "1h", "--no-rotation", "--audience", "https://api.example/", "--fault", "userinfo:500:always")
	assert.Equal(t, "https://api.example/", server.Audience)
	login := []string{"login", "--base-url", server.BaseURL, "--client-id", server.ClientID, "--issuer", server.Issuer, "--redirect-url", "http://127.0.0.1:0/callback"}
	assert.Contains(t, m.ok(t, login...).err, "Grace Hopper <grace@example.com>")
	token := m.stored(t, expire)
	assert.Equal(t, time.Hour, m.lifetime(t))
	assert.Equal(t, token.RefreshToken, m.stored(t, nil).RefreshToken)
	assert.Equal(t, 4, m.run(t, "whoami").code)

	strict := m.serve(t, "--strict")
	for base, status := range map[string]int{server.BaseURL: http.StatusFound, strict.BaseURL: http.StatusBadRequest} {
		query := url.Values{
			"client_id": {server.ClientID}, "response_type": {"code"}, "response_mode": {"query"}, "scope": {"openid"}, "redirect_uri": {"http://127.0.0.1:1/"},
			"audience": {"https://api.example/"}, "code_challenge_method": {"S256"}, "code_challenge": {strings.Repeat("a", 43)}, "state": {"s"},
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/authorize?"+query.Encode(), nil)
		require.NoError(t, err)
		response, err := http.DefaultTransport.RoundTrip(request)
		require.NoError(t, err)
		assert.Equal(t, status, response.StatusCode)
		require.NoError(t, response.Body.Close())
	}
}

// lifetime refreshes the token, and returns how long the new one is good for.
func (m *machine) lifetime(t *testing.T) time.Duration {
	t.Helper()
	m.ok(t, "token")
	token := m.stored(t, nil)
	return token.Expiry.Sub(token.Obtained)
}

func TestReadPeople(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`:                        "is no list of profiles",
		`[]`:                        "lists nobody",
		`[{"name":"Ada"}]`:          "entry 1",
		`[{"sub":"1"},{"sub":"1"}]`: "entry 2",
		`[{"sub":"1"},{"sub":"2"}]`: "",
	} {
		path := filepath.Join(t.TempDir(), "people.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		people, err := readPeople(path)
		if want == "" {
			require.NoError(t, err)
			assert.Len(t, people, 2)
			continue
		}
		assert.ErrorContains(t, err, want)
	}
}

func TestParseFault(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]piecesauthtest.Fault{
		"refresh:503":    {Status: 503},
		"refresh:503:2":  {Status: 503, Times: 2},
		"refresh:drop":   {Drop: true},
		"refresh:hang:1": {Hang: true, Times: 1},
		"refresh:2s":     {Delay: 2 * time.Second},
	} {
		op, fault, always, err := parseFault(text)
		require.NoError(t, err, text)
		assert.Equal(t, piecesauthtest.Refresh, op)
		assert.Equal(t, want, fault, text)
		assert.False(t, always)
	}
	_, _, always, err := parseFault("refresh:503:always")
	require.NoError(t, err)
	assert.True(t, always)
	for _, text := range []string{"", "refresh", "nothing:503", "refresh:99", "refresh:-2s", "refresh:503:0", "refresh:503:x", "refresh:503:1:1"} {
		_, _, _, err := parseFault(text)
		assert.Error(t, err, text)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs a POSIX shell")
	}
	for _, text := range []string{"plain", "http://x/y", "with space", "it's", "$HOME", "a;b", "`x`"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(text)).Output()
		require.NoError(t, err)
		assert.Equal(t, text, string(out))
	}
}
