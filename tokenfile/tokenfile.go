// Package tokenfile keeps a token in a file that several processes share, so
// that a program stays signed in between its runs, and several programs stay
// signed in together.
//
//	store, err := tokenfile.New(filepath.Join(configDir, "my-app", "token.json"))
//	…
//	source := auth.TokenSource(store)
//
// With [Sealed] the token is encrypted with a key that is kept elsewhere, for
// example in the system's credential store by package keyring.
//
// # The files
//
// Use a folder for the token alone. The folder is created with mode 0700; one
// that exists must belong to the user or to root, and nobody else may write to
// it. For the path token.json it holds
//
//   - token.json, mode 0600: {"version":1,"token":{…}} and a newline, where the
//     token is the JSON of [piecesauth.Token]; or {"version":1,"sealed":"…"};
//   - token.json.lock, mode 0600 and empty: a process locks it to update the
//     token. It stays when the token is deleted, because deleting a lock file
//     takes the lock from those who wait for it;
//   - token.json.tmp-…: a token being written. If a killed process leaves one
//     behind, the next write or deletion removes it, if it can;
//   - token.json.inplace, only if token.json is a mount: see below.
//
// A token is written to a temporary file, synced, and renamed, so that readers,
// even after a crash, find either the old token or the new one, whole. The
// temporary file is made, and disk space is reserved for it, before a token is
// requested: on a full disk or in a read-only folder, nothing is spent that
// could not be stored.
//
// If the file is cut off, may be read or written by others, belongs to another
// user, is a link, or is not a token file at all, the error names the path and
// the problem. Load and Update leave such a file as it is, and nothing is
// updated; [Store.Replace], which a sign-in or sign-out uses, replaces it. A
// file that a later version of this package wrote is an error for all three.
//
// # A file that is a mount
//
// A container may have token.json itself mounted. Then it can't be replaced by a
// rename, and is written in place, after a synced copy, token.json.inplace,
// which is used instead for as long as it exists. Signing out overwrites the
// file. If the folder is mounted, none of this is needed: prefer that.
//
// # Systems
//
// On Unix, including macOS, all of this holds on a local disk. Over NFS or SMB,
// locks are only as good as the server's, and what another machine wrote may be
// seen late; keep the file on a local disk.
//
// On Windows, owner and mode are not checked: the file is as private as its
// folder, which should be inside the user's profile. Renaming replaces a file
// there too, but is refused while another process has it open; it is retried for
// two seconds. Folders can't be synced, so a crash of the machine (but not of
// the process) may bring back the previous token.
//
// On other systems (Plan 9, WebAssembly) there are no file locks, and Update
// fails.
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
	// maxSize is far more than any token needs, and small enough to read
	// quickly.
	maxSize = 1 << 20
	// lockPoll is how often a waiting process tries to take the lock: a try
	// costs microseconds, and the lock is held for a request to a server.
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

// Sealed encrypts the token. A plain file is encrypted when it is next written.
//
// Update and Replace ask for the key while they hold the lock, so that only one
// process makes a key if there is none; Load asks for it only if there is a
// sealed file to read. If the key does not open the file, the error is
// [seal.ErrCannotOpen]; Replace, which a sign-in or sign-out uses, does not
// need the old key.
//
// To learn before a sign-in that there is no key, call key first.
//
// The path is not part of what is sealed, so the file may be moved.
func Sealed(key func(context.Context) (*seal.Sealer, error)) Option {
	return func(s *Store) { s.key = key }
}

// New returns a Store that keeps its token at path. A relative path is resolved
// against the current working directory. Nothing is read or created yet.
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

// Load returns the token, or [piecesauth.ErrNoToken] if there is no file. It
// takes no lock, so it may be called during an update, and inside one.
func (s *Store) Load(ctx context.Context) (*piecesauth.Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("tokenfile: %w", err)
	}
	return s.read(func() (*seal.Sealer, error) { return s.sealer(newkey.Forbid(ctx)) })
}

// Update waits for the lock as long as ctx allows, and calls fn with the
// current token, or nil if there is none. When Update returns, the token that
// fn returned is on disk; if fn returned nil, the file is deleted; the same
// token again writes nothing. An error of fn is returned unchanged, and changes
// nothing. If no token could be stored, for example because the disk is full,
// fn is not called.
//
// Once fn has returned, ctx no longer matters, because its token may be the
// only valid one left. Calling Update on the same file inside fn waits for
// itself until ctx ends.
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

// Replace waits for the lock as long as ctx allows, and stores token whatever
// is there; a nil token deletes the file. Unlike Update it needs neither a
// readable file nor the key that the file is sealed with. A link is replaced,
// not followed. A file that a later version of this package wrote is not
// replaced; that is an error.
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

// sealer returns nil if nothing is to be sealed.
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

// lock first waits its turn among this Store's goroutines, which need no
// polling, and then for the lock among Stores and processes. Every call opens
// the lock file anew, so that two Stores of one process exclude each other as
// well.
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

// lockFile locks the lock file, which must be a regular file of the user:
// opening a pipe may block, and a link may lead to another user's file.
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

// read returns the token of the copy, if there is one, or else of the file.
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

// readFile reads a regular file that belongs to the user only.
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

// failed returns err as an error of this package, naming a path.
func (s *Store) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("tokenfile: %w", named(err, s.path))
}

// pathError adds a path to an error that does not name one.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// named returns an error that names a path: err's own, or else this one.
func named(err error, path string) error {
	var byPath *fs.PathError
	var byLink *os.LinkError
	var ours *pathError
	if err == nil || errors.As(err, &byPath) || errors.As(err, &byLink) || errors.As(err, &ours) {
		return err
	}
	return &pathError{path: path, err: err}
}
