package tokenfile_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// The tests with several processes start this binary again, with the part it is
// to play in the environment. Parent and child talk in lines over pipes.
const roleVariable = "TOKENFILE_TEST_ROLE"

var roles = map[string]func(in *bufio.Scanner, args []string) error{
	"count": countRole,
	"hold":  holdRole,
	"soak":  soakRole,
	"swap":  swapRole,
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](bufio.NewScanner(os.Stdin), os.Args[1:]); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// process is a child; it is gone when the test ends.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.Writer
	lines chan string   // what it prints; closed when it has ended
	dead  chan struct{} // closed when it has ended
}

func start(t *testing.T, role string, args ...string) *process {
	t.Helper()
	p := &process{
		t:     t,
		cmd:   exec.Command(os.Args[0], args...), //nolint:noctx,gosec // ended by kill or wait; itself
		lines: make(chan string, 10),
		dead:  make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p.cmd.Stderr = os.Stderr
	var err error
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
		_ = p.cmd.Wait() // wait looks at the result
		close(p.dead)
		close(p.lines)
	}()
	t.Cleanup(p.kill)
	return p
}

// tell wakes the child, which waits for a line; it may have been killed.
func (p *process) tell() { _, _ = io.WriteString(p.in, "go\n") }

func (p *process) expect(want string) {
	p.t.Helper()
	require.Equal(p.t, want, <-p.lines)
}

// kill ends the child with SIGKILL, unless it has ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.dead
}

func (p *process) wait() {
	p.t.Helper()
	<-p.dead
	require.True(p.t, p.cmd.ProcessState.Success())
}

// holdRole says that it has the lock and keeps it until it is told to go on.
func holdRole(in *bufio.Scanner, args []string) error {
	store, err := tokenfile.New(args[0])
	if err != nil {
		return err
	}
	return store.Update(context.Background(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
		fmt.Println("locked")
		in.Scan()
		return current, nil
	})
}

func TestLockOfAnotherProcess(t *testing.T) {
	for _, end := range []string{"returns", "is killed"} {
		t.Run("which "+end, func(t *testing.T) {
			path := newPath(t)
			store := open(t, path)
			require.NoError(t, put(t.Context(), store, token("a")))
			holder := start(t, "hold", path)
			holder.expect("locked")

			require.ErrorIs(t, put(soon(t), store, token("b")), context.DeadlineExceeded)
			got, err := store.Load(t.Context())
			require.NoError(t, err, "reading does not wait")
			require.Equal(t, token("a"), got)

			// This one waits for as long as it takes.
			done := make(chan error, 1)
			go func() { done <- put(context.WithoutCancel(t.Context()), store, token("b")) }()
			if end == "returns" {
				holder.tell()
				holder.wait()
			} else {
				holder.kill()
			}
			require.NoError(t, <-done)
			got, err = store.Load(t.Context())
			require.NoError(t, err)
			require.Equal(t, token("b"), got)
		})
	}
}

const (
	countStores     = 4
	countGoroutines = 8
)

// countRole adds one to the number that is the access token, from 8 goroutines
// of each of 4 Stores. A file that is created while it exists would show that
// two do so at once.
func countRole(in *bufio.Scanner, args []string) error {
	path, witness := args[0], args[0]+".witness"
	var wg sync.WaitGroup
	failed := make(chan error, countStores*countGoroutines)
	in.Scan() // all processes are there
	for range countStores {
		store, err := tokenfile.New(path)
		if err != nil {
			return err
		}
		for range countGoroutines {
			wg.Go(func() {
				failed <- store.Update(context.Background(), func(_ context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
					file, err := os.OpenFile(witness, os.O_CREATE|os.O_EXCL, 0o600)
					if err != nil {
						return nil, err
					}
					defer func() { _ = errors.Join(file.Close(), os.Remove(witness)) }()
					n, err := strconv.Atoi(current.AccessToken)
					return &piecesauth.Token{AccessToken: strconv.Itoa(n + 1)}, err
				})
			})
		}
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	fmt.Println("done")
	return nil
}

// 8 goroutines × 4 Stores × 3 processes, and no two inside Update at once.
func TestExclusion(t *testing.T) {
	path := newPath(t)
	store := open(t, path)
	require.NoError(t, put(t.Context(), store, &piecesauth.Token{AccessToken: "0"}))
	var children []*process
	for range 3 {
		children = append(children, start(t, "count", path))
	}
	for _, child := range children {
		child.tell()
	}
	for _, child := range children {
		child.expect("done")
		child.wait()
	}
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(3*countStores*countGoroutines), got.AccessToken)
	require.Equal(t, []string{"token.json", "token.json.lock"}, names(t, path))
}

// swapRole writes one token and the other by turns until it is killed.
func swapRole(_ *bufio.Scanner, args []string) error {
	store, err := tokenfile.New(args[0])
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		next := swapTokens()[i%2]
		if err := store.Update(context.Background(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return next, nil }); err != nil {
			return err
		}
		if i == 1 {
			fmt.Println("going")
		}
	}
}

// swapTokens are of one length, and longer than what is read at a time: half of
// the one and half of the other would make a third.
func swapTokens() []*piecesauth.Token {
	filled := func(c string) *piecesauth.Token {
		return &piecesauth.Token{AccessToken: strings.Repeat(c, 9_000), RefreshToken: strings.Repeat(c, 9_000)}
	}
	return []*piecesauth.Token{filled("a"), filled("b")}
}
