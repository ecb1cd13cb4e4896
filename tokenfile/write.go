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

// room is how much of the disk is taken before a token is asked for. It is more
// than servers and proxies let through as a header.
const room = 64 << 10

// reserve makes the temporary file that the next token goes into, and takes the
// room for it, so that what can't be written is known before fn spends anything.
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

// fill writes zeros where a system can't take room otherwise.
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

// commit makes data the content of the file; temp is from reserve.
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

// copyPath is where the content is while it is written in place. As long as there
// is a copy, it is what counts.
func (s *Store) copyPath() string { return s.path + ".inplace" }

// finish does what a copy was made for. A process that was killed may have left
// that to the next one.
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

// writeInPlace writes over what is mounted at the path, and then removes the copy.
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

// overwrite makes data all that the file holds, and waits for the disk. It takes
// no more room than the longer of the two contents.
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
		// A mount. Nothing is lost if this is cut off: it needs no copy.
		err = s.writeInPlace(deleted)
	} else if err == nil {
		err = remove(s.copyPath())
	}
	if err != nil {
		return s.failed(err)
	}
	return s.failed(syncFolder(filepath.Dir(s.path)))
}

// deleted is the content of a file that cannot be removed.
var deleted = fmt.Appendf(nil, "{\"version\":%d,\"deleted\":true}\n", version)

// removeTemporaries deletes what killed processes left behind. Only who holds
// the lock writes, so none of these is in use. What can't be removed stays.
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
