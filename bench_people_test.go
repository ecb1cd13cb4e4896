package piecesauth

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkPerson measures what a process holds for each person who is signed
// in, over the strings of their tokens. A shared store keeps nothing in the
// process; MemoryStore keeps a copy of the token.
func BenchmarkPerson(b *testing.B) {
	b.Run("shared", func(b *testing.B) { benchPerson(b, func() TokenStore { return elsewhere{} }) })
	b.Run("memory", func(b *testing.B) { benchPerson(b, func() TokenStore { return nil }) })
}

// elsewhere is a store that keeps nothing here.
type elsewhere struct{}

func (elsewhere) Load(context.Context) (*Token, error) { return nil, ErrNoToken }

func (elsewhere) Update(ctx context.Context, fn func(context.Context, *Token) (*Token, error)) error {
	_, err := fn(ctx, nil)
	return err
}

func benchPerson(b *testing.B, store func() TokenStore) {
	const people = 10_000
	auth, _ := benchAuth(b, "", stub(benchToken))
	inUse := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var over int
	for range b.N {
		held := make([]*TokenSource, people)
		text := 0
		before := inUse()
		for i := range held {
			// As long as the allocator's own sizes, which are none of ours.
			s := func(n int) string {
				text += n
				return strings.Repeat("x", n-8) + fmt.Sprintf("%08d", i)
			}
			held[i] = auth.TokenSource(store())
			token := &Token{
				AccessToken: s(1024), TokenType: "Bearer", RefreshToken: s(64), IDToken: s(1024), Scopes: auth.config.Scopes,
				Obtained: time.Now(), Expiry: time.Now().Add(time.Hour), BaseURL: auth.config.BaseURL, ClientID: auth.config.ClientID,
			}
			if err := held[i].Save(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
		over = (int(inUse()-before) - text) / people
		runtime.KeepAlive(held)
	}
	b.ReportMetric(float64(over), "B/person")
}

// BenchmarkAhead has 1,000 callers ask for a token that is good, and that it is
// time to refresh, of a server that takes two seconds.
func BenchmarkAhead(b *testing.B) {
	const callers = 1000
	var slowest time.Duration
	var refreshes int64
	for range b.N {
		gate := &gated{stub: benchToken, open: make(chan struct{})}
		auth, err := New(Config{ClientID: "cid", HTTPClient: &http.Client{Transport: gate}})
		if err != nil {
			b.Fatal(err)
		}
		store := &savedStore{saved: make(chan struct{}, 2)}
		source := auth.TokenSource(store)
		now := time.Now()
		token := &Token{AccessToken: "at", RefreshToken: "rt", Obtained: now.Add(-59 * time.Minute), Expiry: now.Add(time.Minute)}
		if err := source.Save(b.Context(), token); err != nil {
			b.Fatal(err)
		}
		<-store.saved
		time.AfterFunc(2*time.Second, func() { close(gate.open) })
		took := make([]time.Duration, callers)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range took {
			wg.Go(func() {
				<-start
				asked := time.Now()
				got, err := source.Token(b.Context())
				took[i] = time.Since(asked)
				if err != nil || got.AccessToken != "at" {
					b.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		for _, d := range took {
			slowest = max(slowest, d)
		}
		<-store.saved
		refreshes = max(refreshes, gate.requests.Load())
	}
	b.ReportMetric(slowest.Seconds()*1000, "ms/slowest")
	b.ReportMetric(float64(refreshes), "refreshes")
}

// savedStore says when something was saved.
type savedStore struct {
	MemoryStore

	saved chan struct{}
}

func (s *savedStore) Update(ctx context.Context, fn func(context.Context, *Token) (*Token, error)) error {
	err := s.MemoryStore.Update(ctx, fn)
	s.saved <- struct{}{}
	return err
}
