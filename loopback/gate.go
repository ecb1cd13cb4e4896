package loopback

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxConns = 20
	// grace is how long a connection may take before it has to make room for
	// others. A browser on this machine sends its request at once.
	grace = 250 * time.Millisecond
)

// gate limits the number of open connections. When there is no room, it closes
// those that have been open for longer than grace, so that slow ones can't keep
// the browser out. Meanwhile new ones wait in the kernel's queue, so that fast
// ones can't push the browser out either.
type gate struct {
	slots chan struct{}
	tls   chan struct{} // a browser tried https
	mu    sync.Mutex
	conns map[*gatedConn]struct{}
}

func newGate() *gate {
	return &gate{slots: make(chan struct{}, maxConns), tls: make(chan struct{}, 1), conns: make(map[*gatedConn]struct{})}
}

// enter waits for room.
func (g *gate) enter() {
	for {
		select {
		case g.slots <- struct{}{}:
			return
		case <-time.After(g.evict()):
		}
	}
}

// evict closes the connections that have exceeded their grace, and returns how
// long the oldest of the others has left.
func (g *gate) evict() time.Duration {
	g.mu.Lock()
	var late []*gatedConn
	wait := grace
	for c := range g.conns {
		switch left := time.Until(c.accepted.Add(grace)); {
		case c.claimed.Load():
		case left <= 0:
			late = append(late, c)
		default:
			wait = min(wait, left)
		}
	}
	g.mu.Unlock()
	for _, c := range late {
		_ = c.Close()
	}
	return wait
}

// gatedListener accepts connections that have passed the gate.
type gatedListener struct {
	net.Listener
	gate *gate
}

func (l gatedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.gate.enter()
	conn := &gatedConn{
		TCPConn:  c.(*net.TCPConn), // a TCP listener returns no other type
		gate:     l.gate,
		accepted: time.Now(),
		closed:   make(chan struct{}),
	}
	l.gate.mu.Lock()
	l.gate.conns[conn] = struct{}{}
	l.gate.mu.Unlock()
	return conn, nil
}

// gatedConn frees its slot when it is closed. It embeds the *net.TCPConn for
// its CloseWrite, which net/http uses to make sure that an answer arrives.
type gatedConn struct {
	*net.TCPConn
	gate     *gate
	accepted time.Time
	claimed  atomic.Bool // it brought the callback, and must not be evicted
	begun    atomic.Bool // something was read
	once     sync.Once
	closed   chan struct{}
}

type connKey struct{} // of the connection in a request's context

// Read notices a connection that begins as TLS does: the browser has turned
// http into https, and reports only that it can't connect.
func (c *gatedConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	const handshake = 22 // RFC 8446 §5.1
	if n > 0 && !c.begun.Swap(true) && p[0] == handshake {
		select {
		case c.gate.tls <- struct{}{}:
		default:
		}
	}
	return n, err
}

func (c *gatedConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(func() {
		c.gate.mu.Lock()
		delete(c.gate.conns, c)
		c.gate.mu.Unlock()
		<-c.gate.slots
		close(c.closed)
	})
	return err
}
