package piecesauthtest

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/piecesauth/piecesauth"
)

// place is where a token is kept.
type place struct {
	lock chan struct{} // held by an Update
	mu   sync.Mutex
	json []byte

	replaced int // how often
}

// store is a right store, for one process. Its fields make it a wrong one.
type store struct {
	*place

	noLock, noContext, storesOnError, keepsOnNil, losesScopes, losesNanoseconds,
	runsFnLate, loadWaits, keepsLockOnPanic, keepsLockOnError, wrongEmptyError, otherContext,
	swallowsError, forgetsWhenCanceled, swallowsPanic, skipsFnWhenEmpty,
	replaceKeepsOnNil, replaceGoesAhead, replaceIsUndone, replaceIgnoresContext, replaceDoesNothing bool

	alias  bool              // Load gives what callers hold
	shared *piecesauth.Token // for alias
}

func (s *store) Load(context.Context) (*piecesauth.Token, error) {
	if s.loadWaits {
		s.lock <- struct{}{}
		defer func() { <-s.lock }()
	}
	return s.read()
}

func (s *store) read() (*piecesauth.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.alias && s.shared != nil:
		return s.shared, nil
	case s.json == nil && s.wrongEmptyError:
		return nil, errors.New("nothing there")
	case s.json == nil:
		return nil, piecesauth.ErrNoToken
	}
	token := &piecesauth.Token{}
	err := json.Unmarshal(s.json, token)
	if s.losesScopes {
		token.Scopes = nil
	}
	if s.losesNanoseconds {
		token.Expiry = token.Expiry.Truncate(1000)
	}
	return token, err
}

func (s *store) write(token *piecesauth.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == nil {
		if !s.keepsOnNil {
			s.json, s.shared = nil, nil
		}
		return nil
	}
	data, err := json.Marshal(token)
	if err == nil {
		s.json, s.shared = data, token
	}
	return err
}

func (s *store) acquire(ctx context.Context) error {
	switch {
	case s.noContext:
		s.lock <- struct{}{}
		return nil
	case s.noLock:
		return nil
	}
	if err := ctx.Err(); err != nil && !s.runsFnLate {
		return err
	}
	select {
	case s.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

//nolint:contextcheck // otherContext is a fault that TestStore has to find
func (s *store) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	if err := s.acquire(ctx); err != nil {
		if s.runsFnLate {
			_, _ = fn(ctx, nil)
		}
		return err
	}
	returned, failed := false, false
	defer func() {
		panicked := !returned
		if s.swallowsPanic && panicked {
			_ = recover()
		}
		if !s.noLock && !(panicked && s.keepsLockOnPanic) && !(failed && s.keepsLockOnError) {
			<-s.lock
		}
	}()
	old, err := s.read()
	if err != nil {
		old = nil
	}
	if s.skipsFnWhenEmpty && old == nil {
		returned = true
		return nil
	}
	if s.otherContext {
		ctx = context.Background()
	}
	if s.noLock {
		runtime.Gosched()
	}
	replaced := s.replacements()
	token, err := fn(ctx, old)
	for !s.replaceIsUndone && s.replacements() > replaced {
		replaced = s.replacements()
		old, _ = s.read()
		token, err = fn(ctx, old)
	}
	returned, failed = true, err != nil
	if s.forgetsWhenCanceled && ctx.Err() != nil {
		return nil
	}
	if err == nil || s.storesOnError {
		if err := s.write(token); err != nil {
			return err
		}
	}
	if s.swallowsError {
		return nil
	}
	return err
}

func (s *store) replacements() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replaced
}

//nolint:contextcheck // replaceIgnoresContext is a fault that TestStore has to find
func (s *store) Replace(ctx context.Context, token *piecesauth.Token) error {
	if s.replaceIgnoresContext {
		ctx = context.Background()
	}
	if s.replaceDoesNothing || s.replaceKeepsOnNil && token == nil {
		return nil
	}
	if !s.replaceGoesAhead {
		select {
		case s.lock <- struct{}{}:
			defer func() { <-s.lock }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.write(token); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replaced++
	return nil
}

func newStore() *store { return &store{place: &place{lock: make(chan struct{}, 1)}} }

func TestTestStorePassesARightStore(t *testing.T) {
	TestStore(t, func(*testing.T) piecesauth.TokenStore { return newStore() })
}

func TestTestStorePassesAStoreWhoseReplaceGoesAhead(t *testing.T) {
	TestStore(t, func(*testing.T) piecesauth.TokenStore {
		s := newStore()
		s.replaceGoesAhead = true
		return s
	})
}

func TestTestStorePassesAStoreWithoutReplace(t *testing.T) {
	TestStore(t, func(*testing.T) piecesauth.TokenStore { return struct{ piecesauth.TokenStore }{newStore()} })
}

func TestTestStorePassesMemoryStore(t *testing.T) {
	TestStore(t, func(*testing.T) piecesauth.TokenStore { return &piecesauth.MemoryStore{} })
}

func TestTestSharedStorePassesARightStore(t *testing.T) {
	TestSharedStore(t, func(*testing.T) func() piecesauth.TokenStore {
		first := newStore()
		return func() piecesauth.TokenStore { return &store{place: first.place} }
	})
}

// verdict takes down whether a case fails.
type verdict struct {
	testing.TB
	failed chan struct{}
}

func (v verdict) Helper() {}

func (v verdict) Errorf(string, ...any) {
	select {
	case v.failed <- struct{}{}:
	default:
	}
}

func (v verdict) Fatalf(string, ...any) {
	v.Errorf("")
	runtime.Goexit()
}

func TestTestStoreFailsWrongStores(t *testing.T) {
	defer func(p time.Duration) { patience = p }(patience)
	patience = 100 * time.Millisecond // some wait for ever
	for name, test := range map[string]struct {
		spoil func(*store)
		want  []string // the cases that see it
	}{
		"callers overlap":        {func(s *store) { s.noLock = true }, []string{"one at a time", "waiting ends with the context"}},
		"ended context ignored":  {func(s *store) { s.runsFnLate = true }, []string{"context that has ended", "waiting ends with the context"}},
		"stores on error":        {func(s *store) { s.storesOnError = true }, []string{"error of fn"}},
		"nil does not delete":    {func(s *store) { s.keepsOnNil = true }, []string{"delete"}},
		"loses a field":          {func(s *store) { s.losesScopes = true }, []string{"round trip"}},
		"loses nanoseconds":      {func(s *store) { s.losesNanoseconds = true }, []string{"round trip"}},
		"wrong error when empty": {func(s *store) { s.wrongEmptyError = true }, []string{"empty"}},
		"fn not run when empty":  {func(s *store) { s.skipsFnWhenEmpty = true }, []string{"empty"}},
		"fn gets other context":  {func(s *store) { s.otherContext = true }, []string{"context of fn"}},
		"swallows fn's error":    {func(s *store) { s.swallowsError = true }, []string{"error of fn"}},
		"loses a token silently": {func(s *store) { s.forgetsWhenCanceled = true }, []string{"context that ends during fn"}},
		"swallows a panic":       {func(s *store) { s.swallowsPanic = true }, []string{"panic in fn"}},
		"load waits for updates": {func(s *store) { s.loadWaits = true }, []string{"load during an update"}},
		"waits past the context": {func(s *store) { s.noContext = true }, []string{"waiting ends with the context"}},
		"locked after a panic":   {func(s *store) { s.keepsLockOnPanic = true }, []string{"panic in fn"}},
		"locked after an error":  {func(s *store) { s.keepsLockOnError = true }, []string{"error of fn lets others in"}},
		"keeps what callers own": {func(s *store) { s.alias = true }, []string{"tokens are copies"}},

		"Replace does nothing":       {func(s *store) { s.replaceDoesNothing = true }, []string{"replaces", "deletes", "during an update"}},
		"Replace does not delete":    {func(s *store) { s.replaceKeepsOnNil = true }, []string{"deletes"}},
		"Replace is undone":          {func(s *store) { s.replaceGoesAhead, s.replaceIsUndone = true, true }, []string{"during an update"}},
		"Replace waits too long":     {func(s *store) { s.replaceIgnoresContext = true }, []string{"waiting ends with the context of Replace"}},
		"Replace blocked by a panic": {func(s *store) { s.keepsLockOnPanic = true }, []string{"after a panic in fn"}},
		"Replace keeps the caller's": {func(s *store) { s.alias = true }, []string{"Replace copies"}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := 0
			for _, c := range slices.Concat(storeCases, replaceCases) {
				if !slices.Contains(test.want, c.name) {
					continue
				}
				seen++
				s := newStore()
				test.spoil(s)
				v := verdict{t, make(chan struct{}, 1)}
				done := make(chan struct{})
				go func() { // for Goexit
					defer close(done)
					c.run(v, func() piecesauth.TokenStore { return s })
				}()
				<-done
				if s.keepsLockOnPanic || s.keepsLockOnError {
					<-s.lock // let go whoever still waits
				}
				assert.Len(t, v.failed, 1, "the case %q passes it", c.name)
			}
			assert.Len(t, test.want, seen, "cases by that name")
		})
	}
}
