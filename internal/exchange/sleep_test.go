package exchange

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// relay passes bytes between clients and a server until it is told to let the
// connections it has fall silent: it then drops what they send and closes
// nothing, as a network does whose state was lost while a machine slept.
type relay struct {
	net.Listener

	server string
	mu     sync.Mutex
	lines  []*line
}

type line struct {
	client, server net.Conn
	silent         atomic.Bool
}

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of a test
	require.NoError(t, err)
	r := &relay{Listener: listener, server: server}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", r.server) //nolint:noctx // likewise
			if !assert.NoError(t, err) {
				_ = client.Close()
				return
			}
			l := &line{client: client, server: server}
			r.mu.Lock()
			r.lines = append(r.lines, l)
			r.mu.Unlock()
			wg.Go(func() { l.pass(client, server) })
			wg.Go(func() { l.pass(server, client) })
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		r.mu.Lock()
		for _, l := range r.lines {
			_, _ = l.client.Close(), l.server.Close()
		}
		r.mu.Unlock()
		wg.Wait()
	})
	return r
}

func (l *line) pass(from, to net.Conn) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			if !l.silent.Load() {
				_ = to.Close()
			}
			return
		}
		if !l.silent.Load() {
			_, _ = to.Write(b[:n])
		}
	}
}

// silence makes the present connections silent, and returns how many there are.
func (r *relay) silence() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		l.silent.Store(true)
	}
	return len(r.lines)
}

// TestDeadConnection refreshes over HTTP/2 after the connection has died without
// a word. The health check of the transport closes it, so that one refresh fails
// at most, and the next has another connection.
func TestDeadConnection(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, theForm, string(body))
		asked.Add(1)
		_, _ = io.WriteString(w, strconv.Itoa(r.ProtoMajor))
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	r := newRelay(t, server.Listener.Addr().String())

	c := New(nil, slog.New(slog.DiscardHandler))
	t.Cleanup(c.CloseIdleConnections)
	transport, ok := c.http.Transport.(*http.Transport)
	require.True(t, ok)
	trusting, ok := server.Client().Transport.(*http.Transport)
	require.True(t, ok)
	transport.TLSClientConfig = &tls.Config{RootCAs: trusting.TLSClientConfig.RootCAs}
	// As TestDefaultTransport has it, in less time.
	transport.HTTP2.SendPingTimeout /= 100
	transport.HTTP2.PingTimeout /= 5
	refresh := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		answer, err := post(ctx, t, c, "https://"+r.Addr().String())
		if err == nil {
			require.Equal(t, "2", string(answer.Body))
		}
		return err
	}
	require.NoError(t, refresh())
	for sleep := range 2 {
		require.Equal(t, sleep+1, r.silence())
		if err := refresh(); err != nil {
			require.NotErrorIs(t, err, context.DeadlineExceeded, "nothing noticed that the connection is dead")
			require.True(t, failure(t, err).MaybeSent)
			require.NoError(t, refresh(), "the dead connection was used again")
		}
		require.EqualValues(t, sleep+2, asked.Load())
	}
}
