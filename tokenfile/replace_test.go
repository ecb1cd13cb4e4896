package tokenfile_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/logging"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// Whatever is in the file's place, signing in or out puts that right, but for what
// a later version wrote and for a folder with something in it.
func TestReplaceMends(t *testing.T) {
	const laterVersion = `{"version":2,"tokens":["` + secret + `"]}`
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, path string) error
		want  string // of an error
	}{
		"nothing":       {spoil: func(*testing.T, string) error { return nil }},
		"empty":         {spoil: content("")},
		"cut off":       {spoil: content(`{"version":1,"tok`)},
		"zeros":         {spoil: content(strings.Repeat("\x00", 300))},
		"two in one":    {spoil: content(`{"version":1,"token":{"access_token":"a"}}{"version":1,"token":{"access_token":"a"}}`)},
		"another's":     {spoil: content("[default]\naccess_key = x\n")},
		"sum is wrong":  {spoil: content(`{"sum":"00","version":1,"token":{"access_token":"a"}}`)},
		"huge":          {spoil: content(strings.Repeat(" ", 2<<20))},
		"sealed":        {spoil: content(`{"version":1,"sealed":"AQID"}`)},
		"world-open":    {spoil: func(_ *testing.T, path string) error { return os.WriteFile(path, []byte("{}"), 0o666) }},
		"empty folder":  {spoil: func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }, want: "token.json"},
		"later version": {spoil: content(laterVersion), want: "has version 2, and this program reads version 1: a later one wrote it"},
		"link": {spoil: func(t *testing.T, path string) error {
			onUnix(t)
			return errors.Join(os.WriteFile(path+".elsewhere", []byte("elsewhere"), 0o600), os.Symlink(path+".elsewhere", path))
		}},
		"dangling link": {spoil: func(t *testing.T, path string) error { onUnix(t); return os.Symlink(path+".nowhere", path) }},
		"pipe":          {spoil: makePipe},
		"foreign": {spoil: func(t *testing.T, path string) error {
			asRoot(t)
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 12345, -1))
		}},
	} {
		for _, next := range []*piecesauth.Token{token("new"), nil} {
			t.Run(name+map[bool]string{true: ", in", false: ", out"}[next != nil], func(t *testing.T) {
				path := newPath(t)
				require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
				require.NoError(t, tt.spoil(t, path))
				store := open(t, path)
				err := store.Replace(t.Context(), next)
				if tt.want != "" && (next != nil || name == "later version") {
					require.ErrorContains(t, err, "tokenfile: ")
					require.ErrorContains(t, err, tt.want)
					require.NotContains(t, err.Error(), secret)
					return
				}
				require.NoError(t, err)
				got, err := store.Load(t.Context())
				if next == nil {
					require.ErrorIs(t, err, piecesauth.ErrNoToken)
				} else {
					require.NoError(t, err)
					require.Equal(t, next, got)
				}
				if name == "link" {
					require.Equal(t, "elsewhere", read(t, path+".elsewhere"), "a link is replaced, not followed")
				}
			})
		}
	}
	t.Run("empty token", func(t *testing.T) {
		path := newPath(t)
		require.ErrorContains(t, open(t, path).Replace(t.Context(), &piecesauth.Token{}), "tokenfile: "+path+": a token needs")
	})
}

func content(s string) func(*testing.T, string) error {
	return func(_ *testing.T, path string) error { return os.WriteFile(path, []byte(s), 0o600) }
}

// What is not a plain file of the user's is not locked, opened or waited for.
func TestBadLockFiles(t *testing.T) {
	const notRegular = ".lock: is not a regular file; remove it"
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, lock string) error
		want  string
	}{
		"link":           {func(t *testing.T, lock string) error { onUnix(t); return os.Symlink(lock+".elsewhere", lock) }, notRegular},
		"link to itself": {func(t *testing.T, lock string) error { onUnix(t); return os.Symlink(lock, lock) }, notRegular},
		"folder":         {func(_ *testing.T, lock string) error { return os.Mkdir(lock, 0o700) }, notRegular},
		"pipe":           {makePipe, notRegular},
		"foreign": {func(t *testing.T, lock string) error {
			asRoot(t)
			return errors.Join(os.WriteFile(lock, nil, 0o600), os.Chown(lock, 12345, -1))
		}, ".lock: belongs to another user (uid 12345); remove it"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
			require.NoError(t, tt.spoil(t, path+".lock"))
			store := open(t, path)
			for _, err := range []error{put(t.Context(), store, token("a")), store.Replace(t.Context(), token("a"))} {
				require.EqualError(t, err, "tokenfile: "+path+tt.want)
			}
			require.Equal(t, []string{"token.json.lock"}, names(t, path), "nothing was made elsewhere")
		})
	}
}

// Whoever waits for a lock file that is deleted meanwhile locks the new one.
func TestLockFileIsDeleted(t *testing.T) {
	path := newPath(t)
	holder, waiter := open(t, path), open(t, path)
	taken := func() { require.ErrorIs(t, put(soon(t), open(t, path), token("c")), context.DeadlineExceeded) }
	wait := func() {
		require.NoError(t, waiter.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			taken()
			return token("b"), nil
		}))
	}
	require.NoError(t, holder.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
		taken()
		if runtime.GOOS != "windows" { // where it can't be
			require.NoError(t, os.Remove(path+".lock"))
			wait()
		}
		return nil, nil
	}))
}

func TestWaitingSaysForWhat(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	holder := start(t, "hold", path)
	holder.expect("locked")
	require.EqualError(t, put(soon(t), store, token("b")), "tokenfile: "+path+": waiting for the lock: another process that holds token.json.lock, and may be stopped: context deadline exceeded")
	holder.kill()
	taken := func() {
		require.EqualError(t, put(soon(t), store, token("b")), "tokenfile: "+path+": waiting for the lock: an update by this program has not ended: context deadline exceeded")
	}
	require.NoError(t, store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
		taken()
		return nil, nil
	}))
}

// The logger of a TokenSource hears of it.
func TestWaitingIsLogged(t *testing.T) {
	path := newPath(t)
	var heard bytes.Buffer
	ctx := logging.With(soon(t), slog.New(slog.NewTextHandler(&heard, &slog.HandlerOptions{Level: slog.LevelDebug})))
	require.NoError(t, open(t, path).Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
		require.ErrorIs(t, put(ctx, open(t, path), token("a")), context.DeadlineExceeded)
		return nil, nil
	}))
	require.Regexp(t, `msg="tokenfile: waited for the lock" for=[0-9.]+ms got_it=false`, heard.String())
	require.NotContains(t, heard.String(), secret)
}

// A panic, an error and a test that ends inside fn leave no temporary file.
func TestNoTemporaryIsLeft(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, token("a")))
	update := func(end func()) func() {
		return func() {
			_ = store.Update(t.Context(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
				assert.Len(t, names(t, path), 3, "it is made before")
				end()
				return current, errors.New("wrong")
			})
		}
	}
	require.PanicsWithValue(t, "wrong", update(func() { panic("wrong") }))
	done := make(chan struct{})
	go func() {
		defer close(done)
		update(runtime.Goexit)()
	}()
	<-done
	update(func() {})()
	require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))
	require.NoError(t, put(t.Context(), store, token("b")))
}

// What can't be cleaned up is passed over.
func TestLeftoversThatStay(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, os.MkdirAll(filepath.Join(path+".tmp-x", "something"), 0o700))
	require.NoError(t, put(t.Context(), store, token("a")))
	require.NoError(t, put(t.Context(), store, nil))
	require.NoError(t, store.Replace(t.Context(), token("b")))
	require.NoError(t, store.Replace(t.Context(), nil))
	require.DirExists(t, filepath.Join(path+".tmp-x", "something"))
}

// sealedBy is the option with a key of 32 times c.
func sealedBy(t *testing.T, keys string) tokenfile.Option {
	t.Helper()
	var all [][]byte
	for _, c := range []byte(keys) {
		all = append(all, bytes.Repeat([]byte{c}, 32))
	}
	sealer, err := seal.New(all...)
	require.NoError(t, err)
	return tokenfile.Sealed(func(context.Context) (*seal.Sealer, error) { return sealer, nil })
}

func openSealed(t *testing.T, path, keys string) *tokenfile.Store {
	t.Helper()
	store, err := tokenfile.New(path, sealedBy(t, keys))
	require.NoError(t, err)
	return store
}

func TestSealed(t *testing.T) {
	path := newPath(t)
	plain, sealed := open(t, path), openSealed(t, path, "a")
	load := func(store *tokenfile.Store, want *piecesauth.Token) {
		t.Helper()
		got, err := store.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.NoError(t, put(t.Context(), plain, token("a")))
	load(sealed, token("a"))
	require.NoError(t, put(t.Context(), sealed, token("a")))
	require.Contains(t, read(t, path), secret, "nothing was written")
	require.NoError(t, put(t.Context(), sealed, token("b")))
	require.NotContains(t, read(t, path), secret, "sealed at its next write")
	require.Regexp(t, `^\{"version":1,"sealed":"[A-Za-z0-9+/]+=*"\}\n$`, read(t, path))
	load(sealed, token("b"))
	before := read(t, path)
	require.NoError(t, put(t.Context(), sealed, token("b")))
	require.Equal(t, before, read(t, path), "the same token again writes nothing")

	// The key is rotated, and the file moved.
	load(openSealed(t, path, "xa"), token("b"))
	moved := newPath(t)
	require.NoError(t, os.Mkdir(filepath.Dir(moved), 0o700))
	require.NoError(t, os.Rename(path, moved))
	load(openSealed(t, moved, "a"), token("b"))
	require.NoError(t, put(t.Context(), openSealed(t, moved, "xa"), token("c")))
	load(openSealed(t, moved, "x"), token("c"))
}

// A wrong key, or none, is an error that names the path and the key; signing in or
// out mends it.
func TestWrongKey(t *testing.T) {
	path := newPath(t)
	require.NoError(t, put(t.Context(), openSealed(t, path, "a"), token("a")))
	before := read(t, path)
	for name, tt := range map[string]struct {
		store *tokenfile.Store
		want  string
	}{
		"wrong": {openSealed(t, path, "b"), "the key that this program has does not open it; if the right one is lost, sign in again: seal: cannot be opened: it was sealed with a key that is not among the 1 here"},
		"none":  {open(t, path), "is sealed, and this program has no key for it; pass tokenfile.Sealed to New: seal: cannot be opened"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.store.Load(t.Context())
			require.ErrorIs(t, err, seal.ErrCannotOpen)
			require.EqualError(t, err, "tokenfile: "+path+": "+tt.want)
			err = tt.store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
				t.Error("Update called its function")
				return token("b"), nil
			})
			require.EqualError(t, err, "tokenfile: "+path+": "+tt.want)
			require.Equal(t, before, read(t, path))
		})
	}
	other := openSealed(t, path, "b")
	require.NoError(t, other.Replace(t.Context(), token("b")))
	got, err := other.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, token("b"), got)
	require.NoError(t, openSealed(t, path, "c").Replace(t.Context(), nil))
	_, err = other.Load(t.Context())
	require.ErrorIs(t, err, piecesauth.ErrNoToken)
}

// The key is asked for under the lock, or, to read, only if there is something sealed.
func TestWhenTheKeyIsAskedFor(t *testing.T) {
	path := newPath(t)
	cause := errors.New("no credential store")
	asked := 0
	var key func(context.Context) (*seal.Sealer, error)
	store, err := tokenfile.New(path, tokenfile.Sealed(func(ctx context.Context) (*seal.Sealer, error) { asked++; return key(ctx) }))
	require.NoError(t, err)

	_, err = store.Load(t.Context())
	require.ErrorIs(t, err, piecesauth.ErrNoToken)
	require.Zero(t, asked)
	for _, want := range []error{cause, nil} {
		key = func(context.Context) (*seal.Sealer, error) { return nil, want } //nolint:unparam // that no key comes is the point
		err = store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			t.Error("something was spent without a key to seal with")
			return nil, nil
		})
		require.ErrorContains(t, err, "tokenfile: "+path+": ")
		if want != nil {
			require.ErrorIs(t, err, want)
		}
		require.Error(t, store.Replace(t.Context(), token("a")))
		require.NoError(t, store.Replace(t.Context(), nil), "signing out needs no key")
	}
	taken := func() { require.ErrorIs(t, put(soon(t), open(t, path), token("b")), context.DeadlineExceeded) }
	key = func(context.Context) (*seal.Sealer, error) {
		taken()
		return seal.New(bytes.Repeat([]byte("k"), 32))
	}
	require.NoError(t, put(t.Context(), store, token("a")))
	require.NoError(t, store.Replace(t.Context(), token("b")))
}
