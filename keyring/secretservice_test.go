//go:build secretservice

package keyring

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// These run at a real Secret Service, started by secretservice.sh, and each in a
// process that has never put the mock in its place: `-run SecretService`.

func TestSecretServiceTokenFile(t *testing.T) {
	testTokenFile(t)
	require.NoError(t, keyring.Delete("piecesauth test", account))
}

// Processes that start at once on a machine that has no key yet agree on one.
func TestSecretServiceOneKeyForAll(t *testing.T) {
	const writers = 6
	if path := os.Getenv("KEYRING_TEST_PATH"); path != "" {
		store, err := tokenfile.New(path, tokenfile.Sealed(Key("piecesauth test race", account)))
		require.NoError(t, err)
		require.NoError(t, store.Update(t.Context(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
			if current == nil {
				current = &piecesauth.Token{}
			}
			return &piecesauth.Token{AccessToken: current.AccessToken + "x"}, nil
		}))
		return
	}
	path := filepath.Join(t.TempDir(), "app", "token.json")
	var children []*exec.Cmd
	for range writers {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSecretServiceOneKeyForAll$") //nolint:gosec // this binary
		cmd.Env = append(os.Environ(), "KEYRING_TEST_PATH="+path)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		require.NoError(t, cmd.Start())
		children = append(children, cmd)
	}
	for _, cmd := range children {
		require.NoError(t, cmd.Wait())
	}
	store, err := tokenfile.New(path, tokenfile.Sealed(Key("piecesauth test race", account)))
	require.NoError(t, err)
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Len(t, got.AccessToken, writers)
	require.NoError(t, keyring.Delete("piecesauth test race", account))
}

// A locked collection has nobody here to unlock it.
func TestSecretServiceLocked(t *testing.T) {
	s, err := Key("piecesauth test", "locked")(t.Context())
	require.NoError(t, err)
	require.NotNil(t, s)
	const login = "/org/freedesktop/secrets/collection/login"
	//nolint:gosec // constants
	out, err := exec.CommandContext(t.Context(), "dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets",
		"org.freedesktop.Secret.Service.Lock", "array:objpath:"+login).CombinedOutput()
	require.NoError(t, err, string(out))

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err = Key("piecesauth test", "locked")(ctx)
	fmt.Println("locked:", err)
	require.ErrorIs(t, err, ErrUnavailable)
	require.NotErrorIs(t, err, seal.ErrCannotOpen)
	require.NotContains(t, err.Error(), "\n")
}
