package keyring

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"
	"go.uber.org/goleak"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/newkey"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenfile"
)

func TestMain(m *testing.M) {
	// The library below keeps its connection to the session bus, with two goroutines.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.(*Conn).inWorker"),
		goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.newConn.func1"))
}

const account = "ada@example.com"

var secret = strings.Repeat("planted-", 4)

func entryOf(keys ...string) string {
	fields := []string{"piecesauth-key-1"}
	for _, k := range keys {
		fields = append(fields, base64.StdEncoding.EncodeToString([]byte(k)))
	}
	return strings.Join(fields, " ")
}

// A key is made where there is none, and is the same ever after.
func TestKeyIsMadeOnce(t *testing.T) {
	keyring.MockInit()
	first, err := Key("app", account)(t.Context())
	require.NoError(t, err)
	entry, err := keyring.Get("app", account)
	require.NoError(t, err)
	require.Regexp(t, `^piecesauth-key-1 [A-Za-z0-9+/]{43}=$`, entry)
	second, err := Key("app", account)(t.Context())
	require.NoError(t, err)
	opened, err := second.Open(first.Seal([]byte("text"), "p"), "p")
	require.NoError(t, err)
	require.Equal(t, "text", string(opened))

	for _, other := range []func(context.Context) (*seal.Sealer, error){Key("app", "another"), Key("another", account)} {
		s, err := other(t.Context())
		require.NoError(t, err)
		_, err = s.Open(first.Seal(nil, "p"), "p")
		require.ErrorIs(t, err, seal.ErrCannotOpen)
	}
}

func TestRotation(t *testing.T) {
	keyring.MockInit()
	other := strings.Repeat("another-", 4)
	old, err := seal.New([]byte(secret))
	require.NoError(t, err)
	next, err := seal.New([]byte(other))
	require.NoError(t, err)
	require.NoError(t, keyring.Set("app", account, entryOf(other, secret)))
	s, err := Key("app", account)(t.Context())
	require.NoError(t, err)
	_, err = s.Open(old.Seal(nil, "p"), "p")
	require.NoError(t, err)
	_, err = next.Open(s.Seal(nil, "p"), "p")
	require.NoError(t, err, "the first seals")
}

// An entry that is no key is an error that says what to do, with nothing of the
// entry or the account, and stays as it is.
func TestBadEntries(t *testing.T) {
	for name, tt := range map[string]struct{ entry, want string }{
		"empty":         {"", "is no key of this package; delete that entry"},
		"a password":    {secret, "is no key of this package; delete that entry"},
		"a key alone":   {base64.StdEncoding.EncodeToString([]byte(secret)), "is no key of this package"},
		"no key":        {"piecesauth-key-1", "has no key; delete that entry"},
		"short":         {entryOf(secret[1:]), "key 1 for \"app\" is damaged; delete that entry"},
		"second is bad": {entryOf(secret) + " ***" + secret, "key 2 for \"app\" is damaged"},
		"cut off":       {entryOf(secret)[:50], "key 1 for \"app\" is damaged"},
		"later":         {"piecesauth-key-2 " + secret, "a later version of this program wrote the key"},
	} {
		t.Run(name, func(t *testing.T) {
			keyring.MockInit()
			require.NoError(t, keyring.Set("app", account, tt.entry))
			s, err := Key("app", account)(t.Context())
			require.ErrorContains(t, err, tt.want)
			require.Nil(t, s)
			require.NotErrorIs(t, err, ErrUnavailable)
			for _, hidden := range []string{"planted", "cGxhbnRl", account, "\n"} {
				require.NotContains(t, err.Error(), hidden)
			}
			left, err := keyring.Get("app", account)
			require.NoError(t, err)
			require.Equal(t, tt.entry, left)
		})
	}
	for _, key := range []func(context.Context) (*seal.Sealer, error){Key("", account), Key("app", "")} {
		_, err := key(t.Context())
		require.EqualError(t, err, "keyring: a key needs the name of a service and of an account")
	}
}

func TestUnavailable(t *testing.T) {
	cause := errors.New("no such bus")
	keyring.MockInitWithError(cause)
	_, err := Key("app", account)(t.Context())
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, cause)
	require.NotContains(t, err.Error(), "\n")

	t.Run("keeps what it is told", func(t *testing.T) {
		forgetful := credentials{
			get: func(string, string) (string, error) { return "", keyring.ErrNotFound },
			set: func(string, string, string) error { return nil },
		}
		_, err := key("app", account, forgetful)(t.Context())
		require.ErrorIs(t, err, ErrUnavailable)
	})
	t.Run("can be written", func(t *testing.T) {
		readOnly := credentials{
			get: func(string, string) (string, error) { return "", keyring.ErrNotFound },
			set: func(string, string, string) error { return cause },
		}
		_, err := key("app", account, readOnly)(t.Context())
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, cause)
	})
}

// A machine without a session bus, as a server or a container is. The real
// provider is that of a process in which nothing has put the mock.
func TestNoSessionBus(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a session bus to be without")
	}
	if os.Getenv("KEYRING_TEST_NO_BUS") != "" {
		_, err := Key("app", account)(t.Context())
		require.ErrorIs(t, err, ErrUnavailable)
		require.NotContains(t, err.Error(), "\n")
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoSessionBus$", "-test.v") //nolint:gosec // this binary
	cmd.Env = append(os.Environ(), "KEYRING_TEST_NO_BUS=1", "DBUS_SESSION_BUS_ADDRESS=unix:path="+filepath.Join(t.TempDir(), "none"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestNoSessionBus")
}

// A store that waits for a person holds nobody past the context, whichever call
// hangs; nothing is written after that.
func TestContextEndsTheWait(t *testing.T) {
	for _, hangs := range []string{"get", "set"} {
		t.Run(hangs, func(t *testing.T) {
			called, release := make(chan struct{}, 1), make(chan struct{})
			var calls sync.WaitGroup
			hang := func() { called <- struct{}{}; <-release }
			writes := 0
			store := credentials{
				get: func(string, string) (string, error) {
					calls.Add(1)
					defer calls.Done()
					if hangs == "get" {
						hang()
					}
					return "", keyring.ErrNotFound
				},
				set: func(string, string, string) error {
					calls.Add(1)
					defer calls.Done()
					writes++
					hang()
					return nil
				},
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-called; cancel() }()
			_, err := key("app", account, store)(ctx)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorContains(t, err, "may be waiting to be unlocked")
			close(release)
			calls.Wait()
			require.Equal(t, map[string]int{"get": 0, "set": 1}[hangs], writes)
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := key("app", account, credentials{})(ended) // would panic if asked
	require.ErrorIs(t, err, context.Canceled)
}

// A key that is gone is not made anew by whoever only reads, without the lock.
func TestLostKey(t *testing.T) {
	keyring.MockInit()
	_, err := Key("app", account)(newkey.Forbid(t.Context()))
	require.ErrorIs(t, err, seal.ErrCannotOpen)
	require.ErrorContains(t, err, `no key for "app" any more; sign in again`)
	_, err = keyring.Get("app", account)
	require.ErrorIs(t, err, keyring.ErrNotFound)
}

// With the file: sealed, lost, mended by signing in.
func TestTokenFile(t *testing.T) {
	keyring.MockInit()
	testTokenFile(t)
}

func testTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app", "token.json")
	open := func() *tokenfile.Store {
		store, err := tokenfile.New(path, tokenfile.Sealed(Key("piecesauth test", account)))
		require.NoError(t, err)
		return store
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := open().Load(ctx)
	require.ErrorIs(t, err, piecesauth.ErrNoToken)
	_, err = keyring.Get("piecesauth test", account)
	require.ErrorIs(t, err, keyring.ErrNotFound, "reading makes no key")

	require.NoError(t, open().Replace(ctx, &piecesauth.Token{AccessToken: secret}))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(data), "planted")
	got, err := open().Load(ctx)
	require.NoError(t, err)
	require.Equal(t, secret, got.AccessToken)

	require.NoError(t, keyring.Delete("piecesauth test", account))
	_, err = open().Load(ctx)
	require.ErrorIs(t, err, seal.ErrCannotOpen)
	require.ErrorContains(t, err, path)
	err = open().Update(ctx, func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
		t.Error("fn was called without the token")
		return nil, nil
	})
	require.ErrorIs(t, err, seal.ErrCannotOpen)
	require.NoError(t, open().Replace(ctx, &piecesauth.Token{AccessToken: "anew"}))
	got, err = open().Load(ctx)
	require.NoError(t, err)
	require.Equal(t, "anew", got.AccessToken)
}
