//go:build unix

package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func TestManyAtExpiryRefreshOnce(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
	m.ok(t, loginArgs(server)...)
	m.stored(t, expire)
	const many = 50
	results := make([]result, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			var out, words bytes.Buffer
			c := m.command(t.Context(), "token")
			c.Stdout, c.Stderr = &out, &words
			_ = c.Run()
			results[i] = result{c.ProcessState.ExitCode(), out.String(), words.String()}
		})
	}
	all.Wait()
	token := m.stored(t, nil)
	for _, r := range results {
		require.Equal(t, result{0, token.AccessToken + "\n", ""}, r)
	}
	assert.Equal(t, 1, server.Count(piecesauthtest.Refresh))
}

// A server with a leeway longer than a restart: nothing may be lost.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{RefreshLeeway: time.Minute})
	m.ok(t, loginArgs(server)...)
	killed := 0
	for range 60 {
		m.stored(t, expire)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(80*time.Millisecond))))
		if err := m.command(ctx, "token").Run(); err != nil && ctx.Err() != nil {
			killed++
		}
		cancel()
	}
	t.Logf("%d of 60 were killed, %d refreshes", killed, server.Count(piecesauthtest.Refresh))
	require.NotZero(t, killed)
	m.ok(t, "token")
	assert.Zero(t, server.Revocations())
	m.ok(t, "whoami")

	for range 20 { // signing in again: the old grant or the new one is there, whole
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(150*time.Millisecond))))
		_ = m.command(ctx, "login").Run()
		cancel()
		m.ok(t, "whoami")
	}
}

// blockedRefresh has the next refresh wait at the server until it is released.
func blockedRefresh(t *testing.T, server *piecesauthtest.Server) (asked <-chan struct{}, release func()) {
	t.Helper()
	came, free := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(came) })
	release = sync.OnceFunc(func() { close(free) })
	t.Cleanup(release)
	server.FailFunc(piecesauthtest.Refresh, func(*piecesauthtest.Request) piecesauthtest.Fault {
		once()
		<-free
		return piecesauthtest.Fault{}
	})
	return came, release
}

func TestInterruptedRefreshIsStored(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
		m.ok(t, loginArgs(server)...)
		before := m.stored(t, expire)
		asked, release := blockedRefresh(t, server)
		c := m.command(t.Context(), "token")
		var out bytes.Buffer
		words, err := c.StderrPipe()
		c.Stdout = &out
		require.NoError(t, err)
		require.NoError(t, c.Start())
		<-asked
		require.NoError(t, c.Process.Signal(signal))
		release()
		said, err := io.ReadAll(words)
		require.NoError(t, err)
		_ = c.Wait()
		after := m.stored(t, nil)
		if c.ProcessState.ExitCode() == 0 { // the answer was faster than the signal
			assert.Equal(t, after.AccessToken+"\n", out.String())
		} else {
			assert.Equal(t, 130, c.ProcessState.ExitCode())
			assert.Equal(t, "piecesauth: interrupted\n", string(said))
			assert.Empty(t, out.String())
		}
		assert.NotEqual(t, before.RefreshToken, after.RefreshToken, "what was granted is stored")
		m.ok(t, "token")
		assert.Zero(t, server.Revocations())
	}
}

// No other user of the machine may read a secret from the list of processes.
func TestNoSecretInTheListOfProcesses(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ps"); err != nil {
		t.Skip("needs ps")
	}
	m, server := newMachine(t), newServer(t, piecesauthtest.Options{})
	m.ok(t, loginArgs(server)...)
	token := m.stored(t, expire)
	asked, release := blockedRefresh(t, server)
	c := m.command(t.Context(), "token", "--header")
	require.NoError(t, c.Start())
	<-asked
	list, err := exec.CommandContext(t.Context(), "ps", "-A", "-ww", "-o", "args").Output()
	require.NoError(t, err)
	release()
	require.NoError(t, c.Wait())
	assert.Contains(t, string(list), "piecesauth token --header")
	assertNoSecret(t, token, string(list))
}

// terminal is a command in a pseudo-terminal.
type terminal struct {
	t    *testing.T
	tty  *os.File
	cmd  *exec.Cmd
	seen strings.Builder
}

func (m *machine) terminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	c := m.command(t.Context(), args...)
	tty, err := pty.Start(c)
	if err != nil {
		t.Skip("there is no pseudo-terminal: " + err.Error())
	}
	t.Cleanup(func() { _ = tty.Close() })
	return &terminal{t: t, tty: tty, cmd: c}
}

// until reads what the terminal shows until that has the text.
func (x *terminal) until(text string) string {
	x.t.Helper()
	buffer := make([]byte, 4096)
	for !strings.Contains(x.seen.String(), text) {
		n, err := x.tty.Read(buffer)
		_, _ = x.seen.Write(buffer[:n])
		if err != nil {
			require.Contains(x.t, x.seen.String(), text, err)
		}
	}
	return x.seen.String()
}

// end returns the exit code.
func (x *terminal) end() int {
	buffer := make([]byte, 4096)
	for {
		n, err := x.tty.Read(buffer)
		_, _ = x.seen.Write(buffer[:n])
		if err != nil {
			break
		}
	}
	_ = x.cmd.Wait()
	return x.cmd.ProcessState.ExitCode()
}

func addressIn(text string) string {
	for field := range strings.FieldsSeq(text) {
		if strings.Contains(field, "/authorize?") {
			return field
		}
	}
	return ""
}

func TestPasteInATerminal(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "BROWSER=none")
	server := m.serve(t)
	x := m.terminal(t, "login", "--no-browser", "--base-url", server.BaseURL, "--client-id", server.ClientID, "--issuer", server.Issuer, "--redirect-url", "http://127.0.0.1:0/callback")
	seen := x.until("It begins with http://127.0.0.1:")
	end, err := browse(addressIn(seen), false)
	require.NoError(t, err)
	_, err = x.tty.WriteString("nonsense\n")
	require.NoError(t, err)
	x.until("Try again:")
	_, err = x.tty.WriteString(end + "\n")
	require.NoError(t, err)
	x.until("Signed in as Ada Lovelace")
	assert.Zero(t, x.end())
	assert.NotContains(t, x.seen.String(), "\x1b", "no colour, in a terminal neither")
	assertNoSecret(t, m.stored(t, nil), x.seen.String())

	x = m.terminal(t, "token")
	assert.Zero(t, x.end())
	assert.Equal(t, m.stored(t, nil).AccessToken+"\r\n", x.seen.String())
}

func TestPasteWithoutATerminal(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "BROWSER=none")
	server := m.serve(t)
	c := m.command(t.Context(), "login", "--no-browser", "--base-url", server.BaseURL, "--client-id", server.ClientID, "--redirect-url", "http://127.0.0.1:0/callback")
	words, err := c.StderrPipe()
	require.NoError(t, err)
	in, err := c.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	var said strings.Builder
	buffer := make([]byte, 4096)
	for !strings.Contains(said.String(), "It begins with") {
		n, err := words.Read(buffer)
		require.NoError(t, err, said.String())
		_, _ = said.Write(buffer[:n])
	}
	end, err := browse(addressIn(said.String()), false)
	require.NoError(t, err)
	_, err = io.WriteString(in, end+"\n")
	require.NoError(t, err)
	_, err = io.Copy(&said, words)
	require.NoError(t, err)
	require.NoError(t, c.Wait())
	assert.Contains(t, said.String(), "Signed in as")
}

func TestCtrlCLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"--no-browser"}} {
		m, server := newMachine(t, "BROWSER=none"), newServer(t, piecesauthtest.Options{})
		x := m.terminal(t, loginArgs(server, args...)...)
		x.until("Then paste the address")
		_, err := x.tty.Write([]byte{3})
		require.NoError(t, err)
		assert.Equal(t, 130, x.end())
		assert.Contains(t, x.seen.String(), "piecesauth: interrupted")
		entries, err := os.ReadDir(m.folder())
		require.NoError(t, err)
		require.Len(t, entries, 1, "the lock alone")
		assert.Equal(t, "token.json.lock", entries[0].Name())
	}
}

func TestWaitIsShownInATerminal(t *testing.T) {
	t.Parallel()
	m, server := newMachine(t, "BROWSER=true", "DISPLAY=:0"), newServer(t, piecesauthtest.Options{}) // true opens nothing, and says it did
	x := m.terminal(t, loginArgs(server)...)
	seen := x.until(waiting + " ")
	assert.Contains(t, seen, "\r\n"+waiting+"\r"+waiting+" ", "on one line")
	end, err := browse(addressIn(seen), true)
	require.NoError(t, err)
	assert.NotEmpty(t, end)
	assert.Zero(t, x.end())
	assert.Regexp(t, waiting[:7]+`[^\n]* \ds\r\nSigned in as`, x.seen.String(), "the line has an end")

	for _, c := range []struct {
		args, env string
	}{{"--json", ""}, {"", "TERM=dumb"}} {
		plain := &machine{home: m.home, env: append(m.env[:len(m.env):len(m.env)], c.env)}
		x = plain.terminal(t, append([]string{"login"}, strings.Fields(c.args)...)...)
		x.until(waiting + "\r\n")
		_, err = x.tty.Write([]byte{3})
		require.NoError(t, err)
		assert.Equal(t, 130, x.end())
	}
}

func TestInvitation(t *testing.T) {
	t.Parallel()
	for _, columns := range []uint16{0, 120, 20} {
		tty, terminal, err := pty.Open()
		if err != nil {
			t.Skip("there is no pseudo-terminal: " + err.Error())
		}
		require.NoError(t, pty.Setsize(tty, &pty.Winsize{Cols: columns, Rows: 24}))
		live := rewritable(terminal)
		assert.Equal(t, columns != 20, live)
		synctest.Test(t, func(t *testing.T) {
			i := &invitation{to: terminal, live: live}
			stop := i.count()
			time.Sleep(time.Minute) // nobody is awaited yet
			_, err := io.WriteString(i, "address\n")
			require.NoError(t, err)
			time.Sleep(2*time.Second + time.Millisecond)
			_, err = io.WriteString(i, "paste\n")
			require.NoError(t, err)
			time.Sleep(time.Minute)
			stop() // or the bubble would not end
		})
		require.NoError(t, terminal.Close())
		shown, _ := io.ReadAll(tty) // which ends with an error, on Linux
		want := "address\r\n" + waiting + "\r" + waiting + " 1s\r" + waiting + " 2s\r\npaste\r\n"
		if !live {
			want = "address\r\n" + waiting + "\r\npaste\r\n"
		}
		assert.Equal(t, want, string(shown))
		require.NoError(t, tty.Close())
	}
	pipe, _, err := os.Pipe()
	require.NoError(t, err)
	assert.False(t, rewritable(pipe))
	require.NoError(t, pipe.Close())
	assert.False(t, rewritable(new(bytes.Buffer)))
}

func TestServerEndsByCtrlC(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	x := m.terminal(t, "server", "--addr", "127.0.0.1:0")
	seen := x.until(" logout --account test\r\n")
	assert.Contains(t, seen, "in another terminal")
	_, err := x.tty.Write([]byte{3})
	require.NoError(t, err)
	assert.Zero(t, x.end())
}
