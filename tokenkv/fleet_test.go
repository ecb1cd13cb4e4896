package tokenkv_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// pooledDB is a database over a network: each replica has so many connections.
type pooledDB struct {
	tokenkv.DB

	connections chan struct{}
	latency     time.Duration
	gets, swaps *atomic.Int64
}

func (p *pooledDB) use(ctx context.Context, count *atomic.Int64) (func(), error) {
	select {
	case p.connections <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	count.Add(1)
	time.Sleep(p.latency) // of virtual time
	return func() { <-p.connections }, nil
}

func (p *pooledDB) Get(ctx context.Context, key string) (tokenkv.Row, error) {
	done, err := p.use(ctx, p.gets)
	if err != nil {
		return tokenkv.Row{}, err
	}
	defer done()
	return p.DB.Get(ctx, key)
}

func (p *pooledDB) Swap(ctx context.Context, key, version string, value []byte) (string, bool, error) {
	done, err := p.use(ctx, p.swaps)
	if err != nil {
		return "", false, err
	}
	defer done()
	return p.DB.Swap(ctx, key, version, value)
}

// server is a token endpoint that rotates refresh tokens and revokes on reuse.
type server struct {
	takes time.Duration

	mu        sync.Mutex
	used      map[string]bool
	refreshes int
	reused    int
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	status, answer := http.StatusBadRequest, `{"error":"invalid_grant"}`
	if token := form.Get("refresh_token"); s.used[token] {
		s.reused++
	} else {
		s.used[token] = true
		s.refreshes++
		status, answer = http.StatusOK, fmt.Sprintf(`{"access_token":"access%d","token_type":"Bearer","expires_in":3600,"refresh_token":"%s+"}`, s.refreshes, token)
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(answer)), Request: req,
	}, nil
}

func newAuthenticator(t testing.TB, s *server) *piecesauth.Authenticator {
	t.Helper()
	auth, err := piecesauth.New(piecesauth.Config{
		BaseURL: "https://auth.example", ClientID: "client", RedirectURL: "https://app.example/callback", HTTPClient: &http.Client{Transport: s},
	})
	require.NoError(t, err)
	return auth
}

// When the tokens of 200 people expire at once, four replicas with five
// connections each refresh each of them once, and nobody waits for long; also
// where the server takes twice as long as the lease is.
func TestFleet(t *testing.T) {
	for _, takes := range []time.Duration{500 * time.Millisecond, 20 * time.Second} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFleet(t, takes) })
		})
	}
}

func testFleet(t *testing.T, takes time.Duration) {
	const people, replicas, pool = 200, 4, 5
	var memory tokenkv.MemoryDB
	var gets, swaps atomic.Int64
	s := &server{takes: takes, used: map[string]bool{}}
	for i := range people {
		save(t, &memory, fmt.Sprint("person", i), &piecesauth.Token{AccessToken: "old", RefreshToken: fmt.Sprint("refresh", i), Expiry: time.Now()})
	}
	began := time.Now()
	var all sync.WaitGroup
	for range replicas {
		auth := newAuthenticator(t, s)
		tokens := open(t, &pooledDB{&memory, make(chan struct{}, pool), 2 * time.Millisecond, &gets, &swaps})
		for i := range people {
			all.Go(func() {
				source := auth.TokenSource(tokens.Store(fmt.Sprint("person", i)))
				token, err := source.Token(t.Context())
				if assert.NoError(t, err) {
					assert.True(t, token.Valid())
					assert.Equal(t, fmt.Sprintf("refresh%d+", i), token.RefreshToken)
				}
			})
		}
	}
	all.Wait()
	took := time.Since(began)
	t.Logf("%v, %d gets, %d swaps", took, gets.Load(), swaps.Load())
	assert.Equal(t, people, s.refreshes)
	assert.Zero(t, s.reused)
	assert.LessOrEqual(t, took, takes+1500*time.Millisecond)
	if renewals := int64(takes / time.Second); renewals > 0 {
		assert.GreaterOrEqual(t, swaps.Load(), (2+renewals)*people, "the leases were renewed")
	}
}

func save(t testing.TB, db tokenkv.DB, id string, token *piecesauth.Token) {
	t.Helper()
	s, ok := open(t, db).Store(id).(interface {
		Replace(context.Context, *piecesauth.Token) error
	})
	require.True(t, ok)
	require.NoError(t, s.Replace(t.Context(), token))
}

// No operation holds a connection while it waits for another: one is enough, and
// a refresh holds none while the server is asked.
func TestPoolOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var memory tokenkv.MemoryDB
		var gets, swaps atomic.Int64
		s := &server{takes: 20 * time.Second, used: map[string]bool{}}
		auth := newAuthenticator(t, s)
		tokens := open(t, &pooledDB{&memory, make(chan struct{}, 1), 2 * time.Millisecond, &gets, &swaps})
		save(t, &memory, "slow", &piecesauth.Token{AccessToken: "old", RefreshToken: "refresh", Expiry: time.Now()})
		save(t, &memory, "other", &piecesauth.Token{AccessToken: "good", Expiry: time.Now().Add(time.Hour)})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				token, err := auth.TokenSource(tokens.Store("slow")).Token(t.Context())
				assert.NoError(t, err)
				assert.True(t, token.Valid())
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		token, err := auth.TokenSource(tokens.Store("other")).Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "good", token.AccessToken)
		assert.Less(t, time.Since(began), 20*time.Millisecond)
		all.Wait()
		assert.Equal(t, 1, s.refreshes)
		assert.Zero(t, s.reused)
	})
}
