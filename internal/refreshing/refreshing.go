// Package refreshing keeps a value that expires for any number of callers. One
// refresh serves all of them, nobody waits while the current value is valid for
// long enough, and a refresh that failed is not repeated at once.
//
// It knows neither tokens nor servers, and returns the errors of a refresh
// unchanged.
package refreshing

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/piecesauth/piecesauth/internal/exchange"
)

// Current is a value with the times that matter, in nanoseconds of the wall clock,
// because the monotonic clock stops while the machine sleeps.
type Current[T any] struct {
	Value     *T
	RefreshAt int64 // when to refresh it, while callers still get it
	WaitAt    int64 // when callers start to wait for the refresh
	Expiry    int64
}

// Keeper holds the latest known value, at first none.
type Keeper[T any] struct {
	// Renew returns a value that will last for a while. It continues when the
	// caller that started it leaves. It may pass found the value that is valid
	// meanwhile. It is a function because the linker keeps every method that an
	// interface could reach.
	Renew func(ctx context.Context, rejected string, found func(*Current[T])) (*Current[T], error)
	Group *Group[T]

	current atomic.Pointer[Current[T]] // nil before the first
	running atomic.Pointer[run[T]]     // the refresh in progress, nil if there is none
	mu      sync.Mutex                 // held to start or end a refresh, or to change the fields below
	changes int                        // counts calls of Replace, which a refresh must not undo
	failures
}

// run is one refresh, shared by all who wait for it.
type run[T any] struct {
	rejected string        // the access token that an API refused, if that is the reason
	done     chan struct{} // closed when the other fields are set
	value    *Current[T]
	err      error
	again    bool // look again: another value is valid by now

	commit func() bool // see Group.begin; nil once it has returned true; guarded by Keeper.mu
}

// errNotReturned is the error of a refresh whose store never returned.
var errNotReturned = errors.New("the store did not return")

// Good returns the value until it is time to refresh it, and nil after that.
func (k *Keeper[T]) Good() *T {
	if c := k.current.Load(); c != nil && time.Now().UnixNano() < c.RefreshAt {
		return c.Value
	}
	return nil
}

// Get returns a value other than the rejected one, refreshed if it is time. If the
// refresh fails or takes too long, it returns the current value until that
// expires.
func (k *Keeper[T]) Get(ctx context.Context, rejected string) (*T, error) {
	for {
		now := time.Now().UnixNano()
		c := k.current.Load()
		good := k.good(c, now, rejected)
		if good && (now < c.RefreshAt || k.failedRecently(c.Value, now)) {
			return c.Value, nil
		}
		if err := ctx.Err(); err != nil {
			if good {
				return c.Value, nil
			}
			return nil, err
		}
		r := k.currentRun(ctx, rejected)
		if good && now < c.WaitAt {
			return c.Value, nil
		}
		if !good {
			c = nil
		}
		if v, err := k.await(ctx, r, c, rejected); err != nil || v != nil {
			return v, err
		}
	}
}

func (k *Keeper[T]) good(c *Current[T], now int64, rejected string) bool {
	if c == nil || now >= c.Expiry {
		return false
	}
	if rejected == "" {
		return true
	}
	access, _ := k.Group.names(c.Value)
	return access != rejected
}

// failedRecently reports whether a refresh of the value failed so recently that it is
// too early for another.
func (k *Keeper[T]) failedRecently(v *T, now int64) bool {
	_, refresh := k.Group.names(v)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed.applies(refresh, now)
}

// currentRun returns the refresh in progress, or starts one.
func (k *Keeper[T]) currentRun(ctx context.Context, rejected string) *run[T] {
	if r := k.running.Load(); r != nil {
		return r
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.running.Load(); r != nil {
		return r
	}
	r := &run[T]{rejected: rejected, done: make(chan struct{})}
	now := time.Now().UnixNano()
	if c := k.current.Load(); k.good(c, now, rejected) && now < c.RefreshAt {
		r.value = c // from a refresh that ended just now
		close(r.done)
		return r
	}
	ctx, commit, end := k.Group.begin(context.WithoutCancel(ctx))
	if commit == nil {
		r.err = ErrClosed
		close(r.done)
		return r
	}
	r.commit = commit
	k.running.Store(r)
	go func() {
		defer end()
		k.refresh(ctx, r, k.changes)
	}()
	return r
}

// Commit is called by Renew before it spends anything: from then on [Group.Close]
// waits for the refresh. After Close it returns [ErrClosed], and nothing may be
// spent.
func (k *Keeper[T]) Commit() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.running.Load()
	if r.commit != nil && !r.commit() {
		return ErrClosed
	}
	r.commit = nil
	return nil
}

// await waits for the refresh. If there is a valid value, it waits at most half of
// the time that is left of it. It returns nothing if the caller must look again.
func (k *Keeper[T]) await(ctx context.Context, r *run[T], atHand *Current[T], rejected string) (*T, error) {
	var tooLong <-chan time.Time
	if atHand != nil {
		tooLong = time.After(time.Duration(atHand.Expiry-time.Now().UnixNano()) / 2)
	}
	if tooLong == nil && ctx.Done() == nil {
		<-r.done // costs many callers less than a select
	}
	select {
	case <-r.done:
	case <-tooLong:
		return atHand.Value, nil
	case <-ctx.Done():
		if c := k.current.Load(); k.good(c, time.Now().UnixNano(), rejected) {
			return c.Value, nil
		}
		return nil, ctx.Err()
	}
	if r.again {
		return nil, nil
	}
	if r.err == nil && rejected == "" {
		return r.value.Value, nil
	}
	if r.err == nil {
		if access, _ := k.Group.names(r.value.Value); access != rejected {
			return r.value.Value, nil
		}
	}
	switch c := k.current.Load(); {
	case k.good(c, time.Now().UnixNano(), rejected):
		return c.Value, nil
	case r.rejected != rejected:
		return nil, nil
	case r.err == nil:
		return nil, errors.New("the refresh returned what it was to replace")
	}
	return nil, r.err
}

// refresh obtains a value and tells those who wait.
func (k *Keeper[T]) refresh(ctx context.Context, r *run[T], changes int) {
	r.err = errNotReturned
	defer func() {
		if p := recover(); p != nil {
			r.value, r.err = nil, PanicCause(p)
		}
		k.mu.Lock()
		if r.err == nil && k.changes == changes {
			k.current.Store(r.value)
		}
		k.running.Store(nil)
		k.mu.Unlock()
		close(r.done)
	}()
	found := func(v *Current[T]) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.changes == changes {
			k.current.Store(v)
		}
		looked := r
		r = &run[T]{rejected: looked.rejected, done: make(chan struct{}), err: errNotReturned, commit: looked.commit}
		k.running.Store(r)
		looked.again = true
		close(looked.done)
	}
	value, err := k.Renew(ctx, r.rejected, found)
	r.value, r.err = value, err
}

// PanicCause returns an error for a panic of a store or a transport, without the
// text of the panic, which may hold a secret.
func PanicCause(p any) error {
	if err, ok := p.(runtime.Error); ok {
		return fmt.Errorf("the store or the transport panicked: %s", exchange.Printable(err.Error()))
	}
	return fmt.Errorf("the store or the transport panicked with a %T", p)
}

// Replace sets the current value, or removes it if v is nil. A refresh in progress
// does not undo that.
func (k *Keeper[T]) Replace(v *Current[T]) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	k.failed = nil
	k.current.Store(v)
}

// Drop forgets the value, unless another one has taken its place.
func (k *Keeper[T]) Drop(rejected string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.current.Load(); c != nil {
		if access, _ := k.Group.names(c.Value); access == rejected {
			k.current.Store(nil)
		}
	}
}
