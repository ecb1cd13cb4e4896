package fleet_test

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// process is this program once more, in a role.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	in     *json.Encoder
	out    *json.Decoder
	killed atomic.Bool
	id     string // to the authorization server
}

func start(t testing.TB, role string, config any) *process {
	t.Helper()
	text, err := json.Marshal(config)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0]) //nolint:noctx,gosec // it ends with its standard input; G702: it is this program
	cmd.Env = append(os.Environ(), roleVariable+"="+role, roleVariable+"_CONFIG="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd, stdin: stdin, in: json.NewEncoder(stdin), out: json.NewDecoder(stdout)}
	t.Cleanup(func() {
		if p.killed.Load() {
			return
		}
		_ = p.stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	})
	return p
}

// ask sends a request and waits for its answer; io.EOF where the process was
// killed.
func (p *process) ask(request, answer any) error {
	if err := p.in.Encode(request); err != nil {
		return io.EOF
	}
	if err := p.out.Decode(answer); err != nil {
		return io.EOF
	}
	return nil
}

func (p *process) kill() {
	p.killed.Store(true)
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // says that it was killed
	_ = p.stdin.Close()
}

func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
}
