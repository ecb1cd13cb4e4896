package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// after is what the stand-in changes.
var after = []string{"client_gen.go", "openapi.yaml"}

// program is adopt as a process of its own, with its own group.
func program(t *testing.T, module string, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{"-module", module}, append(args, absolute(t, "testdata/edition.yaml"))...)
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...) //nolint:gosec // G702: adopt itself.
	cmd.Env = append(os.Environ(), "ADOPT=1", "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// whole tells whether a module is as before or as after, and nothing between.
func whole(t *testing.T, module string) (changed bool) {
	t.Helper()
	files, err := different(module)
	require.NoError(t, err)
	if len(files) > 0 {
		assert.Equal(t, after, files)
	}
	return len(files) > 0
}

// Interrupted or killed at any line of its report, adopt leaves the module as
// it was, or as it was to be.
func TestStoppedAnywhere(t *testing.T) {
	moments := []string{"# Adopting", "## Breaking", "## Go API", "## Version", "Changed:"}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		for i, moment := range moments {
			t.Run(fmt.Sprintf("%s at %s", signal, moment), func(t *testing.T) {
				module := copyLibrary(t)
				cmd := program(t, module, "-test", "true")
				out, err := cmd.StdoutPipe()
				require.NoError(t, err)
				var says bytes.Buffer
				cmd.Stderr = &says
				require.NoError(t, cmd.Start())
				lines := bufio.NewScanner(out)
				for lines.Scan() {
					if strings.HasPrefix(lines.Text(), moment) {
						_ = syscall.Kill(-cmd.Process.Pid, signal)
					}
				}
				err = cmd.Wait()
				// What moves the files may still be at it: it holds the lock.
				require.NoError(t, wait(module))
				changed := whole(t, module)
				if err != nil && signal == syscall.SIGINT {
					assert.Contains(t, says.String(), "nothing was changed: it was interrupted")
					assert.False(t, changed)
				}
				if i < 3 || moment == "Changed:" { // between, either may be
					assert.Equal(t, moment == "Changed:", changed)
				}
			})
		}
	}
}

// wait waits for the lock on a module.
func wait(module string) error {
	dir, err := os.Open(module)
	if err != nil {
		return err
	}
	return errors.Join(syscall.Flock(int(dir.Fd()), syscall.LOCK_EX), dir.Close())
}

// An interrupt ends the tests that run, too.
func TestInterruptLeavesNoProcess(t *testing.T) {
	module := copyLibrary(t)
	folder := t.TempDir()
	fifo, script := filepath.Join(folder, "fifo"), filepath.Join(folder, "test.sh")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	require.NoError(t, os.WriteFile(script, []byte("sh -c 'echo $$ >"+fifo+"; exec tail -f /dev/null'\n"), 0o600))
	cmd := program(t, module, "-force", "-test", "sh "+script)
	var says bytes.Buffer
	cmd.Stderr = &says
	require.NoError(t, cmd.Start())
	line, err := os.ReadFile(fifo) // which opens when the tests run
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Error(t, cmd.Wait())
	assert.Contains(t, says.String(), "nothing was changed: it was interrupted")
	assert.False(t, whole(t, module), "by force neither")
	var pid int
	_, err = fmt.Sscan(string(line), &pid)
	require.NoError(t, err)
	assert.NoDirExists(t, fmt.Sprintf("/proc/%d/cwd", pid), "the tests' process")
	assert.True(t, gone(pid))
}

// gone tells whether a process has ended; its parent may not have asked yet.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// What is edited while adopt runs stays; what adopt would replace is not
// replaced, by force neither.
func TestEditedMeanwhile(t *testing.T) {
	for name, tt := range map[string]struct {
		files   []string
		refused bool
	}{
		"what is written by hand": {files: []string{"README.md", "tools/apidiff.sh", "errors.go"}},
		"the document":            {files: []string{documentFile}, refused: true},
		"generated code":          {files: []string{"client_gen.go"}, refused: true},
		"the overlay":             {files: []string{overlayFile}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			module := copyLibrary(t)
			script := filepath.Join(t.TempDir(), "test.sh")
			text := "cd " + module + "; for f in " + strings.Join(tt.files, " ") + "; do echo '# mine' >>$f; done; echo '--- FAIL: TestX'; exit 1\n"
			require.NoError(t, os.WriteFile(script, []byte(text), 0o600))
			a := adoption{module: module, force: true, test: []string{"sh", script}, out: io.Discard}
			err := a.adopt(t.Context(), "testdata/edition.yaml")
			files, diffErr := different(module)
			require.NoError(t, diffErr)
			if tt.refused {
				require.ErrorContains(t, err, "nothing was changed: "+tt.files[0]+" was changed meanwhile: adopt again")
				assert.Equal(t, tt.files, files)
			} else {
				require.ErrorContains(t, err, "taken over by force (client_gen.go, openapi.yaml), although the tests fail")
				assert.ElementsMatch(t, append(tt.files, after...), files)
			}
			for _, f := range tt.files {
				text, err := os.ReadFile(filepath.Join(module, f))
				require.NoError(t, err)
				assert.Contains(t, string(text), "# mine")
			}
		})
	}
}

// staged makes a module whose files are about to move, and the first n of which
// have.
func staged(t *testing.T, n int) string {
	t.Helper()
	module := t.TempDir()
	for i, f := range []string{"a", "b/c", "d"} {
		put := func(where, text string) {
			path := filepath.Join(module, where, f)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		}
		put(stageFolder+"/old", "old")
		put("", "old")
		if i < n {
			put("", "new")
		} else {
			put(stageFolder+"/new", "new")
		}
	}
	require.NoError(t, os.MkdirAll(filepath.Join(module, stageFolder, "new"), 0o700))
	return module
}

func contents(t *testing.T, module string) (texts []string) {
	t.Helper()
	for _, f := range []string{"a", "b/c", "d"} {
		text, err := os.ReadFile(filepath.Join(module, f))
		require.NoError(t, err)
		texts = append(texts, string(text))
	}
	return texts
}

// Killed with all its processes between two renames, the next adopt finishes.
func TestRecover(t *testing.T) {
	for n := range 4 {
		module := staged(t, n)
		require.NoError(t, recoverMove(module))
		assert.Equal(t, []string{"new", "new", "new"}, contents(t, module))
		assert.NoDirExists(t, filepath.Join(module, stageFolder))
	}
	module := staged(t, 1)
	require.NoError(t, os.WriteFile(filepath.Join(module, "d"), []byte("mine"), 0o600))
	require.ErrorContains(t, recoverMove(module), "an earlier adoption was cut short, and d was changed since")
	assert.Equal(t, []string{"new", "old", "mine"}, contents(t, module))
	module = staged(t, 0)
	require.NoError(t, os.Rename(filepath.Join(module, stageFolder), filepath.Join(module, stageFolder+".draft")))
	require.NoError(t, recoverMove(module))
	assert.Equal(t, []string{"old", "old", "old"}, contents(t, module))
	assert.NoDirExists(t, filepath.Join(module, stageFolder+".draft"))
}

// One file that can't move holds back all.
func TestBusyFile(t *testing.T) {
	module := staged(t, 0)
	busy := filepath.Join(module, "d")
	if out, err := exec.CommandContext(t.Context(), "mount", "--bind", busy, busy).CombinedOutput(); err != nil {
		t.Skipf("a file is made busy by a mount, which is not allowed here: %s", out)
	}
	t.Cleanup(func() { _ = syscall.Unmount(busy, 0) })
	require.ErrorContains(t, finish(module), "nothing was changed: rename")
	assert.Equal(t, []string{"old", "old", "old"}, contents(t, module))
	assert.NoDirExists(t, filepath.Join(module, stageFolder))
}

// A disk that is full, or a limit on files, is not blamed on the document.
func TestFullDisk(t *testing.T) {
	for _, kilobytes := range []int{4, 40, 200} {
		t.Run(fmt.Sprintf("files of %d KiB", kilobytes), func(t *testing.T) {
			module := copyLibrary(t)
			cmd := program(t, module, "-force", "-test", "true")
			limited := exec.CommandContext(t.Context(), "bash", append([]string{"-c", fmt.Sprintf(`ulimit -f %d; exec "$@"`, kilobytes), "adopt"}, cmd.Args...)...)
			limited.Env = append(cmd.Env, "GOCACHE="+t.TempDir())
			out, err := limited.CombinedOutput()
			require.Error(t, err)
			assert.Contains(t, string(out), "adopt: nothing was changed: ")
			assert.NotContains(t, string(out), "refuses the document")
			assert.NotContains(t, string(out), "hand-written code")
			assert.False(t, whole(t, module))
		})
	}
	t.Run("no room for the files themselves", func(t *testing.T) {
		module := t.TempDir()
		if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=64k", "none", module).CombinedOutput(); err != nil {
			t.Skipf("a small disk is a mount, which is not allowed here: %s", out)
		}
		t.Cleanup(func() { _ = syscall.Unmount(module, 0) })
		work := t.TempDir()
		files := []string{documentFile, "other_gen.go"}
		for _, f := range append([]string{overlayFile}, files...) {
			for _, folder := range []string{module, filepath.Join(work, "before"), filepath.Join(work, "after")} {
				text := "old"
				if folder == filepath.Join(work, "after") && f == "other_gen.go" {
					text = strings.Repeat("new", 30_000)
				}
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, f)), 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(folder, f), []byte(text), 0o600))
			}
		}
		require.ErrorContains(t, moveIn(module, work, files), "no space left on device")
		left, err := os.ReadDir(module)
		require.NoError(t, err)
		assert.Equal(t, []string{"api", documentFile, "other_gen.go"}, names(left))
		assert.True(t, sameFile(filepath.Join(module, "other_gen.go"), filepath.Join(work, "before", "other_gen.go")))
	})
}

func names(entries []os.DirEntry) (out []string) {
	for _, e := range entries {
		out = append(out, e.Name())
	}
	slices.Sort(out)
	return out
}
