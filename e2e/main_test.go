// Package e2e signs people in with a real browser, Chromium, at providers that
// nobody here wrote: the npm package oidc-provider, which is OpenID-certified,
// and the example server of github.com/zitadel/oidc. run.sh installs what is
// needed and runs the tests.
package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// chromium is the one browser process; each test gets a profile of its own.
var chromium context.Context

func TestMain(m *testing.M) {
	if address := os.Getenv(desk); address != "" {
		if err := handOver(address, os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: goroutines are left:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	path := os.Getenv("CHROMIUM")
	if path == "" {
		path = "chromium"
	}
	if _, err := exec.LookPath(path); err != nil {
		return 0, fmt.Errorf("%w; ./run.sh installs it", err)
	}
	profile, err := os.MkdirTemp("", "piecesauth-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(profile) }()

	allocator, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.NoSandbox, // it has none as root
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		// No request leaves this machine, the browser's own included.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE ::1"),
	)...)
	defer cancel()
	ctx, done := chromedp.NewContext(allocator)
	defer done()
	if err := chromedp.Do(ctx); err != nil {
		return 0, fmt.Errorf("starting %s: %w", path, err)
	}
	chromium = ctx //nolint:fatcontext // one browser for all tests
	code := m.Run()
	if err := chromedp.Cancel(ctx); err != nil { // closes it and waits
		return 0, fmt.Errorf("closing %s: %w", path, err)
	}
	return code, nil
}

// newTab returns a tab in a new, empty profile. Whatever happens in it has three
// minutes. When the test fails, a picture of it is kept.
func newTab(t *testing.T) context.Context {
	t.Helper()
	return openTab(chromium, t, chromedp.WithNewBrowserContext())
}

// anotherTab opens one in the profile of a tab.
func anotherTab(tab context.Context, t *testing.T) context.Context {
	t.Helper()
	return openTab(tab, t, chromedp.WithNewWindow(true))
}

func openTab(parent context.Context, t *testing.T, option chromedp.ContextOption) context.Context {
	t.Helper()
	tab, cancel := chromedp.NewContext(parent, option)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(tab)) // opens it, so that the deadline below isn't the tab's own
	ctx, stop := context.WithTimeout(tab, 3*time.Minute)
	t.Cleanup(stop)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		ctx, stop := context.WithTimeout(tab, 10*time.Second)
		defer stop()
		if picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err == nil {
			keep(t, "failed-"+strings.ReplaceAll(t.Name(), "/", "-"), picture)
		}
	})
	return ctx
}

// keep writes a picture among the artifacts.
func keep(t *testing.T, name string, picture []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll("artifacts", 0o750))
	require.NoError(t, os.WriteFile(filepath.Join("artifacts", name+".png"), picture, 0o600))
}

// process is a program that runs until it or the test ends.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	stdout io.Reader
	out    *bufio.Scanner // of stdout, line by line
}

// start starts a program. Its standard error is shown when the test fails.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd, stdin, stdout, bufio.NewScanner(stdout)}
	t.Cleanup(func() {
		p.kill() // after it, stderr is complete
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("%s wrote to standard error:\n%s", filepath.Base(cmd.Path), stderr.String())
		}
	})
	return p
}

// kill ends the program, and returns when it has.
func (p *process) kill() {
	_ = p.in.Close()
	_ = p.cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, p.stdout)
	_ = p.cmd.Wait()
}

// line waits for a line of output that begins with prefix.
func (p *process) line(t *testing.T, prefix string) string {
	t.Helper()
	for p.out.Scan() {
		if strings.HasPrefix(p.out.Text(), prefix) {
			return p.out.Text()
		}
	}
	require.Fail(t, "the output ended", "without a line that begins with %q: %v", prefix, p.out.Err())
	return ""
}

// rest returns what is left of the output, and waits for the program to succeed.
func (p *process) rest(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for p.out.Scan() {
		text.WriteString(p.out.Text() + "\n")
	}
	require.NoError(t, p.out.Err())
	require.NoError(t, p.cmd.Wait(), text.String())
	return text.String()
}

// build compiles a command of this repository and returns the path of the program.
func build(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(dir))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

type css = chromedp.CSS
