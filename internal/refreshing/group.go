package refreshing

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed means that the [Group] of a [Keeper] has been closed.
var ErrClosed = errors.New("the authenticator is closed")

// Group is what several keepers have in common. Its refreshes are ended together:
// a program that exits in the middle of one would lose what it brings.
type Group[T any] struct {
	names func(*T) (access, refresh string)

	mu      sync.Mutex      // held to begin a refresh, and to close
	closing context.Context //nolint:containedctx // a flag that context.AfterFunc can wait for
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// NewGroup returns a group without refreshes. names returns the access token and
// the refresh token of a value.
func NewGroup[T any](names func(*T) (access, refresh string)) *Group[T] {
	g := &Group[T]{names: names}
	g.closing, g.cancel = context.WithCancel(context.Background()) //nolint:gosec // G118: Close calls it, if it is needed
	return g
}

// Close cancels refreshes that have spent nothing yet, waits for all others, and
// lets no other begin.
func (g *Group[T]) Close() {
	g.mu.Lock()
	g.cancel()
	g.mu.Unlock()
	g.running.Wait()
}

// begin returns the context of a refresh, which ends when the group is closed. After
// a call of commit it no longer does, unless commit returns false. end ends the
// refresh. It returns no functions if the group has been closed.
func (g *Group[T]) begin(ctx context.Context) (_ context.Context, commit func() bool, end func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing.Err() != nil {
		return ctx, nil, nil
	}
	g.running.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	commit = context.AfterFunc(g.closing, cancel)
	return ctx, commit, func() {
		commit()
		cancel()
		g.running.Done()
	}
}
