package tokenfile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// secret stands in every token and every bad file, and must be in no error.
const secret = "planted-secret"

func token(name string) *piecesauth.Token {
	return &piecesauth.Token{
		AccessToken:  "access-" + secret + "-" + name,
		TokenType:    "Bearer",
		RefreshToken: "refresh-" + secret + "-" + name,
		Scopes:       piecesauth.Scopes{"openid", "profile"},
		Expiry:       time.Date(2030, 1, 2, 3, 4, 5, 600, time.UTC),
	}
}

// newPath is a path in a private folder that does not exist yet.
func newPath(t *testing.T) string {
	return filepath.Join(t.TempDir(), "app", "token.json")
}

func open(t *testing.T, path string) *tokenfile.Store {
	t.Helper()
	store, err := tokenfile.New(path)
	require.NoError(t, err)
	return store
}

// put is an Update that stores next whatever there was.
func put(ctx context.Context, store piecesauth.TokenStore, next *piecesauth.Token) error {
	return store.Update(ctx, func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return next, nil })
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// names lists the folder of path.
func names(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// soon is a context for updates that are to fail because the lock is taken.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestNew(t *testing.T) {
	_, err := tokenfile.New("")
	require.EqualError(t, err, "tokenfile: the path is empty")

	t.Run("a relative path is taken from the directory of the time", func(t *testing.T) {
		here := filepath.Join(t.TempDir(), "here")
		require.NoError(t, os.Mkdir(here, 0o700))
		t.Chdir(here)
		store := open(t, "token.json")
		t.Chdir("..")
		require.NoError(t, put(t.Context(), store, token("a")))
		require.FileExists(t, filepath.Join(here, "token.json"))
	})

	t.Run("nothing is created", func(t *testing.T) {
		path := newPath(t)
		_, err := open(t, path).Load(t.Context())
		require.ErrorIs(t, err, piecesauth.ErrNoToken)
		require.NoDirExists(t, filepath.Dir(path))
	})

	t.Run("without New", func(t *testing.T) {
		require.EqualError(t, put(t.Context(), new(tokenfile.Store), token("a")), "tokenfile: a Store is made by New")
	})
}

func TestSaveAndLoad(t *testing.T) {
	path := newPath(t)
	store := open(t, path)

	require.NoError(t, store.Update(t.Context(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
		assert.Nil(t, current)
		return token("a"), nil
	}))
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, token("a"), got)
	require.JSONEq(t, `{"version": 1, "token": {
		"access_token": "access-planted-secret-a", "token_type": "Bearer", "refresh_token": "refresh-planted-secret-a",
		"scope": "openid profile", "expiry": "2030-01-02T03:04:05.0000006Z"}}`, read(t, path))

	// Another Store is another process's view.
	require.NoError(t, open(t, path).Update(t.Context(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
		assert.Equal(t, token("a"), current)
		return token("b"), nil
	}))
	got, err = store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, token("b"), got)
	require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))
}

// The suite that every store has to pass.
func TestStore(t *testing.T) {
	piecesauthtest.TestSharedStore(t, func(t *testing.T) func() piecesauth.TokenStore {
		path := newPath(t)
		return func() piecesauth.TokenStore { return open(t, path) }
	})
	t.Run("one Store", func(t *testing.T) {
		piecesauthtest.TestStore(t, func(t *testing.T) piecesauth.TokenStore { return open(t, newPath(t)) })
	})
}

func TestPermissions(t *testing.T) {
	onUnix(t)
	path := filepath.Join(t.TempDir(), "config", "app", "token.json")
	store := open(t, path)
	for _, name := range []string{"a", "b"} {
		require.NoError(t, put(t.Context(), store, token(name)))
		for path, want := range map[string]fs.FileMode{
			path:                             0o600,
			path + ".lock":                   0o600,
			filepath.Dir(path):               0o700 | fs.ModeDir,
			filepath.Dir(filepath.Dir(path)): 0o700 | fs.ModeDir,
		} {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, want, info.Mode(), path)
		}
	}
}

func TestFolder(t *testing.T) {
	onUnix(t)
	for mode, want := range map[fs.FileMode]string{
		0o700: "",
		0o755: "", // as ~/.config often is
		0o770: "the folder is writable by others (mode 0770)",
		0o702: "the folder is writable by others (mode 0702)",
	} {
		t.Run(mode.String(), func(t *testing.T) {
			path := newPath(t)
			require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
			require.NoError(t, os.Chmod(filepath.Dir(path), mode))
			store := open(t, path)
			err := put(t.Context(), store, token("a"))
			if want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, filepath.Dir(path)+": "+want)
			_, err = store.Load(t.Context())
			require.ErrorContains(t, err, filepath.Dir(path)+": "+want)
			require.Empty(t, names(t, path))
		})
	}
	t.Run("foreign", func(t *testing.T) {
		asRoot(t)
		path := newPath(t)
		require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
		require.NoError(t, os.Chown(filepath.Dir(path), 12345, -1))
		require.ErrorContains(t, put(t.Context(), open(t, path), token("a")), "belongs to another user (uid 12345)")
	})
}

// What the system refuses can be told by errors.Is.
func TestSystemErrors(t *testing.T) {
	path := newPath(t)
	require.NoError(t, os.WriteFile(filepath.Dir(path), nil, 0o600))
	store := open(t, path)
	_, err := store.Load(t.Context())
	require.ErrorContains(t, err, filepath.Dir(path))
	require.NotErrorIs(t, err, piecesauth.ErrNoToken)
	if runtime.GOOS != "windows" {
		require.ErrorIs(t, err, syscall.ENOTDIR)
	}
	require.ErrorIs(t, put(t.Context(), store, token("a")), syscall.ENOTDIR)
}

// Every bad file is an error of Load and Update that says what is wrong, with no
// word of the content, and stays as it is.
func TestBadFiles(t *testing.T) {
	data, err := json.Marshal(map[string]any{"version": 1, "token": token("a")})
	require.NoError(t, err)
	good := string(data)
	const notToken = "is cut off or not a token file"

	type badFile struct {
		content string
		want    string
		spoil   func(t *testing.T, path string)
	}
	chmod := func(mode fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			onUnix(t)
			require.NoError(t, os.Chmod(path, mode))
		}
	}
	tests := map[string]badFile{
		"empty":               {content: "", want: notToken},
		"zeros":               {content: strings.Repeat("\x00", len(good)), want: notToken},
		"garbage":             {content: secret + " is no JSON", want: notToken},
		"two documents":       {content: good + good, want: notToken},
		"the end overwritten": {content: good + `"}}`, want: notToken},
		"null":                {content: "null", want: notToken},
		"list":                {content: "[" + good + "]", want: notToken},
		"no version":          {content: `{"token":{"access_token":"` + secret + `"}}`, want: notToken},
		"version 0":           {content: `{"version":0,"token":{"access_token":"` + secret + `"}}`, want: notToken},
		"version as text":     {content: `{"version":"` + secret + `","token":{"access_token":"a"}}`, want: notToken},
		"no token":            {content: `{"version":1}`, want: notToken},
		"sum is wrong":        {content: `{"sum":"` + strings.Repeat("0", 64) + `","version":1,"token":{"access_token":"` + secret + `"}}`, want: notToken},
		"null token":          {content: `{"version":1,"token":null}`, want: notToken},
		"empty token":         {content: `{"version":1,"token":{}}`, want: notToken},
		"wrong type":          {content: `{"version":1,"token":{"access_token":4711,"refresh_token":"` + secret + `"}}`, want: notToken},
		"expiry unreadable":   {content: `{"version":1,"token":{"access_token":"a","expiry":"` + secret + `"}}`, want: notToken},
		"invalid UTF-8":       {content: `{"version":1,"token":{"access_token":"` + secret + "\xff" + `"}}`, want: notToken},
		"later version":       {content: `{"version":2,"tokens":["` + secret + `"]}`, want: "has version 2, and this program reads version 1: a later one wrote it"},
		"huge":                {content: good + strings.Repeat(" ", 1<<20), want: "is too large for a token file"},
		"world-readable":      {content: good, spoil: chmod(0o604), want: "is open to others (mode 0604 instead of 0600)"},
		"group-readable":      {content: good, spoil: chmod(0o640), want: "is open to others (mode 0640 instead of 0600)"},
		"group-writable":      {content: good, spoil: chmod(0o620), want: "is open to others (mode 0620 instead of 0600)"},
		"foreign": {content: good, want: "belongs to another user (uid 12345)", spoil: func(t *testing.T, path string) {
			asRoot(t)
			require.NoError(t, os.Chown(path, 12345, -1))
		}},
		"link": {content: good, want: "is not a regular file", spoil: func(t *testing.T, path string) {
			onUnix(t)
			require.NoError(t, os.Rename(path, path+".elsewhere"))
			require.NoError(t, os.Symlink(path+".elsewhere", path))
		}},
	}
	for _, n := range []int{1, 12, 30, 60, len(good) - 2, len(good) - 1} {
		tests[fmt.Sprintf("torn after %d bytes", n)] = badFile{content: good[:n], want: notToken}
	}

	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, []byte(tt.content), 0o600))
			if tt.spoil != nil {
				tt.spoil(t, path)
			}
			before, err := os.Lstat(path)
			require.NoError(t, err)
			store := open(t, path)

			_, loadErr := store.Load(t.Context())
			updateErr := store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
				t.Error("Update called its function")
				return token("b"), nil
			})
			for _, err := range []error{loadErr, updateErr} {
				require.ErrorContains(t, err, "tokenfile: "+path+": "+tt.want)
				require.NotErrorIs(t, err, piecesauth.ErrNoToken)
				require.NotContains(t, err.Error(), secret)
				require.NotContains(t, err.Error(), "\n")
			}

			after, err := os.Lstat(path)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
			require.Equal(t, before.Mode(), after.Mode())
			require.Equal(t, before.ModTime(), after.ModTime())
			require.Equal(t, tt.content, read(t, path))
		})
	}

	t.Run("folder", func(t *testing.T) {
		path := newPath(t)
		require.NoError(t, os.MkdirAll(path, 0o700))
		_, err := open(t, path).Load(t.Context())
		require.EqualError(t, err, "tokenfile: "+path+": is not a regular file")
	})
}

func TestTokenThatCannotBeKept(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, token("a")))
	before := read(t, path)
	for name, bad := range map[string]*piecesauth.Token{
		"empty":     {},
		"too large": {AccessToken: strings.Repeat("a", 1<<20)},
		"year":      {AccessToken: secret, Expiry: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(name, func(t *testing.T) {
			err := put(t.Context(), store, bad)
			require.ErrorContains(t, err, "tokenfile: "+path+": ")
			require.NotContains(t, err.Error(), secret)
			require.Equal(t, before, read(t, path))
		})
	}
}

// What is stored can be read again, up to the last byte that a file may have.
func TestLargestToken(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, &piecesauth.Token{AccessToken: "a"}))
	room := 1<<20 - len(read(t, path))
	largest := &piecesauth.Token{AccessToken: strings.Repeat("a", room+1)}
	require.NoError(t, put(t.Context(), store, largest))
	require.Len(t, read(t, path), 1<<20)
	got, err := open(t, path).Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, largest, got)
	require.ErrorContains(t, put(t.Context(), store, &piecesauth.Token{AccessToken: strings.Repeat("a", room+2)}), "too large")
}

func TestDelete(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, nil), "nothing to delete")
	require.NoError(t, put(t.Context(), store, token("a")))
	require.NoError(t, put(t.Context(), store, nil))
	_, err := store.Load(t.Context())
	require.ErrorIs(t, err, piecesauth.ErrNoToken)
	require.Equal(t, []string{"token.json.lock"}, names(t, path))
}

func TestErrorOfTheFunction(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, token("a")))
	before := read(t, path)
	wrong := errors.New("wrong")
	for _, next := range []*piecesauth.Token{nil, token("b")} {
		err := store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return next, wrong })
		require.Same(t, wrong, err)
		require.Equal(t, before, read(t, path))
	}
}

func TestPanicFreesTheLock(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, token("a")))
	require.PanicsWithValue(t, "wrong", func() {
		_ = store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { panic("wrong") })
	})
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, token("a"), got)
	require.NoError(t, put(t.Context(), store, token("b")))
	require.NoError(t, put(t.Context(), open(t, path), token("c")))
}

// A token that is the same again is not written, even where fn changed it in place.
func TestOnlyChangesAreWritten(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, token("a")))
	before, err := os.Stat(path)
	require.NoError(t, err)

	for name, update := range map[string]func(context.Context, *piecesauth.Token) (*piecesauth.Token, error){
		"the one it got": func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) { return current, nil },
		"one like it":    func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return token("a"), nil },
	} {
		require.NoError(t, store.Update(t.Context(), update))
		after, err := os.Stat(path)
		require.NoError(t, err)
		require.True(t, os.SameFile(before, after), name)
		require.Equal(t, before.ModTime(), after.ModTime(), name)
	}

	require.NoError(t, store.Update(t.Context(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
		current.AccessToken = "changed in place"
		return current, nil
	}))
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, "changed in place", got.AccessToken)
}

func TestContext(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	t.Run("ended before", func(t *testing.T) {
		store := open(t, newPath(t))
		_, err := store.Load(ended)
		require.ErrorIs(t, err, context.Canceled)
		err = store.Update(ended, func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			t.Error("Update called its function")
			return nil, nil
		})
		require.ErrorIs(t, err, context.Canceled)
	})

	t.Run("is the one fn gets", func(t *testing.T) {
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "value")
		require.NoError(t, open(t, newPath(t)).Update(ctx, func(ctx context.Context, _ *piecesauth.Token) (*piecesauth.Token, error) {
			assert.Equal(t, "value", ctx.Value(key{}))
			return nil, nil
		}))
	})

	// A rotated token that is not saved is lost.
	t.Run("ended inside fn", func(t *testing.T) {
		store := open(t, newPath(t))
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, store.Update(ctx, func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			cancel()
			return token("a"), nil
		}))
		got, err := store.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, token("a"), got)
	})

	// The lock is held by the same Store, by another, and by somebody with the
	// lock file alone. Reading never waits.
	for _, holder := range []string{"same Store", "other Store", "lock file"} {
		t.Run("ends the wait for the lock: "+holder, func(t *testing.T) {
			path := newPath(t)
			store := open(t, path)
			require.NoError(t, put(t.Context(), store, token("a")))
			check := func() {
				err := put(soon(t), store, token("b"))
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorContains(t, err, "tokenfile: "+path+": waiting for the lock: ")
				got, err := store.Load(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, token("a"), got)
			}
			if holder == "lock file" {
				lock := flock.New(path + ".lock")
				require.NoError(t, lock.Lock())
				check()
				require.NoError(t, lock.Unlock())
			} else {
				by := store
				if holder == "other Store" {
					by = open(t, path)
				}
				require.NoError(t, by.Update(t.Context(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
					check()
					return current, nil
				}))
			}
			require.NoError(t, put(t.Context(), store, token("b")))
		})
	}
}

// The lock is on a file of its own, always the same one: a lock on the token's
// file would be lost with every rename.
func TestLockFile(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, token("a")))
	before, err := os.Stat(path + ".lock")
	require.NoError(t, err)

	if runtime.GOOS != "windows" { // where a locked file cannot be replaced
		lock := flock.New(path)
		require.NoError(t, lock.Lock())
		require.NoError(t, put(t.Context(), store, token("b")))
		require.NoError(t, lock.Unlock())
	}

	require.NoError(t, put(t.Context(), store, nil))
	after, err := os.Stat(path + ".lock")
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.Zero(t, after.Size())
}

// Temporary files of killed processes are removed, by a write and by a deletion.
func TestLeftovers(t *testing.T) {
	for name, next := range map[string]*piecesauth.Token{"write": token("b"), "delete": nil} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			store := open(t, path)
			require.NoError(t, put(t.Context(), store, token("a")))
			for _, name := range []string{".tmp-1", ".tmp-2345"} {
				require.NoError(t, os.WriteFile(path+name, []byte(secret), 0o600))
			}
			others := []string{path + ".tmp", path + ".bak", filepath.Join(filepath.Dir(path), "other.json.tmp-1")}
			for _, other := range others {
				require.NoError(t, os.WriteFile(other, nil, 0o600))
			}
			require.NoError(t, put(t.Context(), store, next))
			want := []string{"other.json.tmp-1", "token.json", "token.json.bak", "token.json.lock", "token.json.tmp"}
			if next == nil {
				want = append(want[:1], want[2:]...)
			}
			require.Equal(t, want, names(t, path))
		})
	}
}

// A write that fails leaves the old token and no temporary file.
func TestFailedWrite(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	err := store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
		return token("a"), os.MkdirAll(filepath.Join(path, "in the way"), 0o700)
	})
	require.ErrorContains(t, err, "tokenfile: ")
	require.NotContains(t, err.Error(), secret)
	var link *os.LinkError
	require.ErrorAs(t, err, &link)
	require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))
}

// Whoever reads while another writes sees the one token or the other, whole.
func TestReadersSeeWholeTokens(t *testing.T) {
	const writes = 50
	path := newPath(t)
	short, long := token("short"), token(strings.Repeat("long", 5_000))
	require.NoError(t, put(t.Context(), open(t, path), short))

	writer, reader := open(t, path), open(t, path)
	var written error
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; i < writes && written == nil; i++ {
			written = put(context.WithoutCancel(t.Context()), writer, []*piecesauth.Token{long, short}[i%2])
		}
	}()
	seen := map[string]int{}
	for reading := true; reading; {
		got, err := reader.Load(t.Context())
		if !assert.NoError(t, err) || !assert.Contains(t, []string{short.AccessToken, long.AccessToken}, got.AccessToken) {
			break
		}
		seen[got.AccessToken]++
		select {
		case <-done:
			reading = false
		default:
		}
	}
	<-done
	require.NoError(t, written)
	t.Logf("read the short token %d times and the long one %d times", seen[short.AccessToken], seen[long.AccessToken])
}

// onUnix skips what is about owners and modes elsewhere.
func onUnix(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("on Windows owners and modes are not looked at")
	}
}

// asRoot skips what only root can set up.
func asRoot(t *testing.T) {
	onUnix(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
}
