package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

// copyModule copies the library, the modules within it included: its tests
// read their files too. In a worktree .git is a file, and leads to the
// repository.
func copyModule(ctx context.Context, from, to string) error {
	const copied = `set -o pipefail; mkdir -p "$0" && tar -c --exclude=./.git --exclude=./artifacts --exclude='./.adopt*' --exclude=node_modules . | tar -x -C "$0"`
	out, err := command(ctx, from, "bash", "-c", copied, to)
	if err != nil {
		return fmt.Errorf("the library can't be copied: %w: %s", err, strings.Join(strings.Fields(out), " "))
	}
	return nil
}

// generated lists the generated files that one copy of the module has
// otherwise than another. Nothing else is adopt's to change.
func generated(before, after string) (files []string, err error) {
	err = each(after, func(f string) error {
		if (f == documentFile || strings.HasSuffix(f, "_gen.go")) && !sameFile(filepath.Join(before, f), filepath.Join(after, f)) {
			files = append(files, f)
		}
		return nil
	})
	return files, err
}

// command runs a command and returns all it printed. Cancelling the context
// ends it with all that it started.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	// Paths trimmed, so that the build cache serves every copy of the module.
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), err
}

var (
	compileError = regexp.MustCompile(`(?m)^\S+\.go:\d+:\d+: `)
	failedTest   = regexp.MustCompile(`^\s*--- FAIL: |^FAIL\s|^panic: `)
	machine      = regexp.MustCompile(`(?i)no space left on device|file too large|disk quota exceeded|read-only file system|too many open files|cannot allocate memory|signal: killed`)
)

// complaints picks from what go test printed the lines that matter.
func complaints(output string) (lines []string) {
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\n")
		if compileError.MatchString(line) || failedTest.MatchString(line) || machine.MatchString(line) {
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

// tool runs a program of tools/check, by the go.mod that pins it.
func (a *adoption) tool(ctx context.Context, dir string, args ...string) (string, error) {
	modfile := "-modfile=" + filepath.Join(a.module, "tools", "check", "go.mod")
	out, err := command(ctx, dir, "go", append([]string{"tool", modfile}, args...)...)
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
		err = fmt.Errorf("%s fails (%w): %s", args[0], err, strings.TrimPrefix(first, "Error: "))
	}
	return out, err
}

// breaks asks oasdiff what of each pair's difference breaks whom. What it rates
// otherwise than a client does stands in tools/check/oasdiff-levels.txt.
func (a *adoption) breaks(ctx context.Context, pairs [][2]*yaml.Node) (lines []string, err error) {
	tmp, err := os.MkdirTemp("", "adopt-wire-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	for _, pair := range pairs {
		for i, name := range []string{"before.yaml", "after.yaml"} {
			data, err := yaml.Marshal(pair[i])
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(filepath.Join(tmp, name), data, 0o600); err != nil {
				return nil, err
			}
		}
		out, err := a.tool(ctx, a.module, "oasdiff", "changelog", "--format", "json", "--level", "ERR", "--auto-upgrade", "--flatten-allof",
			"--severity-levels", filepath.Join(a.module, "tools", "check", "oasdiff-levels.txt"), filepath.Join(tmp, "before.yaml"), filepath.Join(tmp, "after.yaml"))
		if err != nil {
			return nil, fmt.Errorf("%w: mend that in the document, or ask for another", err)
		}
		var found []struct{ Text, OperationID string }
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			return nil, fmt.Errorf("oasdiff: %w\n%s", err, out)
		}
		for _, c := range found {
			lines = append(lines, strings.TrimPrefix(c.OperationID+": "+c.Text, ": "))
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// compareGo asks apidiff what of the Go API changed, and prints it.
func (a *adoption) compareGo(ctx context.Context, before, after string) (lines []string, err error) {
	path, err := command(ctx, before, "go", "list", "-m")
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, path)
	}
	tmp, err := os.MkdirTemp("", "adopt-api-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	old, now := filepath.Join(tmp, "before"), filepath.Join(tmp, "after")
	for file, dir := range map[string]string{old: before, now: after} {
		if _, err := a.tool(ctx, dir, "apidiff", "-m", "-w", file, strings.TrimSpace(path)); err != nil {
			return nil, err
		}
	}
	out, err := a.tool(ctx, a.module, "apidiff", "-m", old, now)
	if err != nil {
		return nil, err
	}
	kind := ""
	for line := range strings.Lines(out) {
		if change, ok := strings.CutPrefix(strings.TrimSpace(line), "- "); ok {
			lines = append(lines, kind+strings.TrimPrefix(change, "./"))
		} else if kind = "compatible: "; strings.HasPrefix(line, "Incompatible") {
			kind = breaking
		}
	}
	list(a.out, "Go API", lines, "Nothing changed.")
	return lines, nil
}

const breaking = "breaking: "

// compiled tells whether users compile any of the files.
func compiled(files []string) bool {
	return slices.ContainsFunc(files, func(f string) bool {
		folder, _, within := strings.Cut(f, "/")
		return f == "go.mod" || strings.HasSuffix(f, ".go") && !strings.HasSuffix(f, "_test.go") &&
			!(within && slices.Contains([]string{"tools", "e2e", "examples", "internal"}, folder))
	})
}

// bump is the part of the version that has to rise.
func bump(goAPI, onWire []string, anything bool) string {
	switch {
	case slices.ContainsFunc(goAPI, func(l string) bool { return strings.HasPrefix(l, breaking) }):
		return "major (within v0: minor)"
	case len(onWire) > 0:
		return "major (within v0: minor), for what changes on the wire breaks callers: see above"
	case len(goAPI) > 0:
		return "minor (within v0: patch)"
	case anything:
		return "patch"
	}
	return "none"
}
