package oidc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// requestTimeout bounds a request that nobody may be waiting for any more, with
// the retries that Fetch makes.
const requestTimeout = 35 * time.Second

// shared is a request whose answer all who ask meanwhile share.
type shared[T any] struct {
	mu      sync.Mutex
	running *answer[T] // nil where nobody waits
}

type answer[T any] struct {
	done  chan struct{} // closed when the others are set
	value T
	err   error
}

// errNotNow: there have been as many requests as may be.
var errNotNow = errors.New("asked too often")

func always() bool { return true }

// do returns what fn returns, which is called unless it runs already, and only
// if it may. A caller whose context ends leaves; fn goes on for the others.
func (s *shared[T]) do(ctx context.Context, may func() bool, fn func(context.Context) (T, error)) (T, error) {
	var none T
	if ctx.Err() != nil {
		return none, &Error{Kind: Keys, Err: ctx.Err()}
	}
	s.mu.Lock()
	a := s.running
	if a == nil && !may() {
		s.mu.Unlock()
		return none, errNotNow
	}
	if a == nil {
		a = &answer[T]{done: make(chan struct{})}
		s.running = a
		go s.run(context.WithoutCancel(ctx), a, fn)
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		return none, &Error{Kind: Keys, Err: ctx.Err()}
	}
}

func (s *shared[T]) run(ctx context.Context, a *answer[T], fn func(context.Context) (T, error)) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil { // of a transport of the caller's: nobody could recover it here but us
			a.err = &Error{Kind: Keys, Err: fmt.Errorf("the request panicked (%T)", p)}
		}
		s.mu.Lock()
		s.running = nil
		s.mu.Unlock()
		close(a.done)
	}()
	a.value, a.err = fn(ctx)
}
