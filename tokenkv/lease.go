package tokenkv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/beforesend"
)

const (
	// A waiter asks again after a random time between these; sooner at first.
	firstPoll = 25 * time.Millisecond
	lastPoll  = 250 * time.Millisecond
	// retryEvery is how soon a holder asks a failing database again.
	retryEvery = 100 * time.Millisecond
	// quiet is how long a stale lease must be seen unchanged: after an outage
	// of the database its holder may be alive, and returns within retryEvery.
	quiet = time.Second
	// renewEvery is less than quiet, so that a live holder does not look gone
	// if the database's clock is set forward.
	renewEvery = 800 * time.Millisecond
	// leaseOverGood is for how many lengths a stale lease is respected while
	// its token is valid: nobody needs a new token, and a holder that was
	// stopped has time to store one.
	leaseOverGood = 12
	// forever is how long the holder tries to store a token that was obtained:
	// others find the one that it replaces as soon as the database is back.
	forever = time.Duration(math.MaxInt64)
	// maxFailures is how many database errors in a row end an operation that
	// has nothing to lose.
	maxFailures = 3
)

var errLost = errors.New("tokenkv: the refresh was stopped for so long that another process may be at it")

// lease is the right to replace one generation of a token.
type lease struct {
	*store

	holder string
	base   document // what was leased, including the lease

	busy    chan struct{} // holds one item while the database is asked
	version string        // of the row that has the lease; guarded by busy

	mu      sync.Mutex
	renewed time.Time // just before the last swap that is known to have succeeded
	sent    bool      // a request is in progress that can't be taken back
	lost    bool      // another process may have the lease
	stopped bool      // so the refresh was told to end
}

// acquire waits until nobody has the lease, and takes it. It returns no lease
// and no error if it reads a token that is enough.
func (s *store) acquire(ctx context.Context, enough func(*piecesauth.Token) bool) (got *lease, _ error) {
	l := &lease{store: s, holder: s.env.random(), busy: make(chan struct{}, 1)}
	var (
		seen     string    // the version last read,
		since    time.Time // since when it is watched,
		looked   time.Time // and when it was read last
		failures int
		waits    bool // for somebody's lease
	)
	defer func(began time.Time) {
		if waits {
			s.debug(ctx, "waited for a lease", "for", s.env.mono(began), "got_it", got != nil)
		}
	}(time.Now())
	for poll := 2 * firstPoll; ; poll = min(2*poll, lastPoll) {
		unchanged := s.env.mono(since)
		row, doc, err := s.get(ctx)
		if err != nil || row.Version != seen || s.env.mono(looked) >= quiet {
			// While the database doesn't answer, no holder can renew, and a
			// holder that comes back late is not seen.
			seen, since, unchanged = row.Version, time.Now(), 0
		}
		looked = time.Now()
		if err == nil {
			switch {
			case doc.heldBy(l.holder): // by a swap whose answer was lost
				s.debugLost(ctx, "a lease")
				l.version = row.Version
				return l, nil
			case doc.Token != nil && enough(doc.Token):
				return nil, nil
			case doc.Lease == nil || isVoid(&row, &doc, unchanged):
				var ok bool
				if ok, err = l.take(ctx, &row, doc); ok {
					if doc.Lease != nil {
						s.debug(ctx, "took a lease over", "age", row.Age, "watched", unchanged, "takeovers", l.base.Takeovers)
					}
					return l, nil
				}
			default:
				waits = true
			}
		}
		if err == nil {
			failures = 0
		} else if failures++; failures == maxFailures || !isTransient(ctx, err) {
			return nil, err
		}
		if err := s.pause(ctx, poll); err != nil {
			return nil, err
		}
	}
}

// isVoid reports whether the lease of a row may be taken over, after the row
// was seen unchanged for that long: it is older than its length by the
// database's clock, or it was watched for that length.
func isVoid(row *Row, doc *document, unchanged time.Duration) bool {
	length := doc.Lease.Length
	if doc.Token.Valid() {
		length *= leaseOverGood
	}
	return unchanged > length || row.Age > length && unchanged >= quiet
}

// take writes the lease to the row.
func (l *lease) take(ctx context.Context, row *Row, doc document) (bool, error) {
	if row.Version == "" {
		doc.Generation = l.env.random()
	}
	if doc.Lease != nil {
		doc.Takeovers++
	}
	doc.Lease = &leaseDocument{Holder: l.holder, Length: l.Tokens.lease}
	l.base = doc
	asked := time.Now()
	if l.renewed.IsZero() {
		l.renewed = asked // in case the answer is lost
	}
	version, ok, err := l.swap(ctx, row.Version, &doc)
	if ok {
		l.version, l.renewed = version, asked
	}
	return ok, err
}

// update runs fn and stores its result. It returns false if another process was
// faster, and everything has to be done again.
func (l *lease) update(ctx context.Context, fn update) (settled bool, _ error) {
	release, refused := true, false
	defer func() {
		if release { // also where fn panics, or ends its goroutine
			l.release(ctx, refused)
		}
	}()
	var given *piecesauth.Token // a copy, which fn may change
	before, err := encodeToken(l.base.Token)
	if err == nil {
		err = json.Unmarshal(before, &given)
	}
	if err != nil {
		return true, err
	}
	token, err := l.run(ctx, fn, given)
	if err != nil {
		refused = errors.Is(err, &piecesauth.Error{Code: "invalid_grant"})
		return !l.wasStopped() || ctx.Err() != nil, err
	}
	var next *document
	if token != nil {
		next = &document{
			Generation: l.env.random(), Token: token,
			Predecessor: l.base.Generation, PredecessorTakeovers: l.base.Takeovers,
		}
		if _, err := l.encode(next); err != nil {
			return true, err
		}
		if after, err := encodeToken(token); err == nil && bytes.Equal(before, after) {
			return true, nil
		}
	}
	release = false
	stood, err := l.settle(ctx, next, forever, func(d *document) bool {
		return d.Generation == l.base.Generation || // whoever has the lease by now
			next != nil && d.Predecessor == l.base.Generation && d.PredecessorTakeovers < l.base.Takeovers
	})
	switch ago := l.sinceRenewed(); {
	case err != nil:
	case !stood:
		l.debug(ctx, "dropped a result: something else was stored meanwhile")
	case ago > l.Tokens.lease:
		l.debug(ctx, "stored a result after its lease ran out", "since_renewal", ago)
	}
	return stood, err
}

func encodeToken(t *piecesauth.Token) ([]byte, error) {
	return json.Marshal(t) //nolint:gosec // G117: to compare and to copy it
}

// run runs fn while it keeps the lease.
func (l *lease) run(ctx context.Context, fn update, given *piecesauth.Token) (*piecesauth.Token, error) {
	keepCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.keep(keepCtx, cancel)
	}()
	defer func() {
		stop()
		<-done
		cancel(nil)
	}()
	return fn(beforesend.With(ctx, l.beforeSend), given)
}

// keep renews the lease until ctx ends. It allows a third of the lease for each
// renewal, so that half of it never passes while the database answers within
// that. When the lease can no longer be relied on, keep cancels the refresh,
// unless its request was sent: the answer replaces what it spent.
func (l *lease) keep(ctx context.Context, cancel context.CancelCauseFunc) {
	often := min(renewEvery, l.Tokens.lease/6)
	wait := often
	for {
		select {
		case <-l.env.after(wait):
		case <-ctx.Done():
			return
		}
		l.busy <- struct{}{}
		err := l.renew(ctx, l.patience())
		<-l.busy
		wait = often
		if err == nil {
			continue
		}
		wait = retryEvery
		overtaken := errors.Is(err, errLost)
		if l.hasToStop(ctx, overtaken) {
			cancel(errLost)
			return
		}
		if overtaken {
			return
		}
	}
}

// hasToStop reports whether a refresh has to stop, because the row says so, or
// because too much time has passed. Once its request was sent, it does not have
// to.
func (l *lease) hasToStop(ctx context.Context, overtaken bool) bool {
	l.mu.Lock()
	before, sent, ago := l.lost, l.sent, l.unrenewed()
	l.lost = l.lost || overtaken || !l.sent && l.left() <= 0
	l.stopped = l.lost && !l.sent
	now, stopped := l.lost, l.stopped
	l.mu.Unlock()
	if now && !before {
		l.debug(ctx, "lost a lease", "overtaken", overtaken, "sent", sent, "since_renewal", ago)
	}
	return stopped
}

// wasStopped reports whether a refresh failed because of its lease, and spent
// nothing.
func (l *lease) wasStopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped && !l.sent
}

// left returns for how long the lease can still be relied on. That is half of
// its length, so that clocks may run at rates that differ by a factor of less
// than two. It uses the clock that shows more time passed: one stops while the
// machine sleeps, the other can be set. The caller holds l.mu.
func (l *lease) left() time.Duration {
	return l.Tokens.lease/2 - l.unrenewed()
}

// unrenewed returns how long ago the last renewal was. The caller has l.mu.
func (l *lease) unrenewed() time.Duration {
	return max(l.env.mono(l.renewed), l.env.wall(l.renewed))
}

func (l *lease) sinceRenewed() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unrenewed()
}

// beforeSend runs the last check before a request is sent: after a long stop it
// asks the database again, and so notices a takeover.
func (l *lease) beforeSend(ctx context.Context) error {
	send := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.sent = !l.lost && l.left() > 0
		return l.sent
	}
	if send() {
		return nil
	}
	select {
	case l.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.busy }()
	if send() { // renewed meanwhile
		return nil
	}
	if err := l.renew(ctx, l.Tokens.lease/3); err != nil {
		_ = l.hasToStop(ctx, errors.Is(err, errLost))
		return err
	}
	if !send() {
		return errLost
	}
	return nil
}

// patience returns how long to wait for the database: not longer than the lease
// can be relied on, while a refresh can still be stopped.
func (l *lease) patience() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	third := l.Tokens.lease / 3
	if left := l.left(); !l.sent && left > 0 {
		return min(left, third)
	}
	return third
}

// renew renews the lease. The caller holds l.busy.
func (l *lease) renew(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		asked := time.Now()
		version, ok, err := l.swap(ctx, l.version, &l.base)
		if ok {
			if ago := l.sinceRenewed(); ago > l.Tokens.lease/3 {
				l.debug(ctx, "renewed a lease late", "since_renewal", ago)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.version, l.renewed = version, asked
			return nil
		}
		row, doc, lerr := l.get(ctx)
		switch {
		case lerr != nil:
			return lerr
		case !doc.heldBy(l.holder):
			return errLost
		case err != nil && row.Version == l.version:
			return err
		}
		if row.Version != l.version {
			l.debugLost(ctx, "a renewal")
		}
		l.version = row.Version // of a swap whose answer was lost: when it was is not known
	}
}

// release ends the lease and leaves the token unchanged. After a takeover, a
// token that was refused as spent is removed, but not its generation, because
// the previous holder of the lease may have obtained its successor, and may
// still store it. If release fails, others wait until the lease is void.
func (l *lease) release(ctx context.Context, refused bool) {
	next := l.base
	next.Lease = nil
	buries := refused && next.Takeovers > 0 && next.Token != nil
	if buries {
		next.Token, next.Spent = nil, true
	}
	to := &next
	if next.Token == nil && !next.Spent {
		to = nil
	}
	stood, err := l.settle(ctx, to, retryEvery*maxFailures, func(d *document) bool { return d.heldBy(l.holder) })
	if buries && stood && err == nil {
		l.debug(ctx, "left a tombstone: the refresh token was refused after a takeover", "takeovers", next.Takeovers)
	}
}

// settle writes the result of an update, or deletes the row if next is nil,
// over a row that mine accepts, and retries for the given time. If something
// else has been stored by then, it returns false and no error.
func (l *lease) settle(ctx context.Context, next *document, patience time.Duration, mine func(stored *document) bool) (bool, error) {
	ctx = context.WithoutCancel(ctx) // it may be the only valid token left
	started := time.Now()
	for {
		stood, err := l.write(ctx, next, mine)
		if !errors.Is(err, errAgain) {
			if err == nil || !isTransient(ctx, err) || l.env.mono(started) >= patience {
				return stood || err != nil, err
			}
			<-l.env.after(retryEvery)
		}
	}
}

var errAgain = errors.New("again, over another version")

// write is one attempt of settle.
func (l *lease) write(ctx context.Context, next *document, mine func(stored *document) bool) (stood bool, _ error) {
	ctx, cancel := context.WithTimeout(ctx, l.Tokens.lease)
	defer cancel()
	_, ok, err := l.swap(ctx, l.version, next)
	if ok {
		return true, nil
	}
	row, doc, lerr := l.get(ctx)
	switch {
	case lerr != nil:
		return false, lerr
	case next == nil && row.Version == "":
		return true, nil
	case next != nil && doc.Generation == next.Generation && !doc.heldBy(l.holder):
		l.debugLost(ctx, "a result")
		return true, nil
	case row.Version == "" || !mine(&doc):
		return false, nil
	case row.Version == l.version:
		return false, err
	}
	l.version = row.Version
	return false, errAgain
}
