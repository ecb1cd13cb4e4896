// Package tokenfile keeps a token in a file that several processes share, so
// that a program and its next run, or many at once, stay signed in together.
//
//	store, err := tokenfile.New(filepath.Join(configDir, "my-app", "token.json"))
//	…
//	source := auth.TokenSource(store)
//
// # The files
//
// Give the token a folder of its own. The folder is created with mode 0700; one
// that exists must belong to the user, or to root, and be writable by nobody
// else. For the path token.json it holds
//
//   - token.json, mode 0600: {"version":1,"token":{…}} and a newline, the token
//     being the JSON of [piecesauth.Token];
//   - token.json.lock, mode 0600 and empty: who updates the token locks it. It
//     stays when the token is deleted, since whoever deletes a lock file takes
//     the lock from those who wait for it;
//   - token.json.tmp-…: a token being written. One that a killed process left
//     behind is removed by the next write or deletion.
//
// A token is written to a temporary file, synced, and renamed: readers, and
// whoever comes after a crash, find the old token or the new one, whole.
//
// A file that is cut off, that others may read or write, that belongs to another
// user, that is a link, that a later version of this package wrote, or that is
// not a token file at all is an error that names the path and what is wrong with
// it. It is left as it is, and no update is made: whether to delete it is for a
// person to say.
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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofrs/flock"

	"github.com/piecesauth/piecesauth"
)

const (
	version = 1
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
}

var _ piecesauth.TokenStore = (*Store)(nil)

// New returns a Store that keeps its token at path; a relative path is taken
// from the present working directory. Nothing is read or created yet.
func New(path string) (*Store, error) {
	if path == "" {
		return nil, errors.New("tokenfile: the path is empty")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("tokenfile: %w", err)
	}
	return &Store{path: abs, turn: make(chan struct{}, 1)}, nil
}

// Load reads the token; [piecesauth.ErrNoToken] where there is no file. It takes
// no lock, so it may be called while an update is under way, and inside one.
func (s *Store) Load(ctx context.Context) (*piecesauth.Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("tokenfile: %w", err)
	}
	token, _, err := s.read()
	return token, err
}

// Update waits for the lock, for as long as ctx allows, and calls fn with the
// token as it is then, nil where there is none. What fn returns is on disk when
// Update returns; nil deletes the file; the same token again writes nothing. An
// error of fn is returned as it is, and changes nothing.
//
// Once fn has returned, ctx no longer counts: its token may be the only valid one
// left. Calling Update on the same file inside fn waits for itself until ctx ends.
func (s *Store) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()

	current, before, err := s.read()
	if err != nil && !errors.Is(err, piecesauth.ErrNoToken) {
		return err
	}
	next, err := fn(ctx, current)
	if err != nil {
		return err
	}
	if next == nil {
		return s.remove()
	}
	after, err := encode(next)
	if err != nil {
		return s.failed(err)
	}
	if bytes.Equal(before, after) {
		return nil
	}
	return s.write(after)
}

// lock takes the turn among this Store's goroutines, which need not poll, and
// then the lock among Stores and processes: every call opens the lock file anew,
// so that two Stores of one process exclude each other as well.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	if s.path == "" {
		return nil, errors.New("tokenfile: a Store is made by New")
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, s.failed(fmt.Errorf("waiting for the lock: %w", ctx.Err()))
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
	file := flock.New(s.path + ".lock")
	if _, err := file.TryLockContext(ctx, lockPoll); err != nil {
		return nil, s.failed(fmt.Errorf("waiting for the lock: %w", err))
	}
	return func() {
		_ = file.Unlock() // what was written stands; an exit frees the lock too
		<-s.turn
	}, nil
}

// read gives the token and the bytes it was read from.
func (s *Store) read() (*piecesauth.Token, []byte, error) {
	err := checkFolder(filepath.Dir(s.path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, piecesauth.ErrNoToken
	} else if err != nil {
		return nil, nil, err
	}
	data, err := s.readFile()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, piecesauth.ErrNoToken
	} else if err != nil {
		return nil, nil, s.failed(err)
	}
	token, err := decode(data)
	if err != nil {
		return nil, nil, s.failed(err)
	}
	return token, data, nil
}

func (s *Store) readFile() ([]byte, error) {
	// Asked before opening: opening a pipe waits, and following a link would
	// make Update, which renames, replace the link by a file.
	info, err := os.Lstat(s.path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	file, err := patiently(func() (*os.File, error) { return os.Open(s.path) })
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	if err := checkFile(info); err != nil {
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

// write replaces the file by one that holds data.
func (s *Store) write(data []byte) error {
	if err := s.removeTemporaries(); err != nil {
		return s.failed(err)
	}
	folder, name := filepath.Split(s.path)
	temp, err := os.CreateTemp(folder, name+".tmp-*") // new, and 0600
	if err != nil {
		return s.failed(err)
	}
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if e := temp.Close(); err == nil {
		err = e
	}
	if err == nil {
		_, err = patiently(func() (any, error) { return nil, os.Rename(temp.Name(), s.path) })
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return s.failed(err)
	}
	return s.synced(folder)
}

// remove deletes the file, if there is one.
func (s *Store) remove() error {
	if err := s.removeTemporaries(); err != nil {
		return s.failed(err)
	}
	_, err := patiently(func() (any, error) { return nil, os.Remove(s.path) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return s.failed(err)
	}
	return s.synced(filepath.Dir(s.path))
}

// removeTemporaries deletes what killed processes left behind. Only who holds
// the lock writes, so none of these is in use.
func (s *Store) removeTemporaries() error {
	folder, name := filepath.Split(s.path)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), name+".tmp-") {
			if err := os.Remove(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) synced(folder string) error {
	if err := syncFolder(folder); err != nil {
		return s.failed(err)
	}
	return nil
}

// failed names the path, which errors of package os do by themselves.
func (s *Store) failed(err error) error {
	var named *fs.PathError
	if errors.As(err, &named) {
		return fmt.Errorf("tokenfile: %w", err)
	}
	return fmt.Errorf("tokenfile: %s: %w", s.path, err)
}

// document is the content of the file.
type document struct {
	Version int               `json:"version"`
	Token   *piecesauth.Token `json:"token"`
}

// None of these quotes the file, nor do they wrap errors of encoding/json, which
// do: any part of it may be part of a secret.
var (
	errNotToken = errors.New("is cut off or not a token file; delete it to sign in anew")
	errTooLarge = errors.New("is too large for a token file")
	errEmpty    = errors.New("a token needs an access token or a refresh token")
)

func encode(token *piecesauth.Token) ([]byte, error) {
	if token.AccessToken == "" && token.RefreshToken == "" {
		return nil, errEmpty
	}
	data, err := json.Marshal(document{Version: version, Token: token})
	if err != nil {
		return nil, fmt.Errorf("the token cannot be written: %w", err)
	}
	if len(data) >= maxSize {
		return nil, errTooLarge
	}
	return append(data, '\n'), nil
}

func decode(data []byte) (*piecesauth.Token, error) {
	var head struct {
		Version int `json:"version"`
	}
	// encoding/json would turn invalid UTF-8 into another, valid string.
	if !utf8.Valid(data) || json.Unmarshal(data, &head) != nil || head.Version < 1 {
		return nil, errNotToken
	}
	if head.Version > version {
		return nil, fmt.Errorf("has version %d, and this program reads version %d: a later one wrote it", head.Version, version)
	}
	var doc document
	if json.Unmarshal(data, &doc) != nil || doc.Token == nil || doc.Token.AccessToken == "" && doc.Token.RefreshToken == "" {
		return nil, errNotToken
	}
	return doc.Token, nil
}
