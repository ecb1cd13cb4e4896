package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// The README shows what server prints, and what becomes of these lines in a shell,
// but for what is different each time. Its blocks are those of the text console.
func TestReadmeShowsTheServer(t *testing.T) {
	t.Parallel()
	needsCurl(t)
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllSubmatch(readme, -1)
	require.Len(t, blocks, 2)

	m := newMachine(t)
	server, commands := m.serveWords(t)
	assert.Equal(t, string(blocks[0][1]), "$ go run ./cmd/piecesauth server\n"+masked(server))
	require.Len(t, commands, 4)
	var terminal strings.Builder
	for _, line := range commands {
		shown, code := m.shown(t, line)
		require.Zero(t, code, shown)
		terminal.WriteString("$ " + line + "\n" + strings.TrimSuffix(shown, "\n") + "\n")
	}
	assert.Equal(t, string(blocks[1][1]), masked(terminal.String()))
}

// Whoever tries the server is signed in to another already, and stays so.
func TestLinesOfTheServerLeaveASignInAlone(t *testing.T) {
	t.Parallel()
	needsCurl(t)
	m, own := newMachine(t), newServer(t, piecesauthtest.Options{})
	m.ok(t, loginArgs(own)...)
	token := m.stored(t, nil)
	_, commands := m.serveWords(t)
	for _, line := range commands {
		shown, code := m.shown(t, line)
		require.Zero(t, code, shown)
		assertNoSecret(t, token, shown)
	}
	assert.Equal(t, token.RefreshToken, m.stored(t, nil).RefreshToken)
}

// serveWords runs server, and returns what it shows, and the lines to copy.
func (m *machine) serveWords(t *testing.T) (shown string, commands []string) {
	t.Helper()
	c := m.command(t.Context(), "server", "--addr", "127.0.0.1:0")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	c.Stderr = c.Stdout
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	buffer := make([]byte, 4096)
	for !strings.Contains(shown, " logout ") || !strings.HasSuffix(shown, "\n") {
		n, err := out.Read(buffer)
		require.NoError(t, err, shown)
		shown += string(buffer[:n])
	}
	_, after, found := strings.Cut(shown, "\n\n")
	require.True(t, found)
	return shown, lines(after)
}

// shown returns what a terminal shows of a line, results and words.
func (m *machine) shown(t *testing.T, line string) (shown string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "sh", "-c", line)
	c.Env, c.Dir = m.env, m.home
	both, _ := c.CombinedOutput()
	return string(both), c.ProcessState.ExitCode()
}

// masked returns a text without what is different each time, or long.
func masked(text string) string {
	for _, mask := range []struct{ of, by string }{
		{`\S*piecesauth (login|token|logout)`, "…/piecesauth $1"}, // where the binary is
		{`(//127\.0\.0\.1:)[1-9]\d*`, "${1}4460"},
		{`/authorize\?\S+`, "/authorize?…"},
		{`(?m)^[\w-]{10}[\w.-]+$`, "eyJ…"},
		{`(?m),"email_verified":true.*}$`, ",…}"},
		{`(?m)^(\$ .* login --account test) .*$`, "$1 …"},
	} {
		text = regexp.MustCompile(mask.of).ReplaceAllString(text, mask.by)
	}
	return text
}
