package tokenfile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// mount mounts, or skips the test where that isn't allowed.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		t.Skipf("mounting needs root, and a system that lets it: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(target, 0)) })
}

// onSmallDisk is a path on a disk of its own with room for so many bytes.
func onSmallDisk(t *testing.T, size int) string {
	t.Helper()
	disk := t.TempDir()
	mount(t, "tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
	return filepath.Join(disk, "app", "token.json")
}

// fillDisk takes all the room there is left.
func fillDisk(t *testing.T, disk string) {
	t.Helper()
	file, err := os.Create(filepath.Join(disk, "filler"))
	require.NoError(t, err)
	block := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(block)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, file.Close())
}

// spending is an Update whose function is not to be called.
func spending(t *testing.T, store *tokenfile.Store) error {
	t.Helper()
	return store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
		t.Error("something was spent that could not be stored")
		return token("spent"), nil
	})
}

// On a full disk nothing is spent, what is there stays readable, and a person can
// still sign out.
func TestFullDisk(t *testing.T) {
	path := onSmallDisk(t, 256<<10)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, token("a")))
	fillDisk(t, filepath.Dir(filepath.Dir(path)))

	err := spending(t, store)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "tokenfile: nothing was done, since a new token could not be stored: "+path+".tmp-")
	require.ErrorIs(t, store.Replace(t.Context(), token("b")), syscall.ENOSPC)
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, token("a"), got)
	require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))

	require.NoError(t, store.Replace(t.Context(), nil))
	require.Equal(t, []string{"token.json.lock"}, names(t, path))
}

// A disk that fills up while the token is asked for had the token's room taken.
func TestDiskFillsUpInsideUpdate(t *testing.T) {
	for _, size := range []int{100, 4_000, 30_000} {
		path := onSmallDisk(t, 256<<10)
		store := open(t, path)
		require.NoError(t, put(t.Context(), store, token("a")))
		next := token(strings.Repeat("b", size))
		require.NoError(t, store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			fillDisk(t, filepath.Dir(filepath.Dir(path)))
			return next, nil
		}))
		got, err := store.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, next, got)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	path := onSmallDisk(t, 256<<10)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, token("a")))
	disk := filepath.Dir(filepath.Dir(path))
	require.NoError(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	for _, err := range []error{spending(t, store), store.Replace(t.Context(), token("b")), store.Replace(t.Context(), nil)} {
		require.ErrorIs(t, err, syscall.EROFS)
		require.ErrorContains(t, err, "tokenfile: ")
		require.ErrorContains(t, err, path)
	}
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, token("a"), got)
}

// mountedPath is a path at which a file is mounted that lies elsewhere.
func mountedPath(t *testing.T, content string) (path, elsewhere string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "app")
	path, elsewhere = filepath.Join(folder, "token.json"), filepath.Join(t.TempDir(), "host.json")
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.WriteFile(elsewhere, []byte(content), 0o600))
	mount(t, elsewhere, path, "", syscall.MS_BIND, "")
	return path, elsewhere
}

// What container tools do with one file: it can't be replaced, only written.
func TestMountedFile(t *testing.T) {
	path, elsewhere := mountedPath(t, "")
	require.NoError(t, os.Chmod(elsewhere, 0o644)) //nolint:gosec // what `touch` on the host leaves
	store := open(t, path)
	require.ErrorContains(t, spending(t, store), "is open to others")
	require.NoError(t, store.Replace(t.Context(), token("a")), "signing in mends it")

	for _, next := range []*piecesauth.Token{token("b"), token(strings.Repeat("long", 5_000)), token("c")} {
		require.NoError(t, put(t.Context(), store, next))
		got, err := open(t, path).Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, next, got)
		require.Equal(t, read(t, path), read(t, elsewhere))
		require.True(t, json.Valid([]byte(read(t, elsewhere))))
		require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))
	}

	for range 2 {
		require.NoError(t, store.Replace(t.Context(), nil), "signing out overwrites it")
		require.NotContains(t, read(t, elsewhere), secret)
		_, err := store.Load(t.Context())
		require.ErrorIs(t, err, piecesauth.ErrNoToken)
	}
	require.NoError(t, store.Update(t.Context(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
		require.Nil(t, current)
		return token("d"), nil
	}))
	require.NoError(t, put(t.Context(), store, nil))
	_, err := store.Load(t.Context())
	require.ErrorIs(t, err, piecesauth.ErrNoToken)
}

// A mount that can't be written is known before anything is spent.
func TestMountedFileIsReadOnly(t *testing.T) {
	path, elsewhere := mountedPath(t, "")
	store := open(t, path)
	require.NoError(t, store.Replace(t.Context(), token("a")))
	require.NoError(t, syscall.Mount("", path, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	err := spending(t, store)
	require.ErrorIs(t, err, syscall.EROFS)
	require.ErrorContains(t, err, "nothing was done, since a new token could not be stored: open "+path)
	require.Contains(t, read(t, elsewhere), secret+"-a")
	require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))
}

// A mount that belongs to somebody else is refused, even to a sign-in.
func TestMountedFileOfAnotherUser(t *testing.T) {
	path, elsewhere := mountedPath(t, "")
	require.NoError(t, os.Chown(elsewhere, os.Geteuid()+12345, -1))
	require.ErrorContains(t, open(t, path).Replace(t.Context(), token("a")), "belongs to another user")
	require.Empty(t, read(t, elsewhere))
}

// Likewise one that lies on a full disk.
func TestMountedFileOnFullDisk(t *testing.T) {
	disk := t.TempDir()
	mount(t, "tmpfs", disk, "tmpfs", 0, "size=128k,mode=0700")
	host := filepath.Join(disk, "host.json")
	require.NoError(t, os.WriteFile(host, nil, 0o600))
	folder := filepath.Join(t.TempDir(), "app")
	require.NoError(t, os.Mkdir(folder, 0o700))
	path := filepath.Join(folder, "token.json")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	mount(t, host, path, "", syscall.MS_BIND, "")
	store := open(t, path)
	require.NoError(t, store.Replace(t.Context(), token("a")))

	// Inside Update its room has been taken.
	long := token(strings.Repeat("b", 20_000))
	require.NoError(t, store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
		fillDisk(t, disk)
		return long, nil
	}))
	require.NoError(t, os.Remove(filepath.Join(disk, "filler")))
	require.NoError(t, store.Replace(t.Context(), nil), "which gives the room back")
	require.NoError(t, store.Replace(t.Context(), token("a")))
	require.NoError(t, os.Truncate(host, int64(len(read(t, path))))) // and so does this
	fillDisk(t, disk)
	require.ErrorIs(t, spending(t, store), syscall.ENOSPC)
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, token("a"), got)
	require.NoError(t, store.Replace(t.Context(), nil), "signing out needs no room")
}

// A process that was killed while it wrote in place left a copy, which counts, and
// the next one does the rest.
func TestInterruptedInPlace(t *testing.T) {
	whole := func(name string) string {
		data, err := json.Marshal(map[string]any{"version": 1, "token": token(name)})
		require.NoError(t, err)
		return string(data) + "\n"
	}
	for name, content := range map[string]string{
		"before it began": whole("old"),
		"when cut to 0":   "",
		"halfway":         whole("new")[:50] + whole("old")[50:],
		"cut off":         whole("new")[:50],
		"at the end":      whole("new"),
		"unreadable":      strings.Repeat("\x00", 200),
	} {
		for _, isMounted := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, mounted %t", name, isMounted), func(t *testing.T) {
				path := newPath(t)
				if isMounted {
					path, _ = mountedPath(t, content)
				} else {
					require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
					require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
				}
				require.NoError(t, os.WriteFile(path+".inplace", []byte(whole("new")), 0o600))
				store := open(t, path)
				got, err := store.Load(t.Context())
				require.NoError(t, err)
				require.Equal(t, token("new"), got)
				require.Contains(t, names(t, path), "token.json.inplace", "Load changes nothing")

				require.NoError(t, store.Update(t.Context(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
					require.Equal(t, token("new"), current)
					return current, nil
				}))
				require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))
				got, err = store.Load(t.Context())
				require.NoError(t, err)
				require.Equal(t, token("new"), got)
			})
		}
	}
	for name, next := range map[string]*piecesauth.Token{"in": token("b"), "out": nil} {
		t.Run("signing "+name, func(t *testing.T) {
			path, _ := mountedPath(t, whole("old")[:50])
			require.NoError(t, os.WriteFile(path+".inplace", []byte("corrupt"), 0o600))
			store := open(t, path)
			_, err := store.Load(t.Context())
			require.ErrorContains(t, err, path+".inplace: is cut off")
			require.ErrorContains(t, spending(t, store), path+".inplace: is cut off")
			require.NoError(t, store.Replace(t.Context(), next))
			got, err := store.Load(t.Context())
			if next == nil {
				require.ErrorIs(t, err, piecesauth.ErrNoToken)
			} else {
				require.NoError(t, err)
				require.Equal(t, next, got)
			}
			require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))
		})
	}
}

// Whoever reads while a mount is written in place, or after its writer was killed
// at any time, sees one token or the other, whole.
func TestMountedFileReadersAndKills(t *testing.T) {
	path, _ := mountedPath(t, "")
	store := open(t, path)
	require.NoError(t, store.Replace(t.Context(), swapTokens()[0]))
	seen := map[string]int{}
	for round := range 6 {
		writer := start(t, "swap", path)
		writer.expect("going")
		for range 20 + 7*round {
			got, err := store.Load(t.Context())
			require.NoError(t, err)
			require.Equal(t, got.AccessToken, got.RefreshToken)
			seen[got.AccessToken[:1]]++
		}
		writer.kill()
		got, err := store.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, got.AccessToken, got.RefreshToken)
	}
	require.NoError(t, put(t.Context(), store, token("last")))
	require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))
	t.Logf("read the one token %d times and the other %d times", seen["a"], seen["b"])
}

// A folder that can't be written, whose lock file is there from better days.
func TestReadOnlyFolder(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, token("a")))
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o500))       //nolint:gosec // a folder
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(path), 0o700) }) //nolint:gosec // likewise
	withoutCapabilities(t, func() {
		err := spending(t, store)
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "tokenfile: nothing was done, since a new token could not be stored: open "+path+".tmp-") {
			t.Errorf("Update: %v", err)
		}
		if err := store.Replace(t.Context(), nil); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Replace: %v", err)
		}
		if got, err := store.Load(t.Context()); err != nil || got.AccessToken != token("a").AccessToken {
			t.Errorf("Load: %v", err)
		}
	})
}
