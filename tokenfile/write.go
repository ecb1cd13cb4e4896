package tokenfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// room is how much disk space is reserved before a token is requested. It is
// more than servers and proxies accept as a header.
const room = 64 << 10

// reserve makes the temporary file for the next token, and reserves disk space
// for it, so that a failure to write is known before fn spends anything.
func (s *Store) reserve(size int) (*os.File, error) {
	folder, name := filepath.Split(s.path)
	temp, err := os.CreateTemp(folder, name+".tmp-*") // new, and 0600
	if err != nil {
		return nil, err
	}
	wanted := int64(min(max(size, room), maxSize))
	err = named(preallocate(temp, wanted, false), temp.Name())
	if err == nil && mounted(s.path) {
		err = s.reserveInPlace(wanted)
	}
	if err != nil {
		discard(temp)
		return nil, err
	}
	return temp, nil
}

func (s *Store) reserveInPlace(size int64) error {
	place, err := s.openInPlace()
	if err != nil {
		return err
	}
	defer func() { _ = place.Close() }() // nothing was written
	return named(preallocate(place, size, true), s.path)
}

// fill writes zeros if the system can't reserve space otherwise.
func fill(file *os.File, size int64, keep bool) error {
	if keep {
		return nil // the content is not ours to overwrite yet
	}
	_, err := file.WriteAt(make([]byte, size), 0)
	return err
}

func discard(temp *os.File) {
	_ = temp.Close()
	_ = os.Remove(temp.Name()) // gone already, where it was renamed
}

// commit makes data the content of the file; temp comes from reserve.
func (s *Store) commit(temp *os.File, data []byte) error {
	err := overwrite(temp, data)
	if e := temp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = rename(temp.Name(), s.path)
	}
	if errors.Is(err, syscall.EBUSY) && rename(temp.Name(), s.copyPath()) == nil {
		if err = syncFolder(filepath.Dir(s.path)); err == nil {
			err = s.finish()
		}
		return s.failed(err)
	}
	if err != nil {
		return s.failed(err)
	}
	return s.failed(syncFolder(filepath.Dir(s.path)))
}

// copyPath returns where the content is while it is written in place. If there
// is a copy, it replaces the file's content.
func (s *Store) copyPath() string { return s.path + ".inplace" }

// finish completes what the copy was made for, which a process that was killed
// may have left undone.
func (s *Store) finish() error {
	data, err := readFile(s.copyPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = checkVersion(data) // what somebody else left there is not written anywhere
	}
	if err != nil {
		return named(err, s.copyPath())
	}
	switch err := rename(s.copyPath(), s.path); {
	case err == nil: // no mount, or no longer
		return syncFolder(filepath.Dir(s.path))
	case !errors.Is(err, syscall.EBUSY):
		return err
	}
	return s.writeInPlace(data)
}

// writeInPlace overwrites the file that is mounted at the path, and then
// removes the copy.
func (s *Store) writeInPlace(data []byte) error {
	file, err := s.openInPlace()
	if err != nil {
		return err
	}
	err = overwrite(file, withSum(data))
	if e := file.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := os.Remove(s.copyPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(filepath.Dir(s.path))
}

func (s *Store) openInPlace() (*os.File, error) {
	if _, err := checkRegular(s.path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(s.path, os.O_RDWR|openFlags, 0)
	if err != nil {
		return nil, err
	}
	_ = file.Chmod(0o600) // as a file that replaces it would have; else it is refused
	info, err := file.Stat()
	if err == nil {
		err = checkFile(info)
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, err
	}
	return file, nil
}

// overwrite replaces the content of the file with data, and waits for the disk.
// It needs no more space than the longer of the two contents.
func overwrite(file *os.File, data []byte) error {
	if _, err := file.WriteAt(data, 0); err != nil {
		return err
	}
	if err := file.Truncate(int64(len(data))); err != nil {
		return err
	}
	return file.Sync()
}

// remove deletes the file, if there is one.
func (s *Store) remove() error {
	err := remove(s.path)
	if errors.Is(err, syscall.EBUSY) {
		// A mount. It needs no copy, because nothing is lost if this is
		// interrupted.
		err = s.writeInPlace(deleted)
	} else if err == nil {
		err = remove(s.copyPath())
	}
	if err != nil {
		return s.failed(err)
	}
	return s.failed(syncFolder(filepath.Dir(s.path)))
}

// deleted is the content of a file that should be removed but can't be.
var deleted = fmt.Appendf(nil, "{\"version\":%d,\"deleted\":true}\n", version)

// removeTemporaries deletes what killed processes left behind. Only the holder
// of the lock writes, so none of these files is in use. Files that can't be
// removed stay.
func (s *Store) removeTemporaries() {
	folder, name := filepath.Split(s.path)
	entries, _ := os.ReadDir(folder)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), name+".tmp-") {
			_ = os.Remove(filepath.Join(folder, entry.Name()))
		}
	}
}

func rename(from, to string) error {
	_, err := patiently(func() (any, error) { return nil, os.Rename(from, to) })
	return err
}

func remove(path string) error {
	_, err := patiently(func() (any, error) { return nil, os.Remove(path) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
