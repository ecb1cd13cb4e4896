package loopback

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// When there is no room, the connections over their grace make some: not the
// one that brought the callback, and not those that came just now.
func TestGateEvicts(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	gated := gatedListener{l, newGate()}
	var conns []*gatedConn
	for range maxConns {
		client, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		defer client.Close()
		conn, err := gated.Accept()
		require.NoError(t, err)
		defer conn.Close()
		conns = append(conns, conn.(*gatedConn))
	}
	claimed, young, old := conns[0], conns[1], conns[2:]
	claimed.claimed.Store(true)
	claimed.accepted = time.Now().Add(-time.Hour)
	young.accepted = time.Now().Add(time.Hour) // of a test machine that is slow
	for _, c := range old {
		c.accepted = time.Now().Add(-grace)
	}
	require.Len(t, gated.gate.slots, maxConns)
	require.Positive(t, gated.gate.evict())
	for i, c := range conns {
		select {
		case <-c.closed:
			assert.GreaterOrEqual(t, i, 2)
		default:
			assert.Less(t, i, 2)
		}
	}
	require.Len(t, gated.gate.slots, 2)
	gated.gate.enter() // there is room
	_ = old[0].Close() // as net/http does, after us
	require.Len(t, gated.gate.slots, 3)
}
