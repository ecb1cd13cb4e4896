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
	"regexp"
	"slices"
	"strings"
)

// copyModule copies the library, the modules within it included: its tests
// read their files too.
func copyModule(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		// In a worktree .git is a file, and leads to the repository.
		if rel == ".git" || rel == "artifacts" || d.Name() == "node_modules" {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return copyFile(path, filepath.Join(to, rel))
	})
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// changed lists the files of one copy of the module that the other has not, or
// has otherwise.
func changed(module, tmp string) (files []string, err error) {
	err = filepath.WalkDir(tmp, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(tmp, path)
		if err != nil {
			return err
		}
		is, err := os.ReadFile(path) //nolint:gosec // G122: the folder is ours alone.
		if err != nil {
			return err
		}
		was, err := os.ReadFile(filepath.Join(module, rel))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(was, is) {
			files = append(files, rel)
			return nil
		}
		return err
	})
	return files, err
}

// moveIn puts the changed files into the module: written in full beside their
// places first, so that little can go wrong halfway.
func moveIn(module, tmp string, files []string) error {
	const suffix = ".adopt"
	for _, f := range files {
		if err := copyFile(filepath.Join(tmp, f), filepath.Join(module, f+suffix)); err != nil {
			for _, f := range files {
				_ = os.Remove(filepath.Join(module, f+suffix))
			}
			return err
		}
	}
	for _, f := range files {
		to := filepath.Join(module, f)
		if err := os.Chmod(to+suffix, 0o644); err != nil { //nolint:gosec // G302: a source file.
			return err
		}
		if err := os.Rename(to+suffix, to); err != nil {
			return err
		}
	}
	return nil
}

// command runs a command and gives all it printed.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	// Paths trimmed, so that the build cache serves every copy of the module.
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), err
}

var (
	compileError = regexp.MustCompile(`^\S+\.go:\d+:\d+: `)
	failedTest   = regexp.MustCompile(`^\s*--- FAIL: |^FAIL\s|^panic: `)
)

// complaints picks from what go test printed the lines that matter.
func complaints(output string) (lines []string) {
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\n")
		if compileError.MatchString(line) || failedTest.MatchString(line) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) == 0 {
		lines = strings.Split(strings.TrimSpace(output), "\n")
	}
	if len(lines) > 12 {
		lines = append(slices.Clip(lines[:12]), fmt.Sprintf("… and %d more", len(lines)-12))
	}
	return lines
}

// goAPI is how the Go API of a module differs from that of another copy of it.
type goAPI struct{ incompatible, compatible []string }

// compareGo asks apidiff, run by the go.mod that pins it.
func compareGo(ctx context.Context, module, before, after string) (*goAPI, error) {
	modfile := "-modfile=" + filepath.Join(module, "tools", "check", "go.mod")
	path, err := command(ctx, before, "go", "list", "-m")
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, path)
	}
	path = strings.TrimSpace(path)
	tmp, err := os.MkdirTemp("", "adopt-api-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	old, now := filepath.Join(tmp, "before"), filepath.Join(tmp, "after")
	for file, dir := range map[string]string{old: before, now: after} {
		if out, err := command(ctx, dir, "go", "tool", modfile, "apidiff", "-m", "-w", file, path); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
	}
	out, err := command(ctx, module, "go", "tool", modfile, "apidiff", "-m", old, now)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	var diff goAPI
	into := &diff.compatible
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "Incompatible"):
			into = &diff.incompatible
		case strings.HasPrefix(line, "Compatible"):
			into = &diff.compatible
		case strings.HasPrefix(line, "- "):
			*into = append(*into, strings.TrimPrefix(strings.TrimPrefix(line, "- "), "./"))
		}
	}
	return &diff, nil
}

// compiled tells whether users compile any of the files.
func compiled(files []string) bool {
	return slices.ContainsFunc(files, func(f string) bool {
		folder, _, within := strings.Cut(f, "/")
		return f == "go.mod" || strings.HasSuffix(f, ".go") && !strings.HasSuffix(f, "_test.go") &&
			!(within && slices.Contains([]string{"tools", "e2e", "examples", "internal"}, folder))
	})
}

// bump is the part of the version that has to rise.
func (d *goAPI) bump(demands, anything bool) string {
	switch {
	case len(d.incompatible) > 0:
		return "major (within v0: minor)"
	case demands:
		return "major (within v0: minor), for a request has to say more than before"
	case len(d.compatible) > 0:
		return "minor (within v0: patch)"
	case anything:
		return "patch"
	}
	return "none"
}
