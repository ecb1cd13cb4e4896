package piecesauthtest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/piecesauth/piecesauth"
)

// TestStore is the suite that every [piecesauth.TokenStore] has to pass.
// factory returns an empty store, a new one at each call; it may use t for what
// the store needs, such as t.TempDir and t.Cleanup.
//
// Besides what the interface says, a store passes if
//
//   - Load neither waits for an Update in progress nor sees its result;
//   - an Update that waits for its turn returns the context's error when
//     the context ends, or if it has ended before, and does not run fn then;
//   - what fn returns is stored even if the context ends meanwhile, or an error
//     says that it was not: a rotated refresh token must not get lost silently;
//   - a panic in fn passes through Update, stores nothing, and keeps nobody
//     waiting;
//   - changes that a caller makes to a token that it received, or returned, don't reach the store.
//
// A store may also have the method
//
//	Replace(ctx context.Context, token *piecesauth.Token) error
//
// which stores a token, or deletes the stored one if token is nil, without
// reading it first. It is tested if it exists. It either waits for its turn, as
// Update does, or overtakes an Update in progress; that Update then may not
// store what its fn made of the old token.
//
// See [TestSharedStore] for stores that several processes share.
func TestStore(t *testing.T, factory func(t *testing.T) piecesauth.TokenStore) {
	t.Helper()
	TestSharedStore(t, func(t *testing.T) func() piecesauth.TokenStore {
		store := factory(t)
		return func() piecesauth.TokenStore { return store }
	})
}

// TestSharedStore is [TestStore] for stores whose token lives outside the
// process, in a file or a database. factory prepares an empty place for a
// token, and returns a function that opens it; whatever is stored through one
// store is visible to the others.
func TestSharedStore(t *testing.T, factory func(t *testing.T) (open func() piecesauth.TokenStore)) {
	t.Helper()
	for _, c := range storeCases {
		t.Run(c.name, func(t *testing.T) { c.run(t, factory(t)) })
	}
	t.Run("Replace", func(t *testing.T) {
		if _, ok := factory(t)().(replacer); !ok {
			t.Skip("the store has no Replace, which is optional")
		}
		for _, c := range replaceCases {
			t.Run(c.name, func(t *testing.T) { c.run(t, factory(t)) })
		}
	})
}

// replacer is an optional interface of a store.
type replacer interface {
	Replace(ctx context.Context, token *piecesauth.Token) error
}

type opener func() piecesauth.TokenStore

// A store that waits for ever fails after this long, rather than the whole
// test binary.
var patience = 30 * time.Second

var errFn = errors.New("the error of fn")

type storeCase struct {
	name string
	run  func(t testing.TB, open opener)
}

var storeCases = []storeCase{
	{"empty", func(t testing.TB, open opener) {
		expectStored(t, open(), nil)
		var got *piecesauth.Token
		calls := 0
		update(t, open(), func(_ context.Context, old *piecesauth.Token) (*piecesauth.Token, error) {
			calls++
			got = old
			return nil, nil
		})
		if calls != 1 || got != nil {
			t.Errorf("Update of an empty store: ran fn %d times, with %#v; want once, with nil", calls, got)
		}
		expectStored(t, open(), nil)
	}},
	{"round trip", func(t testing.TB, open opener) {
		for _, token := range sampleTokens() {
			put(t, open(), token)
			expectStored(t, open(), token)
			update(t, open(), func(_ context.Context, old *piecesauth.Token) (*piecesauth.Token, error) {
				expectEqual(t, "what fn gets", old, token)
				return old, nil
			})
			expectStored(t, open(), token)
		}
	}},
	{"delete", func(t testing.TB, open opener) {
		put(t, open(), sampleTokens()[0])
		put(t, open(), nil)
		expectStored(t, open(), nil)
		update(t, open(), func(_ context.Context, old *piecesauth.Token) (*piecesauth.Token, error) {
			if old != nil {
				t.Errorf("fn gets %#v after the token was deleted, want nil", old)
			}
			return nil, nil
		})
		token := sampleTokens()[1]
		put(t, open(), token)
		expectStored(t, open(), token)
	}},
	{"error of fn", func(t testing.TB, open opener) {
		for _, stored := range []*piecesauth.Token{nil, sampleTokens()[0]} {
			put(t, open(), stored)
			for _, result := range []*piecesauth.Token{nil, {AccessToken: "not to be stored"}} {
				err := open().Update(context.Background(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
					return result, errFn
				})
				if !errors.Is(err, errFn) {
					t.Errorf("Update: %v, want the error of fn", err)
				}
				expectStored(t, open(), stored)
			}
		}
	}},
	{"context of fn", func(t testing.TB, open opener) {
		type key struct{}
		ctx := context.WithValue(context.Background(), key{}, "value")
		err := open().Update(ctx, func(ctx context.Context, _ *piecesauth.Token) (*piecesauth.Token, error) {
			if ctx.Value(key{}) != "value" {
				t.Errorf("the context that fn gets lacks the values of Update's")
			}
			return nil, nil
		})
		if err != nil {
			t.Errorf("Update: %v", err)
		}
	}},
	{"one at a time", func(t testing.TB, open opener) {
		const goroutines, updates = 8, 5
		var running, overlaps atomic.Int32
		var wg sync.WaitGroup
		for range goroutines {
			store := open()
			wg.Go(func() {
				for range updates {
					update(t, store, func(_ context.Context, old *piecesauth.Token) (*piecesauth.Token, error) {
						if running.Add(1) > 1 {
							overlaps.Add(1)
						}
						defer running.Add(-1)
						n := 0
						if old != nil {
							n, _ = strconv.Atoi(old.AccessToken)
						}
						return &piecesauth.Token{AccessToken: strconv.Itoa(n + 1)}, nil
					})
				}
			})
		}
		wait(t, "concurrent updates", wg.Wait)
		if n := overlaps.Load(); n > 0 {
			t.Errorf("fn ran while another fn did, %d times", n)
		}
		expectStored(t, open(), &piecesauth.Token{AccessToken: strconv.Itoa(goroutines * updates)})
	}},
	{"waiting ends with the context", func(t testing.TB, open opener) {
		token := sampleTokens()[0]
		put(t, open(), token)
		whileUpdating(t, open(), &piecesauth.Token{AccessToken: "later"}, func() {
			store := open()
			never := func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { //nolint:unparam // Update asks for this signature
				t.Errorf("fn ran although another Update is under way")
				return nil, errFn
			}
			wait(t, "Update with a context that ends", func() {
				canceled, cancel := context.WithCancel(context.Background())
				cancel()
				if err := store.Update(canceled, never); !errors.Is(err, context.Canceled) {
					t.Errorf("Update that waits with a canceled context: %v, want context.Canceled", err)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
				defer cancel()
				if err := store.Update(ctx, never); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Update that waits past its deadline: %v, want context.DeadlineExceeded", err)
				}
			})
		})
		expectStored(t, open(), &piecesauth.Token{AccessToken: "later"})
	}},
	{"context that has ended", func(t testing.TB, open opener) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err := open().Update(ctx, func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			t.Errorf("fn ran although the context has ended")
			return nil, nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Update with a canceled context: %v, want context.Canceled", err)
		}
	}},
	{"context that ends during fn", func(t testing.TB, open opener) {
		before, after := sampleTokens()[0], sampleTokens()[1]
		put(t, open(), before)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		err := open().Update(ctx, func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			cancel()
			return after, nil
		})
		if err != nil {
			after = before
		}
		expectStored(t, open(), after)
	}},
	{"load during an update", func(t testing.TB, open opener) {
		before, after := sampleTokens()[0], sampleTokens()[1]
		for _, before := range []*piecesauth.Token{nil, before} {
			put(t, open(), before)
			whileUpdating(t, open(), after, func() {
				store := open()
				wait(t, "Load during an Update", func() { expectStored(t, store, before) })
			})
			expectStored(t, open(), after)
		}
	}},
	{"panic in fn", func(t testing.TB, open opener) {
		token := sampleTokens()[0]
		put(t, open(), token)
		func() {
			defer func() {
				if recover() != errFn { //nolint:errorlint // the very value
					t.Errorf("a panic in fn did not pass through Update")
				}
			}()
			_ = open().Update(context.Background(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
				panic(errFn)
			})
		}()
		expectStored(t, open(), token)
		wait(t, "Update after a panic in fn", func() { put(t, open(), nil) })
		expectStored(t, open(), nil)
	}},
	{"error of fn lets others in", func(t testing.TB, open opener) {
		_ = open().Update(context.Background(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			return nil, errFn
		})
		token := sampleTokens()[0]
		wait(t, "Update after an error of fn", func() { put(t, open(), token) })
		expectStored(t, open(), token)
	}},
	{"tokens are copies", func(t testing.TB, open opener) {
		want := sampleTokens()[0]
		spoil := func(token *piecesauth.Token) {
			token.AccessToken, token.RefreshToken = "spoilt", "spoilt"
			for i := range token.Scopes {
				token.Scopes[i] = "spoilt"
			}
		}
		store := open()
		given := sampleTokens()[0]
		put(t, store, given)
		spoil(given)
		expectStored(t, store, want)

		loaded, err := store.Load(context.Background())
		if err != nil {
			t.Fatalf("Load: %v", err)
		}
		spoil(loaded)
		expectStored(t, store, want)

		_ = store.Update(context.Background(), func(_ context.Context, old *piecesauth.Token) (*piecesauth.Token, error) {
			if old != nil {
				spoil(old)
			}
			return old, errFn
		})
		expectStored(t, store, want)
	}},
}

// Stores that have Replace pass these as well.
var replaceCases = []storeCase{
	{"replaces", func(t testing.TB, open opener) {
		for _, before := range []*piecesauth.Token{nil, sampleTokens()[1]} {
			put(t, open(), before)
			for _, token := range sampleTokens() {
				replace(t, open(), token)
				expectStored(t, open(), token)
			}
		}
		update(t, open(), func(_ context.Context, old *piecesauth.Token) (*piecesauth.Token, error) {
			expectEqual(t, "what fn gets", old, sampleTokens()[len(sampleTokens())-1])
			return old, nil
		})
	}},
	{"deletes", func(t testing.TB, open opener) {
		replace(t, open(), nil)
		expectStored(t, open(), nil)
		put(t, open(), sampleTokens()[0])
		replace(t, open(), nil)
		expectStored(t, open(), nil)
		update(t, open(), func(_ context.Context, old *piecesauth.Token) (*piecesauth.Token, error) {
			if old != nil {
				t.Errorf("fn gets a token after Replace with nil, want nil")
			}
			return nil, nil
		})
	}},
	{"during an update", func(t testing.TB, open opener) {
		for _, token := range []*piecesauth.Token{{AccessToken: "replaced"}, nil} {
			put(t, open(), &piecesauth.Token{AccessToken: "before"})
			replaceDuringUpdate(t, open, token)
		}
	}},
	{"waiting ends with the context of Replace", func(t testing.TB, open opener) {
		put(t, open(), sampleTokens()[0])
		later, replaced := &piecesauth.Token{AccessToken: "later"}, &piecesauth.Token{AccessToken: "replaced"}
		var err error
		whileUpdating(t, open(), later, func() {
			store := open()
			wait(t, "Replace with a deadline", func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
				defer cancel()
				err = store.(replacer).Replace(ctx, replaced)
			})
		})
		switch {
		case err == nil: // it did not wait; "during an update" is about that
		case !errors.Is(err, context.DeadlineExceeded):
			t.Errorf("Replace that waits past its deadline: %v, want context.DeadlineExceeded", err)
		default:
			expectStored(t, open(), later)
		}
	}},
	{"after a panic in fn", func(t testing.TB, open opener) {
		put(t, open(), sampleTokens()[1])
		func() {
			defer func() { _ = recover() }()
			_ = open().Update(context.Background(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
				panic(errFn)
			})
		}()
		token := sampleTokens()[0]
		wait(t, "Replace after a panic in fn", func() { replace(t, open(), token) })
		expectStored(t, open(), token)
		wait(t, "Update after Replace", func() { put(t, open(), nil) })
		expectStored(t, open(), nil)
	}},
	{"Replace copies", func(t testing.TB, open opener) {
		store, given := open(), sampleTokens()[0]
		replace(t, store, given)
		given.AccessToken, given.Scopes[0] = "spoilt", "spoilt"
		expectStored(t, store, sampleTokens()[0])
	}},
}

// replaceDuringUpdate replaces the token that an Update in progress has seen.
// The Replace may wait for the Update, or overtake it: then the Update fails,
// or runs fn again. In the end the store holds token, or what fn made of token.
func replaceDuringUpdate(t testing.TB, open opener, token *piecesauth.Token) {
	t.Helper()
	made := func(old *piecesauth.Token) *piecesauth.Token {
		if old == nil {
			return &piecesauth.Token{AccessToken: "made of nothing"}
		}
		return &piecesauth.Token{AccessToken: "made of " + old.AccessToken}
	}
	started, end := make(chan struct{}), make(chan struct{})
	start := sync.OnceFunc(func() { close(started) })
	finish := sync.OnceFunc(func() { close(end) })
	defer finish()
	var wg sync.WaitGroup
	updating, replacing := open(), open()
	wg.Go(func() {
		defer start() // if fn never runs
		_ = updating.Update(context.Background(), func(_ context.Context, old *piecesauth.Token) (*piecesauth.Token, error) {
			start()
			<-end
			return made(old), nil
		})
	})
	wait(t, "Update", func() { <-started })
	replaced := make(chan struct{})
	wg.Go(func() {
		defer close(replaced)
		replace(t, replacing, token)
	})
	// Whether it waits can't be asked. A Replace that is slower than this, and
	// doesn't wait, is not seen to go ahead; what follows holds all the same.
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-replaced:
	case <-timer.C:
	}
	finish()
	wait(t, "Update and Replace", wg.Wait)
	stored, err := open().Load(context.Background())
	if err == nil && stored.AccessToken == made(token).AccessToken {
		return
	}
	expectStored(t, open(), token)
}

func replace(t testing.TB, store piecesauth.TokenStore, token *piecesauth.Token) {
	t.Helper()
	if err := store.(replacer).Replace(context.Background(), token); err != nil {
		t.Errorf("Replace: %v", err)
	}
}

// sampleTokens returns tokens that differ in what a store may get wrong. The
// first has a value in every field.
func sampleTokens() []*piecesauth.Token {
	return []*piecesauth.Token{
		{
			AccessToken: "access", TokenType: "Bearer", RefreshToken: "refresh", IDToken: "e30.e30.",
			Scopes: piecesauth.Scopes{"openid", "offline_access"},
			Expiry: time.Date(2026, 7, 8, 9, 10, 11, 123456789, time.UTC),
		},
		{RefreshToken: "only"},
		{AccessToken: "no expiry", Scopes: piecesauth.Scopes{"openid"}},
		{AccessToken: "elsewhere", Expiry: time.Date(2026, 7, 8, 9, 10, 11, 0, time.FixedZone("", 5*60*60+30*60))},
		{AccessToken: "Grüße, 世界 🔑 <&> \"'\\ \n\t\u2028"},
		{AccessToken: strings.Repeat("0123456789abcdef", 1<<11), IDToken: strings.Repeat("e", 1<<15)},
	}
}

func update(t testing.TB, store piecesauth.TokenStore, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) {
	t.Helper()
	if err := store.Update(context.Background(), fn); err != nil {
		t.Errorf("Update: %v", err)
	}
}

func put(t testing.TB, store piecesauth.TokenStore, token *piecesauth.Token) {
	t.Helper()
	update(t, store, func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return token, nil })
}

// whileUpdating runs f during an Update whose fn returns result.
func whileUpdating(t testing.TB, store piecesauth.TokenStore, result *piecesauth.Token, f func()) {
	t.Helper()
	started, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	start := sync.OnceFunc(func() { close(started) }) // a store may run fn again
	finish := sync.OnceFunc(func() { close(end) })
	defer finish()
	go func() {
		defer close(ended)
		update(t, store, func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			start()
			<-end
			return result, nil
		})
	}()
	wait(t, "Update", func() {
		select {
		case <-started:
		case <-ended:
			t.Errorf("Update did not run fn")
		}
	})
	f()
	finish()
	wait(t, "Update", func() { <-ended })
}

// wait fails the test if f takes as long as only a deadlock does.
func wait(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		t.Fatalf("%s: still waiting after %v", what, patience)
	}
}

// expectStored checks what Load returns; nil stands for ErrNoToken.
func expectStored(t testing.TB, store piecesauth.TokenStore, want *piecesauth.Token) {
	t.Helper()
	got, err := store.Load(context.Background())
	switch {
	case want == nil && !errors.Is(err, piecesauth.ErrNoToken):
		t.Errorf("Load of an empty store: %v, want piecesauth.ErrNoToken", err)
	case want == nil && got != nil:
		t.Errorf("Load of an empty store returns a token")
	case want != nil && err != nil:
		t.Errorf("Load: %v", err)
	case want != nil:
		expectEqual(t, "Load", got, want)
	}
}

// expectEqual compares field by field. Two expiries are equal if they are the
// same instant.
func expectEqual(t testing.TB, what string, got, want *piecesauth.Token) {
	t.Helper()
	if got == nil {
		t.Errorf("%s: no token", what)
		return
	}
	if !got.Expiry.Equal(want.Expiry) {
		t.Errorf("%s: Expiry %v, want %v", what, got.Expiry, want.Expiry)
	}
	g, w := reflect.ValueOf(*got), reflect.ValueOf(*want)
	for i := range g.NumField() {
		field := g.Type().Field(i)
		if !field.IsExported() || field.Name == "Expiry" {
			continue
		}
		a, b := g.Field(i).Interface(), w.Field(i).Interface()
		if scopes, ok := a.(piecesauth.Scopes); ok && slices.Equal(scopes, b.(piecesauth.Scopes)) {
			continue // nil or of no length
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %s is %.60q, want %.60q", what, field.Name, a, b)
		}
	}
}
