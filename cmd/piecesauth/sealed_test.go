//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// withKeyring runs a script on a bus of its own, with a credential store that is
// unlocked and holds nothing.
const withKeyring = `set -eu
printf password | gnome-keyring-daemon --unlock --components=secrets --daemonize >/dev/null
eval "$1"`

func TestSealed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("needs " + name)
		}
	}
	m, server := newMachine(t, "PIECES_STORAGE="), newServer(t, piecesauthtest.Options{})
	runtimeFolder := filepath.Join(m.home, "run")
	require.NoError(t, os.Mkdir(runtimeFolder, 0o700))
	m.env = append(m.env, "XDG_RUNTIME_DIR="+runtimeFolder, "XDG_DATA_HOME="+filepath.Join(m.home, "data"),
		"PIECES_BASE_URL="+server.URL, "PIECES_CLIENT_ID="+server.ClientID, "PIECES_REDIRECT_URL=http://127.0.0.1:0/callback")
	c := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c", withKeyring, "sh",
		"piecesauth login; piecesauth token; piecesauth status; piecesauth whoami")
	c.Env, c.Dir = m.env, m.home
	r := finish(t, c)
	require.Equal(t, 0, r.code, r.err)
	assert.NotContains(t, r.err, "No credential store")
	shown := lines(r.out)
	assert.Contains(t, r.out, "sealed with a key in the credential store")
	assert.Equal(t, "Ada Lovelace <ada@example.com>", shown[len(shown)-1])
	data, err := os.ReadFile(filepath.Join(m.folder(), "token.json"))
	require.NoError(t, err)
	assert.Contains(t, string(data), `"sealed"`)
	assert.NotContains(t, string(data), shown[0])

	// The store is gone now: what was sealed can't be read, and that is said.
	gone := m.run(t, "token")
	assert.Equal(t, 1, gone.code)
	assert.Contains(t, gone.err, "credential store")
	assert.Empty(t, gone.out)
	assert.Contains(t, m.ok(t, "logout").err, "Signed out")
}
