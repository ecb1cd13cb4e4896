package tokenredis_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/tokenredis"
)

func start(t *testing.T) (*miniredis.Miniredis, *redis.Client) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return server, client
}

// cluster is a client of the same server that doesn't know how many there are.
func cluster(t *testing.T, server *miniredis.Miniredis) *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr()}, ContextTimeoutEnabled: true})
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client
}

func TestDB(t *testing.T) {
	for _, options := range []tokenredis.Options{{}, {Prefix: "other:", Idle: time.Hour}} {
		piecesauthtest.TestDB(t, func(t *testing.T) tokenkv.DB {
			_, client := start(t)
			return tokenredis.New(client, options)
		})
		piecesauthtest.TestDB(t, func(t *testing.T) tokenkv.DB {
			server, _ := start(t)
			return tokenredis.New(cluster(t, server), options)
		})
	}
}

func put(t *testing.T, db *tokenredis.DB, key, version, value string) string {
	t.Helper()
	newVersion, ok, err := db.Swap(t.Context(), key, version, []byte(value))
	require.NoError(t, err)
	require.True(t, ok)
	return newVersion
}

// both runs the test with a client of one server, and with one of a cluster.
func both(t *testing.T, test func(t *testing.T, server *miniredis.Miniredis, client redis.UniversalClient)) {
	t.Run("single", func(t *testing.T) {
		server, client := start(t)
		test(t, server, client)
	})
	t.Run("cluster", func(t *testing.T) {
		server, _ := start(t)
		test(t, server, cluster(t, server))
	})
}

func TestAgeIsByTheServersClock(t *testing.T) { both(t, testAge) }

func testAge(t *testing.T, server *miniredis.Miniredis, client redis.UniversalClient) {
	db := tokenredis.New(client, tokenredis.Options{})
	began := time.Date(2031, 2, 3, 4, 5, 6, 7000, time.UTC)
	server.SetTime(began)
	put(t, db, "ada", "", "value")
	for _, c := range []struct{ passed, age time.Duration }{
		{0, 0},
		{time.Microsecond, time.Microsecond},
		{3 * time.Hour, 3 * time.Hour},
		{-time.Minute, 0}, // the clock was set back
	} {
		server.SetTime(began.Add(c.passed))
		row, err := db.Get(t.Context(), "ada")
		require.NoError(t, err)
		assert.Equal(t, c.age, row.Age, "%v later", c.passed)
		assert.Equal(t, "value", string(row.Value))
	}
}

func TestIdle(t *testing.T) { both(t, testIdle) }

func testIdle(t *testing.T, server *miniredis.Miniredis, client redis.UniversalClient) {
	kept := tokenredis.New(client, tokenredis.Options{Prefix: "kept:"})
	idle := tokenredis.New(client, tokenredis.Options{Prefix: "idle:", Idle: time.Hour})
	put(t, kept, "ada", "", "value")
	version := put(t, idle, "ada", "", "value")
	assert.Zero(t, server.TTL("kept:ada"))
	assert.Equal(t, time.Hour, server.TTL("idle:ada"))

	server.FastForward(20 * time.Minute)
	_, err := idle.Get(t.Context(), "ada")
	require.NoError(t, err)
	assert.Equal(t, 40*time.Minute, server.TTL("idle:ada"), "more than half is left: nothing is written")

	server.FastForward(20 * time.Minute)
	_, err = idle.Get(t.Context(), "ada")
	require.NoError(t, err)
	assert.Equal(t, time.Hour, server.TTL("idle:ada"), "reading counts as use")

	server.FastForward(time.Minute)
	put(t, idle, "ada", version, "next")
	assert.Equal(t, time.Hour, server.TTL("idle:ada"), "so does writing")

	server.FastForward(61 * time.Minute)
	row, err := idle.Get(t.Context(), "ada")
	require.NoError(t, err)
	assert.Empty(t, row.Version)
	row, err = kept.Get(t.Context(), "ada")
	require.NoError(t, err)
	assert.NotEmpty(t, row.Version)

	put(t, tokenredis.New(client, tokenredis.Options{Prefix: "short:", Idle: time.Nanosecond}), "ada", "", "value")
	assert.Equal(t, time.Millisecond, server.TTL("short:ada"))
}

// A server that was restarted has no scripts any more.
func TestScriptsAreSentAgain(t *testing.T) { both(t, testScripts) }

func testScripts(t *testing.T, _ *miniredis.Miniredis, client redis.UniversalClient) {
	db := tokenredis.New(client, tokenredis.Options{})
	version := put(t, db, "ada", "", "value")
	for range 2 {
		require.NoError(t, client.ScriptFlush(t.Context()).Err())
		version = put(t, db, "ada", version, "value")
		require.NoError(t, client.ScriptFlush(t.Context()).Err())
		row, err := db.Get(t.Context(), "ada")
		require.NoError(t, err)
		require.Equal(t, version, row.Version)
	}
}

// A connection that breaks after the request: the swap happened, and a client
// that sent it again would see it refused.
func TestSwapIsSentOnce(t *testing.T) {
	server, client := start(t)
	put(t, tokenredis.New(client, tokenredis.Options{}), "warm", "", "the scripts are there")

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	swaps := make(chan struct{}, 10)
	go cutAfterSwaps(t.Context(), listener, server.Addr(), swaps)

	cut := redis.NewClient(&redis.Options{Addr: listener.Addr().String(), MaxRetries: 3})
	defer func() { _ = cut.Close() }()
	_, ok, err := tokenredis.New(cut, tokenredis.Options{}).Swap(t.Context(), "ada", "", []byte("value"))
	require.Error(t, err)
	require.False(t, ok)
	require.Len(t, swaps, 1)
	row, err := tokenredis.New(client, tokenredis.Options{}).Get(t.Context(), "ada")
	require.NoError(t, err)
	require.Equal(t, "value", string(row.Value))
}

// cutAfterSwaps passes everything on, but the answer to a script.
func cutAfterSwaps(ctx context.Context, listener net.Listener, target string, swaps chan<- struct{}) {
	for {
		in, err := listener.Accept()
		if err != nil {
			return
		}
		out, err := new(net.Dialer).DialContext(ctx, "tcp", target)
		if err != nil {
			return
		}
		go func() {
			defer func() { _, _ = in.Close(), out.Close() }()
			var script atomic.Bool
			go func() {
				defer func() { _, _ = in.Close(), out.Close() }()
				buffer := make([]byte, 1<<16)
				for {
					n, err := out.Read(buffer)
					if err == nil && script.Load() {
						swaps <- struct{}{}
						return
					}
					if err == nil {
						_, err = in.Write(buffer[:n])
					}
					if err != nil {
						return
					}
				}
			}()
			buffer := make([]byte, 1<<16)
			for {
				n, err := in.Read(buffer)
				if err != nil {
					return
				}
				if strings.Contains(string(buffer[:n]), "evalsha") {
					script.Store(true)
				}
				if _, err := out.Write(buffer[:n]); err != nil {
					return
				}
			}
		}()
	}
}

func TestErrors(t *testing.T) {
	server, client := start(t)
	db := tokenredis.New(client, tokenredis.Options{Prefix: "p:"})
	const id, value = "ada-the-secret-id", "the-secret-value"
	swap := func(ctx context.Context) error {
		_, _, err := db.Swap(ctx, id, "", []byte(value))
		return err
	}
	get := func(ctx context.Context) error {
		_, err := db.Get(ctx, id)
		return err
	}
	for _, c := range []struct {
		name    string
		prepare func() context.Context
		call    func(context.Context) error
		text    string
		is      error
	}{
		{"another type", func() context.Context { _, _ = server.Push("p:"+id, value); return t.Context() }, get, "get failed: Redis answered ", nil},
		{"not a row", func() context.Context { server.Del("p:" + id); _ = server.Set("p:"+id, value); return t.Context() }, get, "set Options.Prefix", nil},
		{"no time in it", func() context.Context {
			_ = server.Set("p:"+id, strings.Repeat(value, 9))
			return t.Context()
		}, get, "set Options.Prefix", nil},
		{"refused", func() context.Context { server.SetError("ERR " + id + value); return t.Context() }, swap, "Redis answered ERR", nil},
		{"no code", func() context.Context { server.SetError(id + value); return t.Context() }, swap, "swap failed (proto.RedisError)", nil},
		{"canceled", func() context.Context {
			server.SetError("")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		}, swap, "swap failed: context canceled", context.Canceled},
		{"deadline", func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), -1)
			cancel()
			return ctx
		}, get, "get failed: context deadline exceeded", context.DeadlineExceeded},
		{"down", func() context.Context { server.Close(); return t.Context() }, swap, "connection refused", nil},
	} {
		err := c.call(c.prepare())
		require.Error(t, err, c.name)
		assert.Contains(t, err.Error(), c.text, c.name)
		assert.NotContains(t, err.Error(), id, c.name)
		assert.NotContains(t, err.Error(), value, c.name)
		assert.NotContains(t, err.Error(), "\n", c.name)
		if c.is != nil {
			assert.ErrorIs(t, err, c.is, c.name)
		}
	}
	long := strings.Repeat("x", 513)
	_, err := db.Get(t.Context(), long)
	require.EqualError(t, err, "tokenredis: the id is longer than 512 bytes")
	_, _, err = db.Swap(t.Context(), long, "", []byte(value))
	require.EqualError(t, err, "tokenredis: the id is longer than 512 bytes")
}
