package tokenkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/beforesend"
)

// world is one run of a scenario.
type world struct {
	scenario *scenario
	began    time.Time
	wake     chan struct{}

	mu        sync.Mutex
	workers   []*worker
	row       Row
	stored    time.Time
	frozenFor time.Duration // workers, by faults
	late      []*request    // swaps that are yet to be done
	pending   []*request
	used      map[string]int // refresh tokens that the server was sent
	numbers   map[string]int // of the takeovers before a token was got
	left      int            // faults that may happen yet
	happened  []fault
	downSince time.Time
	upSince   time.Time
	downs     int
	down      bool
	moved     bool // somebody who is not frozen did something
	excused   int  // faults that nothing can be done about without fencing
	trace     []string
	first     int // workers that had their first word
}

type worker struct {
	*world

	n      int
	role   role
	rate   float64
	ids    int
	swaps  int
	posts  int
	heard  maphash.Hash
	frozen fault // stop, outage or ""
	since  time.Time
	timers []chan time.Time // that came while it was stopped

	takeovers     int           // before the lease that it has
	stood         time.Duration // by faults
	sending       bool          // it was allowed to send
	crashed, done bool
	got           []*piecesauth.Token // by a refresh
	token         *piecesauth.Token   // in the end
	err           error
	ended         time.Time
}

type request struct {
	by      *worker
	kind    string
	version string
	value   []byte
	refresh string
	came    time.Time
	reply   chan answer
}

type answer struct {
	row     Row
	version string
	ok      bool
	token   *piecesauth.Token
	err     error
	die     bool
}

var (
	errModel        = errors.New("the connection broke")
	errInvalidGrant = &piecesauth.Error{Op: "refresh", StatusCode: 400, Code: "invalid_grant"}
)

// ask waits for the scheduler.
func (w *worker) ask(ctx context.Context, r *request) answer {
	r.by, r.came, r.reply = w, time.Now(), make(chan answer, 1)
	w.mu.Lock()
	dead := w.crashed
	if !dead {
		w.pending = append(w.pending, r)
	}
	w.mu.Unlock()
	if dead {
		runtime.Goexit()
	}
	w.signal()
	select {
	case a := <-r.reply:
		if a.die {
			runtime.Goexit()
		}
		return a
	case <-ctx.Done():
		w.mu.Lock()
		w.remove(r)
		fmt.Fprintf(&w.heard, "%s ended at %v;", r.kind, time.Since(w.began))
		w.mu.Unlock()
		w.signal()
		return answer{err: ctx.Err()}
	}
}

func (w *world) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *world) remove(r *request) {
	for i, p := range w.pending {
		if p == r {
			w.pending = append(w.pending[:i:i], w.pending[i+1:]...)
			return
		}
	}
}

// Get and Swap make a worker a DB.
func (w *worker) Get(ctx context.Context, _ string) (Row, error) {
	a := w.ask(ctx, &request{kind: "get"})
	return a.row, a.err
}

func (w *worker) Swap(ctx context.Context, _, version string, value []byte) (string, bool, error) {
	a := w.ask(ctx, &request{kind: "swap", version: version, value: value})
	return a.version, a.ok, a.err
}

func (w *worker) environment() environment {
	scaled := func(t time.Time) time.Duration { return time.Duration(float64(time.Since(t)) * w.rate) }
	return environment{
		mono: scaled, wall: scaled,
		after: func(d time.Duration) <-chan time.Time {
			c := make(chan time.Time, 1)
			time.AfterFunc(time.Duration(float64(d)/w.rate), func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.frozen == stop {
					w.timers = append(w.timers, c)
					return
				}
				c <- time.Now()
			})
			return c
		},
		random: func() string { w.ids++; return fmt.Sprintf("id%d.%d", w.n, w.ids) },
		jitter: func(least, _ time.Duration) time.Duration {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.downs > 0 && !w.down && time.Since(w.upSince) < quiet/10 {
				return least // as soon as may be, where it matters
			}
			return modelPoll
		},
	}
}

// live is what a worker does: what a TokenSource would.
func (w *worker) live(ctx context.Context) {
	defer func() {
		w.mu.Lock()
		w.done, w.ended = true, time.Now()
		w.mu.Unlock()
		w.signal()
	}()
	tokens, err := New(w, Options{Lease: modelLease})
	if err != nil {
		panic(err)
	}
	tokens.env = w.environment()
	s := tokens.Store("person").(*store)
	switch w.role {
	case forget:
		w.err = s.Replace(ctx, nil)
	case save:
		w.err = s.Replace(ctx, &piecesauth.Token{AccessToken: "saved", RefreshToken: "saved", Expiry: time.Now().Add(time.Hour)})
	case refresh:
		if w.scenario.plain {
			w.err = s.Update(ctx, w.refreshed)
			return
		}
		w.err = s.UpdateUnless(ctx, func(t *piecesauth.Token) bool {
			if w.fresh(t) {
				w.token = t
			}
			return w.fresh(t)
		}, w.refreshed)
	}
}

func (w *worker) fresh(t *piecesauth.Token) bool { return t.AccessToken != "old" }

func (w *worker) refreshed(ctx context.Context, t *piecesauth.Token) (*piecesauth.Token, error) {
	w.token = t
	switch {
	case t == nil:
		return nil, piecesauth.ErrNoToken
	case w.fresh(t):
		return t, nil
	}
	for _, kind := range []string{"dial", "send"} {
		if kind == "send" {
			if err := beforesend.Call(ctx); err != nil {
				return nil, err
			}
			w.mu.Lock()
			w.sending = true
			w.mu.Unlock()
		}
		if a := w.ask(ctx, &request{kind: kind, refresh: t.RefreshToken}); a.err != nil {
			return nil, a.err
		} else if a.token != nil {
			w.token = a.token
		}
	}
	return w.token, nil
}

// step is one thing that may happen next.
type step struct {
	name string
	do   func()
}

// steps lists what may happen next, the usual first. The caller has w.mu.
func (w *world) steps() []step {
	usual, faults := w.wordSteps()
	ready := len(usual) > 0
	for _, l := range w.late {
		if !w.down {
			usual = append(usual, step{fmt.Sprintf("%d's late swap", l.by.n), func() { w.execute(l); w.late = slices.DeleteFunc(w.late, func(r *request) bool { return r == l }) }})
		}
	}
	for _, by := range w.workers {
		if by.frozen != "" && (w.moved || !w.running()) { // else it is as it was
			usual = append(usual, step{fmt.Sprintf("%d goes on", by.n), by.thaw})
		}
		faults = append(faults, by.faultSteps()...)
	}
	switch {
	case w.down:
		usual = append(usual, step{"the database is back", w.up})
	case w.may(down) && len(w.pending) > 0:
		faults = append(faults, step{"the database is down", func() { w.happen(down); w.down, w.downSince = true, time.Now() }})
	}
	held := len(w.late) > 0 || w.down || w.anyFrozen() // else time passes by itself
	if w.down && time.Since(w.downSince) > 2*modelLease {
		held = false // it is all the same from here on
	}
	if !ready && held && w.running() {
		usual = append([]step{{"time passes", nil}}, usual...)
	}
	return append(usual, faults...)
}

// wordSteps lets the words pass that wait, or go wrong.
func (w *world) wordSteps() (usual, faults []step) {
	for _, r := range w.pending {
		by := r.by
		database := r.kind == "get" || r.kind == "swap"
		if by.frozen == stop || (by.frozen == outage || w.down) && database {
			continue
		}
		if by.n > w.first {
			continue // workers are alike: they begin in their order
		}
		name := fmt.Sprintf("%d %s", by.n, r.kind)
		if r.kind != "answer" || time.Since(r.came) >= w.scenario.slow {
			usual = append(usual, step{name, func() { w.pass(r) }})
		}
		for _, f := range []fault{lost, failed, late} {
			if w.may(f) && (r.kind == "swap" || r.kind == "get" && f == failed) {
				faults = append(faults, step{name + " " + string(f), func() { w.fail(r, f) }})
			}
		}
	}
	return usual, faults
}

// faultSteps is what may befall a worker.
func (w *worker) faultSteps() (faults []step) {
	if w.done || w.crashed || w.n >= w.first {
		return nil
	}
	if w.may(crash) && w.role == refresh {
		faults = append(faults, step{fmt.Sprintf("%d crashes", w.n), func() { w.happen(crash); w.crash(); w.excuse() }})
	}
	for _, f := range []fault{stop, outage} {
		if w.frozen == "" && w.may(f) && w.hasWord(f) {
			faults = append(faults, step{fmt.Sprintf("%d %s", w.n, f), func() { w.happen(f); w.frozen, w.since, w.moved = f, time.Now(), true }})
		}
	}
	return faults
}

func (w *world) may(f fault) bool { return w.left > 0 && slices.Contains(w.scenario.faults, f) }

// running reports whether anybody who isn't frozen has something to do.
func (w *world) running() bool {
	for _, by := range w.workers {
		if !by.done && !by.crashed && by.frozen == "" {
			return true
		}
	}
	return false
}

// hasWord reports whether a fault would keep something from w. What a late Get
// reads is what it would read without the fault.
func (w *worker) hasWord(f fault) bool {
	for _, r := range w.pending {
		if r.by == w && r.kind != "get" && (f == stop || r.kind == "swap") {
			return true
		}
	}
	return false
}

// up ends an outage. One alone excuses nothing: whoever has something to store
// is back before anybody believes that it is gone.
func (w *world) up() {
	w.down, w.upSince = false, time.Now()
	w.frozenFor += time.Since(w.downSince)
	w.downs++
	for _, by := range w.workers {
		if w.downs > 1 || by.stood > 0 { // and it had no time to renew in between
			by.excuse()
		}
	}
}

func (w *worker) thaw() {
	w.frozenFor += time.Since(w.since)
	// Several faults in a row may keep it from renewing in between.
	w.stood += time.Since(w.since)
	if float64(w.stood)*w.rate > float64(modelLease/3) || w.downs > 0 {
		w.excuse()
	}
	for _, c := range w.timers {
		c <- time.Now()
	}
	w.frozen, w.since, w.timers = "", w.began, nil
}

// excuse counts a fault after which a refresh token may be used twice: it came
// when nobody could stop the request any more.
func (w *worker) excuse() {
	if w.sending {
		w.excused++
	}
}

func (w *worker) crash() {
	w.crashed, w.frozen = true, ""
	for _, r := range append([]*request(nil), w.pending...) {
		if r.by == w {
			w.remove(r)
			r.reply <- answer{die: true}
		}
	}
	for _, c := range w.timers {
		c <- time.Now()
	}
	w.timers = nil
}

// pass lets a request through, and answers it.
func (w *world) pass(r *request) {
	a := answer{}
	switch r.kind {
	case "get":
		a.row = w.row
		a.row.Value = bytes.Clone(w.row.Value)
		if w.row.Version != "" && !w.scenario.noAge {
			a.row.Age = time.Since(w.stored)
		}
	case "swap":
		a.version, a.ok = w.execute(r)
	case "send": // it is with the server, which has done it; the answer is on its way
		w.used[r.refresh]++
		r.kind, r.came = "answer", time.Now()
		time.AfterFunc(w.scenario.slow, w.signal)
		if w.used[r.refresh] > 1 && !w.scenario.lenient {
			r.refresh = ""
		} else {
			r.by.posts++
			r.refresh += fmt.Sprintf("/%d.%d", r.by.n, r.by.posts)
			w.numbers[r.refresh] = r.by.takeovers
		}
		return
	case "answer":
		if r.refresh == "" {
			a.err = errInvalidGrant
		} else {
			a.token = &piecesauth.Token{AccessToken: r.refresh, RefreshToken: r.refresh, Expiry: time.Now().Add(time.Hour)}
			r.by.got = append(r.by.got, a.token)
		}
	}
	w.reply(r, a)
}

func (w *world) reply(r *request, a answer) {
	w.moved = w.moved || r.by.frozen == "" && w.anyFrozen()
	w.remove(r)
	fmt.Fprintf(&r.by.heard, "%s %s %s %v %v %v %s at %v;", r.kind, a.row.Version, a.version, a.ok, a.err, a.row.Age, r.refresh, time.Since(w.began))
	if r.by.n == w.first {
		w.first++
	}
	r.reply <- a
}

func (w *world) execute(r *request) (string, bool) {
	if r.version != w.row.Version {
		return "", false
	}
	r.by.swaps++
	w.stored = time.Now()
	if r.value == nil {
		w.row = Row{}
		return "", true
	}
	w.row = Row{Value: r.value, Version: fmt.Sprintf("v%d.%d", r.by.n, r.by.swaps)}
	if doc := w.stands(); doc.Lease != nil {
		r.by.takeovers = doc.Takeovers
	}
	return w.row.Version, true
}

func (w *world) fail(r *request, f fault) {
	w.happen(f)
	switch f {
	case lost:
		w.execute(r)
	case late:
		w.late = append(w.late, r)
	}
	w.reply(r, answer{err: errModel})
}

func (w *world) happen(f fault) {
	w.left--
	w.happened = append(w.happened, f)
}

// state names the state that the run is in.
func (w *world) state(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	fmt.Fprint(&h, time.Since(w.began), w.left, w.excused, w.moved, w.down, w.downs, w.first, len(w.late), w.row.Version, w.stored.Sub(w.began), w.used)
	for _, by := range w.workers {
		fmt.Fprint(&h, by.heard.Sum64(), by.frozen, by.crashed, by.done, by.stood, by.since.Sub(w.began))
	}
	for _, r := range w.pending {
		fmt.Fprint(&h, r.by.n, r.kind, r.came.Sub(w.began))
	}
	return h.Sum64()
}
