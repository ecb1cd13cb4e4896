package tokenkv

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/beforesend"
)

// The model: the real code, run by workers whose every word with the database
// and with the authorization server waits until a scheduler lets it pass. The
// scheduler goes through all orders of these words, and through faults between
// them, each time from the start. What a worker does is settled by what it was
// answered, and when; so two orders after which all have heard the same, and the
// row is the same, are one state, which is gone on from once.

var modelDeep = flag.Bool("model.deep", false, "let the model have one more fault in each run: minutes instead of seconds")

const (
	modelLease = 1900 * time.Millisecond
	// modelPoll is a waiter's, always: the third look sees a lease through.
	modelPoll = 960 * time.Millisecond
)

type fault string

const (
	crash  fault = "crash"  // the process is gone
	stop   fault = "stop"   // the process stands still, and wakes later
	outage fault = "outage" // the database doesn't answer this process for a while
	down   fault = "down"   // the database doesn't answer anybody for a while
	lost   fault = "lost"   // the database did it, the answer did not come
	failed fault = "failed" // the database did nothing, and said so
	late   fault = "late"   // the answer did not come, and the database does it later
)

type role string

const (
	refresh role = "refresh"
	forget  role = "forget"
	save    role = "save"
)

type scenario struct {
	name    string
	roles   []role
	rates   []float64     // of the workers' clocks; 1 where there are none
	faults  []fault       // that may happen,
	most    int           // so many of them in a run,
	deep    int           // and so many with -model.deep
	lenient bool          // the server answers a spent refresh token with another sibling
	noAge   bool          // the database has no clock
	plain   bool          // workers call Update, not UpdateUnless
	slow    time.Duration // what the server takes
}

// alike reports whether the workers differ in nothing.
func (s *scenario) alike() bool {
	for _, r := range s.roles {
		if r != s.roles[0] {
			return false
		}
	}
	return s.rates == nil
}

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
	var usual, faults []step
	add := func(to *[]step, name string, do func()) { *to = append(*to, step{name, do}) }
	may := func(f fault) bool {
		for _, g := range w.scenario.faults {
			if f == g && w.left > 0 {
				return true
			}
		}
		return false
	}
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
			add(&usual, name, func() { w.pass(r) })
		}
		if database {
			for _, f := range []fault{lost, failed, late} {
				if may(f) && (r.kind == "swap" || f == failed) {
					add(&faults, name+" "+string(f), func() { w.fail(r, f) })
				}
			}
		}
	}
	for _, l := range w.late {
		if w.down {
			break
		}
		add(&usual, fmt.Sprintf("%d's late swap", l.by.n), func() { w.execute(l); w.late = nil })
	}
	for _, by := range w.workers {
		if by.frozen != "" && (w.moved || !w.running()) { // else it is as it was
			add(&usual, fmt.Sprintf("%d goes on", by.n), by.thaw)
		}
		if by.done || by.crashed || by.n >= w.first {
			continue
		}
		if may(crash) && by.role == refresh {
			add(&faults, fmt.Sprintf("%d crashes", by.n), func() { w.happen(crash); by.crash(); by.excuse() })
		}
		for _, f := range []fault{stop, outage} {
			if by.frozen == "" && may(f) && by.hasWord(f) {
				add(&faults, fmt.Sprintf("%d %s", by.n, f), func() { w.happen(f); by.frozen, by.since, w.moved = f, time.Now(), true })
			}
		}
	}
	switch {
	case w.down:
		add(&usual, "the database is back", w.up)
	case !w.down && may(down) && len(w.pending) > 0:
		add(&faults, "the database is down", func() { w.happen(down); w.down, w.downSince = true, time.Now() })
	}
	canWait := len(w.late) > 0 || w.down
	for _, by := range w.workers {
		canWait = canWait || by.frozen != ""
	}
	ready := 0
	for _, s := range usual {
		if !strings.HasSuffix(s.name, "goes on") && !strings.HasSuffix(s.name, "late swap") && !strings.HasSuffix(s.name, "is back") {
			ready++
		}
	}
	if w.down && time.Since(w.downSince) > 2*modelLease {
		canWait = false // it is all the same from here on
	}
	if ready == 0 && canWait && w.running() {
		usual = append([]step{{"time passes", nil}}, usual...)
	}
	return append(usual, faults...)
}

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

// explorer goes through the runs of a scenario.
type explorer struct {
	scenario *scenario
	seed     maphash.Seed
	visited  map[uint64]struct{}
	runs     int
	steps    int
}

const modelSteps = 2000 // of a run; more is a loop

// run goes on from the choices given, always with the first that may happen, and
// returns the choices that it did not take.
func (e *explorer) run(prefix []int) (others [][]int, err error) {
	s := e.scenario
	w := &world{scenario: s, began: time.Now(), wake: make(chan struct{}, 1), used: map[string]int{}, numbers: map[string]int{}, left: s.most}
	w.stored = w.began
	value, err := modelStore().encode(&document{Generation: "first", Token: &piecesauth.Token{AccessToken: "old", RefreshToken: "old", Expiry: w.began}})
	if err != nil {
		return nil, err
	}
	w.row = Row{Value: value, Version: "first"}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer func() {
		cancel()
		w.mu.Lock()
		for _, by := range w.workers {
			by.crash()
		}
		w.mu.Unlock()
		all.Wait()
	}()
	if !s.alike() {
		w.first = len(s.roles)
	}
	for n, r := range s.roles {
		by := &worker{world: w, n: n, role: r, rate: 1, since: w.began}
		by.heard.SetSeed(e.seed)
		if s.rates != nil {
			by.rate = s.rates[n]
		}
		w.workers = append(w.workers, by)
	}
	for _, by := range w.workers {
		all.Go(func() { by.live(ctx) })
	}
	e.runs++
	var taken []int
	for range modelSteps {
		synctest.Wait()
		e.steps++
		w.mu.Lock()
		slices.SortStableFunc(w.pending, func(a, b *request) int { return a.by.n - b.by.n })
		if !w.running() && !w.anyFrozen() {
			w.mu.Unlock()
			return others, w.check()
		}
		steps := w.steps()
		choice := 0
		switch {
		case len(steps) == 0:
		case len(taken) < len(prefix):
			choice = min(prefix[len(taken)], len(steps)-1)
			taken = append(taken, choice)
		default:
			state := w.state(e.seed)
			if _, ok := e.visited[state]; ok {
				w.mu.Unlock()
				return others, nil
			}
			e.visited[state] = struct{}{}
			for i := len(steps) - 1; i > 0; i-- {
				others = append(others, append(taken[:len(taken):len(taken)], i))
			}
			taken = append(taken, 0)
		}
		if len(steps) > 0 {
			w.trace = append(w.trace, fmt.Sprintf("%v %s", time.Since(w.began), steps[choice].name))
		}
		w.moved = false
		if len(steps) > 0 && steps[choice].do != nil {
			steps[choice].do()
			w.mu.Unlock()
			continue
		}
		w.mu.Unlock()
		select {
		case <-w.wake:
			synctest.Wait() // others that woke at the same time
		default:
		}
		select {
		case <-w.wake:
		case <-time.After(time.Hour):
			if w.down {
				return others, nil // all wait for the database: the choice not taken
			}
			return others, w.fault("everybody waits for ever")
		}
	}
	return others, w.fault("no end")
}

func (w *world) anyFrozen() bool {
	for _, by := range w.workers {
		if by.frozen != "" {
			return true
		}
	}
	return false
}

func (w *world) fault(format string, args ...any) error {
	return fmt.Errorf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace, "\n"))
}

func modelStore() *store { return &store{Tokens: &Tokens{}, id: "person"} }

// stands returns what is stored.
func (w *world) stands() document {
	if w.row.Version == "" {
		return document{}
	}
	doc, err := modelStore().decode(w.row.Value)
	if err != nil {
		panic(err) // of this test
	}
	return doc
}

// check holds the end of a run against what is promised.
func (w *world) check() error {
	for token, n := range w.used {
		if n > 1+w.excused {
			return w.fault("%s was used %d times, after %d faults that excuse it", token, n, w.excused)
		}
	}
	last := w.stands()
	for _, by := range w.workers {
		switch {
		case by.role == refresh || by.crashed:
		case by.err != nil:
			return w.fault("%d could not %s: %v", by.n, by.role, by.err)
		case by.role == forget && (last.Token != nil || last.Spent || w.row.Version != "" && w.left == w.scenario.most):
			return w.fault("something is stored after the person signed out")
		case by.role == save && (last.Token == nil || last.Token.RefreshToken != "saved"):
			return w.fault("what was saved is not stored")
		}
		if by.role != refresh {
			return nil
		}
	}
	for _, by := range w.workers {
		if err := w.checkRefresh(by, &last); err != nil {
			return err
		}
	}
	return nil
}

// checkRefresh holds what a worker has in the end against what is promised,
// where nobody signed in or out.
func (w *world) checkRefresh(by *worker, last *document) error {
	if by.crashed {
		return nil
	}
	for _, t := range by.got {
		switch {
		case last.Token == nil || !by.fresh(last.Token):
			return w.fault("%s is lost, which %d got", t.RefreshToken, by.n)
		case last.Token.RefreshToken != t.RefreshToken && w.numbers[last.Token.RefreshToken] <= w.numbers[t.RefreshToken]:
			return w.fault("%s is stored, and not %s, which %d got after more takeovers", last.Token.RefreshToken, t.RefreshToken, by.n)
		}
	}
	signedIn := by.err == nil && by.token != nil && by.fresh(by.token)
	if !signedIn && (w.scenario.lenient || w.excused == 0) {
		return w.fault("%d has no token: %v", by.n, by.err)
	}
	if !signedIn && by.err == nil {
		return w.fault("%d has neither a token nor an error", by.n)
	}
	if most := w.patience(); by.ended.Sub(w.began) > most {
		return w.fault("%d waited for %v, more than %v", by.n, by.ended.Sub(w.began), most)
	}
	return nil
}

// patience is how long a worker may take: for each fault that has to be sat out
// a lease, as waiters see it pass, and what the server takes.
func (w *world) patience() time.Duration {
	slowest := 1.0
	for _, by := range w.workers {
		slowest = min(slowest, by.rate)
	}
	most := modelPoll + w.scenario.slow
	if w.scenario.plain {
		most += modelPoll * time.Duration(len(w.workers)) // each takes its turn
	}
	for _, f := range w.happened {
		most += modelPoll
		if f != lost && f != failed {
			most += modelLease + modelPoll + w.scenario.slow
		}
	}
	return time.Duration(float64(most)/slowest) + w.frozenFor
}

func (e *explorer) explore(t *testing.T) error {
	var err error
	synctest.Test(t, func(*testing.T) {
		todo := [][]int{nil}
		for len(todo) > 0 && err == nil {
			prefix := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			var others [][]int
			others, err = e.run(prefix)
			todo = append(todo, others...)
		}
	})
	return err
}

func TestModel(t *testing.T) {
	three, two := []role{refresh, refresh, refresh}, []role{refresh, refresh}
	all := []fault{crash, stop, outage, down, lost, failed, late}
	for _, s := range []scenario{
		{name: "no fault", roles: three},
		{name: "no fault, by turns", roles: three, plain: true},
		{name: "crashes", roles: three, faults: []fault{crash}, most: 2, deep: 2},
		{name: "crashes, a server with leeway", roles: three, faults: []fault{crash}, most: 2, deep: 2, lenient: true},
		{name: "crashes, a database without a clock", roles: three, faults: []fault{crash}, most: 2, deep: 2, noAge: true},
		{name: "answers of the database", roles: three, faults: []fault{lost, failed, late}, most: 1, deep: 2},
		{name: "stop", roles: three, faults: []fault{stop}, most: 1, deep: 1},
		{name: "stop, a server with leeway", roles: three, faults: []fault{stop}, deep: 1, lenient: true},
		{name: "outage", roles: three, faults: []fault{outage, down}, most: 1, deep: 1},
		{name: "outage, a server with leeway", roles: three, faults: []fault{outage, down}, deep: 1, lenient: true},
		{name: "slow server, clocks fast and slow", roles: three, rates: []float64{1, 1.9, 1.1}, slow: 2 * modelLease},
		{name: "slow server, clocks slow and fast", roles: three, rates: []float64{0.55, 1, 1.05}, slow: 2 * modelLease, noAge: true},
		{name: "two", roles: two, faults: all, most: 1, deep: 2},
		{name: "two, a server with leeway", roles: two, faults: all, most: 1, deep: 2, lenient: true},
		{name: "two, slow server", roles: two, faults: all, most: 1, deep: 2, slow: 2 * modelLease},
		{name: "two, slow server, clocks slow and fast", roles: two, rates: []float64{0.55, 1.05}, faults: all, most: 1, deep: 2, slow: 2 * modelLease},
		{name: "sign-out", roles: []role{refresh, refresh, forget}, faults: all, most: 1, deep: 1},
		{name: "sign-in", roles: []role{refresh, refresh, save}, faults: all, most: 1, deep: 1, lenient: true},
	} {
		t.Run(s.name, func(t *testing.T) {
			if *modelDeep {
				s.most = s.deep
			} else if s.most < min(s.deep, 1) {
				t.Skip("takes long: only with -model.deep")
			}
			e := explorer{scenario: &s, seed: maphash.MakeSeed(), visited: map[uint64]struct{}{}}
			began := time.Now()
			err := e.explore(t)
			t.Logf("%d states, %d runs, %d steps, %v", len(e.visited), e.runs, e.steps, time.Since(began))
			require.NoError(t, err)
		})
	}
}
