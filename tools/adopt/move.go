package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// stageFolder holds, for a moment, the files that move into the module: in its
// file system, so that a rename puts each in place whole.
const stageFolder = ".adopt"

// errMoved marks an error after which the files are as they are to be.
var errMoved = errors.New("taken over")

// move puts files of tmp/after into the module, all of them or none. Another
// process does it, in a session of its own: neither Ctrl-C nor the end of this
// one stops it halfway, and this one finishes what is left if that one is killed.
func (a *adoption) move(ctx context.Context, tmp string, files []string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	self, err := os.Executable()
	if err != nil {
		return unchanged("%w", err)
	}
	held, err := lock(a.module)
	if err != nil {
		return unchanged("%w", err)
	}
	defer func() { _ = held.Close() }()
	var says bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, append([]string{"-move", tmp, "-module", a.module}, files...)...)
	cmd.Stderr = &says
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.ExtraFiles = []*os.File{held} // the lock is theirs together, and outlives the first to end
	err = errors.Join(cmd.Run(), held.Close())
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return unchanged("%w", err)
	case exit.Exited():
		return errors.New(strings.TrimPrefix(strings.TrimSpace(says.String()), "adopt: "))
	}
	if err := recoverMove(a.module); err != nil {
		return err
	}
	for _, f := range files {
		if !sameFile(filepath.Join(a.module, f), filepath.Join(tmp, "after", f)) {
			return unchanged("what moves the files was killed: %w", err)
		}
	}
	return nil
}

// moveIn is that other process.
func moveIn(module, tmp string, files []string) (err error) {
	// What was generated fits only what it was generated from.
	for _, f := range append([]string{overlayFile}, files...) {
		if !sameFile(filepath.Join(module, f), filepath.Join(tmp, "before", f)) {
			return unchanged("%s was changed meanwhile: adopt again", f)
		}
	}
	stage := filepath.Join(module, stageFolder)
	for _, f := range files {
		mode := fs.FileMode(0o644)
		if info, statErr := os.Stat(filepath.Join(module, f)); statErr == nil {
			mode = info.Mode().Perm()
		}
		for side, from := range map[string]string{"old": "before", "new": "after"} {
			copied := copySynced(filepath.Join(tmp, from, f), filepath.Join(stage+".draft", side, f), mode)
			if err == nil && (side == "new" || !errors.Is(copied, fs.ErrNotExist)) {
				err = copied
			}
		}
	}
	if err == nil {
		err = os.Rename(stage+".draft", stage)
	}
	if err != nil {
		_ = os.RemoveAll(stage + ".draft")
		return unchanged("%w", err)
	}
	return finish(module)
}

func copySynced(from, to string, mode fs.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

// finish moves what is staged; where one file can't move, none does.
func finish(module string) error {
	stage := filepath.Join(module, stageFolder)
	fresh, old := filepath.Join(stage, "new"), filepath.Join(stage, "old")
	err := each(fresh, func(f string) error { return os.Rename(filepath.Join(fresh, f), filepath.Join(module, f)) })
	if err == nil {
		return os.RemoveAll(stage)
	}
	undo := each(old, func(f string) error {
		if sameFile(filepath.Join(old, f), filepath.Join(module, f)) {
			return nil
		}
		return os.Rename(filepath.Join(old, f), filepath.Join(module, f))
	})
	if undo != nil {
		return fmt.Errorf("%w; nor can the files go back (%w): what was there is in %s", err, undo, old)
	}
	return unchanged("%w", errors.Join(err, os.RemoveAll(stage)))
}

// recoverMove finishes a move whose processes were all killed halfway.
func recoverMove(module string) error {
	held, err := lock(module)
	if err != nil {
		return unchanged("%w", err)
	}
	defer func() { _ = held.Close() }()
	stage := filepath.Join(module, stageFolder)
	if err := os.RemoveAll(stage + ".draft"); err != nil { // of which nothing had moved
		return unchanged("%w", err)
	}
	if _, err := os.Lstat(stage); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err = each(filepath.Join(stage, "new"), func(f string) error {
		if !sameFile(filepath.Join(stage, "old", f), filepath.Join(module, f)) {
			return unchanged("an earlier adoption was cut short, and %s was changed since: what it was and was to become is in %s; put it right and remove that", f, stage)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return finish(module)
}

// each calls back with each file below a folder.
func each(folder string, do func(file string) error) error {
	return filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(folder, path)
		return errors.Join(err, do(rel))
	})
}

// lock keeps two adoptions from moving files at once.
func lock(module string) (*os.File, error) {
	dir, err := os.Open(module)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another adoption moves its files just now: %w", err), dir.Close())
	}
	return dir, nil
}

// sameFile reports whether two files hold the same, or neither is there.
func sameFile(a, b string) bool {
	x, errX := os.ReadFile(a)
	y, errY := os.ReadFile(b)
	if errX != nil || errY != nil {
		return errors.Is(errX, fs.ErrNotExist) && errors.Is(errY, fs.ErrNotExist)
	}
	return bytes.Equal(x, y)
}
