// Package tokenfile keeps a token in a file that several processes share, so
// that a program and its next run, or many at once, stay signed in together.
//
//	store, err := tokenfile.New(filepath.Join(configDir, "my-app", "token.json"))
//	…
//	source := auth.TokenSource(store)
//
// With [Sealed] the token is encrypted, under a key that is kept elsewhere: in the
// system's credential store, for instance, by package keyring.
//
// # The files
//
// Give the token a folder of its own. The folder is created with mode 0700; one
// that exists must belong to the user, or to root, and be writable by nobody
// else. For the path token.json it holds
//
//   - token.json, mode 0600: {"version":1,"token":{…}} and a newline, the token
//     being the JSON of [piecesauth.Token]; or {"version":1,"sealed":"…"};
//   - token.json.lock, mode 0600 and empty: who updates the token locks it. It
//     stays when the token is deleted, since whoever deletes a lock file takes
//     the lock from those who wait for it;
//   - token.json.tmp-…: a token being written. One that a killed process left
//     behind is removed by the next write or deletion, where it can be;
//   - token.json.inplace, only where token.json is a mount: see below.
//
// A token is written to a temporary file, synced, and renamed: readers, and
// whoever comes after a crash, find the old token or the new one, whole. The
// temporary file is made, and its room on the disk taken, before a token is asked
// for: on a full disk or in a read-only folder nothing is spent that could not be
// stored.
//
// A file that is cut off, that others may read or write, that belongs to another
// user, that is a link, or that is not a token file at all is an error that names
// the path and what is wrong with it. Load and Update leave it as it is, and no
// update is made; [Store.Replace], with which a person signs in or out, puts a new
// file in its place. A file that a later version of this package wrote is an error
// of all three.
//
// # A file that is a mount
//
// A container may have token.json itself mounted. It can't be renamed over then,
// and is written in place instead, after a synced copy, token.json.inplace, which
// counts for as long as it is there. To sign out overwrites the file. A folder that
// is mounted needs none of this: prefer it.
//
// # Systems
//
// On Unix, macOS included, all of this holds on a local disk. Over NFS or SMB,
// locks are only as good as the server's, and what another machine wrote may be
// seen late; keep the file on a local disk.
//
// On Windows owner and mode are not looked at: the file is as private as its
// folder, which is to be one inside the user's profile. Renaming replaces there
// too, but is refused while another process has the file open; it is tried again
// for two seconds. Folders cannot be synced, so a crash of the machine, unlike one
// of the process, may bring back the token before.
//
// Elsewhere (Plan 9, WebAssembly) there are no file locks, and Update fails.
package tokenfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/logging"
	"github.com/piecesauth/piecesauth/internal/newkey"
	"github.com/piecesauth/piecesauth/seal"
)

const (
	// maxSize is far more than any token needs, and less than would hurt to read.
	maxSize = 1 << 20
	// lockPoll is how often a waiting process asks for the lock: it costs
	// microseconds, and what it waits for is a request to a server.
	lockPoll = 5 * time.Millisecond
)

// Store is a [piecesauth.TokenStore] in a file. Make one with [New]. Any number
// of goroutines, Stores and processes may use the same file.
type Store struct {
	path string
	turn chan struct{} // held by the goroutine that updates or waits for the lock
	key  func(context.Context) (*seal.Sealer, error)
}

var _ piecesauth.TokenStore = (*Store)(nil)

// Option is an option of [New].
type Option func(*Store)

// Sealed has the token encrypted. A file that is plain is sealed when it is next
// written.
//
// Update and Replace ask for the key while they hold the lock, so that one process
// alone makes a key where there is none; Load asks for it only if there is a sealed
// file to read. A key that does not open the file is [seal.ErrCannotOpen]; Replace,
// with which a person signs in or out, does without the old key.
//
// The path is not part of what is sealed, so the file may be moved.
func Sealed(key func(context.Context) (*seal.Sealer, error)) Option {
	return func(s *Store) { s.key = key }
}

// New returns a Store that keeps its token at path; a relative path is taken
// from the present working directory. Nothing is read or created yet.
func New(path string, options ...Option) (*Store, error) {
	if path == "" {
		return nil, errors.New("tokenfile: the path is empty")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("tokenfile: %w", err)
	}
	s := &Store{path: abs, turn: make(chan struct{}, 1)}
	for _, option := range options {
		option(s)
	}
	return s, nil
}

// Load reads the token; [piecesauth.ErrNoToken] where there is no file. It takes
// no lock, so it may be called while an update is under way, and inside one.
func (s *Store) Load(ctx context.Context) (*piecesauth.Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("tokenfile: %w", err)
	}
	return s.read(func() (*seal.Sealer, error) { return s.sealer(newkey.Forbid(ctx)) })
}

// Update waits for the lock, for as long as ctx allows, and calls fn with the
// token as it is then, nil where there is none. What fn returns is on disk when
// Update returns; nil deletes the file; the same token again writes nothing. An
// error of fn is returned as it is, and changes nothing. If no token could be
// stored just then, fn is not called.
//
// Once fn has returned, ctx no longer counts: its token may be the only valid one
// left. Calling Update on the same file inside fn waits for itself until ctx ends.
func (s *Store) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()

	sealer, err := s.sealer(ctx)
	if err != nil {
		return err
	}
	if err := s.finish(); err != nil {
		return s.failed(err)
	}
	current, err := s.read(func() (*seal.Sealer, error) { return sealer, nil })
	if err != nil && !errors.Is(err, piecesauth.ErrNoToken) {
		return err
	}
	var before []byte // fn may change the token in place
	if current != nil {
		if before, err = encodeToken(current); err != nil {
			return s.failed(err)
		}
	}
	temp, err := s.reserve(4 * len(before))
	if err != nil {
		return s.failed(fmt.Errorf("nothing was done, since a new token could not be stored: %w", err))
	}
	defer discard(temp)

	next, err := fn(ctx, current)
	if err != nil {
		return err
	}
	if next == nil {
		return s.remove()
	}
	after, err := encodeToken(next)
	if err != nil {
		return s.failed(err)
	}
	if bytes.Equal(before, after) {
		return nil
	}
	data, err := encode(after, sealer)
	if err != nil {
		return s.failed(err)
	}
	return s.commit(temp, data)
}

// Replace waits for the lock, for as long as ctx allows, and stores token whatever
// there was before, nil deleting it: unlike Update it needs no file that can be
// read, nor the key that the file is sealed with. A link is replaced, not followed.
// Only what a later version of this package wrote is left, and an error.
func (s *Store) Replace(ctx context.Context, token *piecesauth.Token) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()

	for _, path := range []string{s.path, s.copyPath()} {
		var later laterError
		if data, err := readAny(path, nil); err == nil && errors.As(checkVersion(data), &later) {
			return s.failed(named(later, path))
		}
	}
	if token == nil {
		return s.remove()
	}
	sealer, err := s.sealer(ctx)
	if err != nil {
		return err
	}
	data, err := encodeToken(token)
	if err != nil {
		return s.failed(err)
	}
	if data, err = encode(data, sealer); err != nil {
		return s.failed(err)
	}
	temp, err := s.reserve(len(data))
	if err != nil {
		return s.failed(err)
	}
	defer discard(temp)
	if err := remove(s.copyPath()); err != nil {
		return s.failed(err)
	}
	return s.commit(temp, data)
}

// sealer returns nil where nothing is to be sealed.
func (s *Store) sealer(ctx context.Context) (*seal.Sealer, error) {
	if s.key == nil {
		return nil, nil
	}
	sealer, err := s.key(ctx)
	if err != nil {
		return nil, fmt.Errorf("tokenfile: %s: there is no key for it: %w", s.path, err)
	}
	if sealer == nil {
		return nil, fmt.Errorf("tokenfile: %s: the function passed to Sealed returned no key", s.path)
	}
	return sealer, nil
}

// lock takes the turn among this Store's goroutines, which need not poll, and
// then the lock among Stores and processes: every call opens the lock file anew,
// so that two Stores of one process exclude each other as well.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	if s.path == "" {
		return nil, errors.New("tokenfile: a Store is made by New")
	}
	if err := ctx.Err(); err != nil {
		return nil, s.failed(err)
	}
	began := time.Now()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, s.failed(fmt.Errorf("waiting for the lock: an update by this program has not ended: %w", ctx.Err()))
	}
	defer func() {
		if err != nil {
			<-s.turn
		}
	}()
	folder := filepath.Dir(s.path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("tokenfile: %w", err)
	}
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	file, err := s.lockFile(ctx)
	if waited := time.Since(began); waited > lockPoll {
		logging.From(ctx).DebugContext(ctx, "tokenfile: waited for the lock", "for", waited, "got_it", err == nil)
	}
	if err != nil {
		return nil, err
	}
	s.removeTemporaries()
	return func() {
		_ = file.Unlock() // what was written stands; an exit frees the lock too
		<-s.turn
	}, nil
}

// lockFile locks what is at the path of the lock file, a plain file of the user's:
// opening a pipe may wait, and behind a link is somebody else's file.
func (s *Store) lockFile(ctx context.Context) (*flock.Flock, error) {
	path := s.path + ".lock"
	check := func() (fs.FileInfo, error) {
		info, err := checkRegular(path)
		if err == nil {
			err = checkOwner(info)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		} else if err != nil {
			return nil, fmt.Errorf("tokenfile: %w; remove it", named(err, path))
		}
		return info, nil
	}
	for {
		if _, err := check(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		// To be locked over NFS a file has to be open for writing.
		file := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|openFlags), flock.SetPermissions(0o600))
		if _, err := file.TryLockContext(ctx, lockPoll); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("another process that holds %s, and may be stopped: %w", filepath.Base(path), err)
			}
			return nil, fmt.Errorf("tokenfile: %s: waiting for the lock: %w", s.path, err)
		}
		// Whoever deleted the file meanwhile, folder and all, left us a lock that
		// nobody else sees.
		there, err := check()
		locked, statErr := file.Stat()
		if err == nil && statErr == nil && os.SameFile(there, locked) {
			return file, nil
		}
		_ = file.Unlock() // it guards nothing
		if err != nil {
			return nil, err
		}
	}
}

// read returns the token of the copy, if there is one, else of the file.
func (s *Store) read(key func() (*seal.Sealer, error)) (*piecesauth.Token, error) {
	err := checkFolder(filepath.Dir(s.path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, piecesauth.ErrNoToken
	} else if err != nil {
		return nil, err
	}
	var before []byte
	for {
		path := s.copyPath()
		data, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			path = s.path
			data, err = readFile(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, piecesauth.ErrNoToken
		} else if err != nil {
			return nil, s.failed(named(err, path))
		}
		token, err := decode(data, key)
		switch {
		case err == nil:
			return token, nil
		case errors.Is(err, piecesauth.ErrNoToken):
			return nil, piecesauth.ErrNoToken
		case bytes.Equal(before, data):
			return nil, s.failed(named(err, path))
		}
		before = data // it may be being written in place: then it has a copy, or has changed
	}
}

// readFile reads what is a plain file of the user's alone.
func readFile(path string) ([]byte, error) { return readAny(path, checkFile) }

func readAny(path string, check func(fs.FileInfo) error) ([]byte, error) {
	// Asked before opening: opening a device may do more than that.
	if _, err := checkRegular(path); err != nil {
		return nil, err
	}
	file, err := patiently(func() (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|openFlags, 0) }) //nolint:gosec // the caller's path
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err == nil && check != nil {
		err = check(info)
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSize {
		return nil, errTooLarge
	}
	return data, nil
}

// checkRegular refuses links, pipes, devices and folders.
func checkRegular(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	return info, err
}

// failed returns err as this package's; it names a path.
func (s *Store) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("tokenfile: %w", named(err, s.path))
}

// pathError is an error of a path that errors of package os do not name by themselves.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// named returns an error that names a path: this one, if it names none yet.
func named(err error, path string) error {
	var byPath *fs.PathError
	var byLink *os.LinkError
	var ours *pathError
	if err == nil || errors.As(err, &byPath) || errors.As(err, &byLink) || errors.As(err, &ours) {
		return err
	}
	return &pathError{path: path, err: err}
}
