package fleet_test

import (
	"context"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between a client and its database, and can lose answers: it
// takes one from the database, and breaks the connection instead of passing it on.
type proxy struct {
	listener net.Listener
	target   string
	losing   atomic.Bool  // the next answer
	perMille atomic.Int64 // the share of answers that is lost
	lost     atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// through returns the database with a proxy in front.
func through(t testing.TB, d database) (database, *proxy) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, conns: map[net.Conn]bool{}}
	if d.Name == "mariadb" {
		_, rest, _ := strings.Cut(d.Address, "@tcp(")
		p.target, _, _ = strings.Cut(rest, ")")
	} else {
		u, err := url.Parse(d.Address)
		require.NoError(t, err)
		p.target = u.Host
	}
	d.Address = strings.Replace(d.Address, p.target, listener.Addr().String(), 1)
	ctx := context.WithoutCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.pass(ctx, in) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		serving.Wait()
	})
	return d, p
}

func (p *proxy) pass(ctx context.Context, in net.Conn) {
	out, err := new(net.Dialer).DialContext(ctx, "tcp", p.target)
	if err != nil { // a database that is down
		_ = in.Close()
		return
	}
	p.mu.Lock()
	p.conns[in], p.conns[out] = true, true
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(out, in, func() bool { return false }) })
	wg.Go(func() { p.copy(in, out, p.loses) })
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, in)
	delete(p.conns, out)
	p.mu.Unlock()
}

// copy passes on what comes, until either end closes or an answer is lost.
func (p *proxy) copy(to, from net.Conn, loses func() bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil || loses() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) loses() bool {
	if p.losing.CompareAndSwap(true, false) || rand.Int64N(1000) < p.perMille.Load() {
		p.lost.Add(1)
		return true
	}
	return false
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}
