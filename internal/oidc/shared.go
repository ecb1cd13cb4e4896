package oidc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/piecesauth/piecesauth/internal/exchange"
)

// requestTimeout limits a request that nobody may be waiting for any more. It
// includes the retries that Fetch makes.
const requestTimeout = exchange.Timeout + 5*time.Second

// shared is a request whose answer is shared by all who ask for it meanwhile.
type shared[T any] struct {
	mu      sync.Mutex
	running *answer[T] // nil if nobody waits
}

type answer[T any] struct {
	done    chan struct{} // closed when value and err are set
	value   T
	err     error
	waiting int // for it; when the last one leaves, it ends
	cancel  context.CancelFunc
}

// errNotNow means that as many requests as allowed have been made.
var errNotNow = errors.New("asked too often")

func always() bool { return true }

// do returns what fn returns. It calls fn unless it is running already, and
// only if it may. If a caller's context ends, its call returns; fn continues
// for the others until the deadline of the call that started it, and is
// cancelled when nobody is left.
func (s *shared[T]) do(ctx context.Context, may func() bool, fn func(context.Context) (T, error)) (T, error) {
	var none T
	for {
		if ctx.Err() != nil {
			return none, &Error{Kind: Keys, Err: ctx.Err()}
		}
		a, ours := s.join(ctx, may, fn)
		if a == nil {
			return none, errNotNow
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			if !s.leave(a, !ours || ctx.Err() != context.DeadlineExceeded) {
				return none, &Error{Kind: Keys, Err: ctx.Err()}
			}
			<-a.done // at once, and it says more
		}
		if ours || ctx.Err() != nil || !errors.Is(a.err, context.DeadlineExceeded) {
			return a.value, a.err
		}
	}
}

// join returns the request in progress, or starts one. It returns nil if that
// is not allowed.
func (s *shared[T]) join(ctx context.Context, may func() bool, fn func(context.Context) (T, error)) (a *answer[T], started bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		if !may() {
			return nil, false
		}
		started = true
		deadline := time.Now().Add(requestTimeout)
		if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
			deadline = d
		}
		s.running = &answer[T]{done: make(chan struct{})}
		var running context.Context
		running, s.running.cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline) //nolint:gosec // G118: run and leave call it
		go s.run(running, s.running, fn)
	}
	s.running.waiting++
	return s.running, started
}

// leave reports whether nobody else waits, so that the request ends: by
// cancellation, or by its own deadline.
func (s *shared[T]) leave(a *answer[T], cancel bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.waiting--; a.waiting > 0 {
		return false
	}
	if s.running == a {
		s.running = nil // the next caller starts another
	}
	if cancel {
		a.cancel()
	}
	return true
}

func (s *shared[T]) run(ctx context.Context, a *answer[T], fn func(context.Context) (T, error)) {
	defer a.cancel()
	defer func() {
		if p := recover(); p != nil { // of a transport of the caller's: nobody could recover it here but us
			a.err = &Error{Kind: Keys, Err: fmt.Errorf("the request panicked (%T)", p)}
		}
		s.mu.Lock()
		if s.running == a {
			s.running = nil
		}
		s.mu.Unlock()
		close(a.done)
	}()
	a.value, a.err = fn(ctx)
}
