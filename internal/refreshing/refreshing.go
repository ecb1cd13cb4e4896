// Package refreshing keeps a value that expires for any number of callers. One
// refresh serves all who need it, nobody waits while the value at hand is good
// for long enough, and what failed is not tried again and again.
//
// It knows neither tokens nor servers: whatever error a refresh returns is handed
// out as it is.
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

// Current is a value with the moments that matter, in nanoseconds of the wall
// clock: the monotonic one stands still while the machine sleeps.
type Current[T any] struct {
	Value     *T
	RefreshAt int64 // from when on it is refreshed, while callers still get it
	WaitAt    int64 // from when on callers wait for the refresh
	Expiry    int64
}

// Keeper holds the latest value known, at first none.
type Keeper[T any] struct {
	// Renew returns a value that will do for a while. It goes on when the caller
	// that it was begun for leaves. It may tell found which value there is
	// meanwhile. (A function hides its types from the linker, which keeps all
	// that an interface could reach.)
	Renew func(ctx context.Context, rejected string, found func(*Current[T])) (*Current[T], error)
	// Names returns what a value is rejected by, and what it is refreshed with.
	Names func(*T) (access, refresh string)

	current atomic.Pointer[Current[T]] // nil where none is known
	running atomic.Pointer[run[T]]     // nil where there is none
	mu      sync.Mutex                 // to start a refresh, end it, or change what follows
	changes int                        // by Replace, which a refresh must not undo
	failures
}

// run is one refresh, for all who wait for it.
type run[T any] struct {
	rejected string        // by an API, if that is the reason
	done     chan struct{} // closed when the others are set
	value    *Current[T]
	err      error
	again    bool // look once more: there is a value that is good meanwhile
}

// errNotReturned is of a refresh that never returned, as where a test of it ends.
var errNotReturned = errors.New("the store did not return")

// Good returns the value while it is not time to refresh it, else nil.
func (k *Keeper[T]) Good() *T {
	if c := k.current.Load(); c != nil && time.Now().UnixNano() < c.RefreshAt {
		return c.Value
	}
	return nil
}

// Get returns a value other than the one that was rejected, refreshed if it is
// time. Where the refresh fails or takes too long, the value at hand is returned
// until it expires.
func (k *Keeper[T]) Get(ctx context.Context, rejected string) (*T, error) {
	for {
		now := time.Now().UnixNano()
		c := k.current.Load()
		good := k.good(c, now, rejected)
		if good && (now < c.RefreshAt || k.holdsOff(c.Value, now)) {
			return c.Value, nil
		}
		if err := ctx.Err(); err != nil {
			if good {
				return c.Value, nil
			}
			return nil, err
		}
		r := k.join(ctx, rejected)
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
	access, _ := k.Names(c.Value)
	return access != rejected
}

// holdsOff reports whether a refresh of the value failed so lately that it isn't
// worth another one yet.
func (k *Keeper[T]) holdsOff(v *T, now int64) bool {
	_, refresh := k.Names(v)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed.holds(refresh, now)
}

// join returns the refresh that is under way, or starts one.
func (k *Keeper[T]) join(ctx context.Context, rejected string) *run[T] {
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
		r.value = c // of a refresh that ended just now
		close(r.done)
		return r
	}
	k.running.Store(r)
	go k.refresh(context.WithoutCancel(ctx), r, k.changes)
	return r
}

// await waits for the refresh, but no longer than half of what is left of the
// value at hand, if there is one. It returns nothing where there is to look once
// more.
func (k *Keeper[T]) await(ctx context.Context, r *run[T], atHand *Current[T], rejected string) (*T, error) {
	var tooLong <-chan time.Time
	if atHand != nil {
		tooLong = time.After(time.Duration(atHand.Expiry-time.Now().UnixNano()) / 2)
	}
	if tooLong == nil && ctx.Done() == nil {
		<-r.done // which of many callers costs less than a select
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
		if access, _ := k.Names(r.value.Value); access != rejected {
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

// refresh gets a value and tells those who wait.
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
		r = &run[T]{rejected: looked.rejected, done: make(chan struct{}), err: errNotReturned}
		k.running.Store(r)
		looked.again = true
		close(looked.done)
	}
	value, err := k.Renew(ctx, r.rejected, found)
	r.value, r.err = value, err
}

// PanicCause makes an error of a panic of a store or a transport, without what
// the panic may repeat.
func PanicCause(p any) error {
	if err, ok := p.(runtime.Error); ok {
		return fmt.Errorf("the store or the transport panicked: %s", exchange.Printable(err.Error()))
	}
	return fmt.Errorf("the store or the transport panicked with a %T", p)
}

// Replace puts a value in the place of whatever is known, also of what a refresh
// under way will bring; nil is none.
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
		if access, _ := k.Names(c.Value); access == rejected {
			k.current.Store(nil)
		}
	}
}
