package tokenkv

import (
	"context"
	"flag"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
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
	long    bool          // it takes seconds
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

// explorer goes through the runs of a scenario.
type explorer struct {
	scenario *scenario
	seed     maphash.Seed
	visited  map[uint64]struct{}
	runs     int
	steps    int
}

const modelSteps = 2000 // of a run; more is a loop

// newWorld returns a world in which the token has just expired.
func (e *explorer) newWorld() (*world, error) {
	s := e.scenario
	w := &world{scenario: s, began: time.Now(), stored: time.Now(), wake: make(chan struct{}, 1), used: map[string]int{}, numbers: map[string]int{}, left: s.most}
	value, err := modelStore().encode(&document{Generation: "first", Token: &piecesauth.Token{AccessToken: "old", RefreshToken: "old", Expiry: w.began}})
	w.row = Row{Value: value, Version: "first"}
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
	return w, err
}

// run goes on from the choices given, always with the first that may happen, and
// returns the choices that it did not take.
func (e *explorer) run(prefix []int) (others [][]int, _ error) {
	w, err := e.newWorld()
	if err != nil {
		return nil, err
	}
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
	for _, by := range w.workers {
		all.Go(func() { by.live(ctx) })
	}
	e.runs++
	var taken []int
	for range modelSteps {
		synctest.Wait()
		e.steps++
		w.mu.Lock()
		if !w.running() && !w.anyFrozen() {
			w.mu.Unlock()
			return others, w.check()
		}
		slices.SortStableFunc(w.pending, func(a, b *request) int { return a.by.n - b.by.n })
		steps := w.steps()
		var next step
		if len(steps) > 0 {
			choice, known := e.choose(w, prefix, len(taken), len(steps))
			if known {
				w.mu.Unlock()
				return others, nil
			}
			if len(taken) >= len(prefix) {
				for i := len(steps) - 1; i > 0; i-- {
					others = append(others, append(taken[:len(taken):len(taken)], i))
				}
			}
			taken, next = append(taken, choice), steps[choice]
			w.trace = append(w.trace, fmt.Sprintf("%v %s", time.Since(w.began), next.name))
		}
		w.moved = false
		if next.do != nil {
			next.do()
		}
		w.mu.Unlock()
		if next.do == nil && !w.sleep() {
			if w.down {
				return others, nil // all wait for the database: the choice not taken
			}
			return others, w.fault("everybody waits for ever")
		}
	}
	return others, w.fault("no end")
}

// choose returns which of the steps comes next: the prefix's, or the first where
// it has ended. It reports whether the state was gone on from before.
func (e *explorer) choose(w *world, prefix []int, at, steps int) (choice int, known bool) {
	if at < len(prefix) {
		return min(prefix[at], steps-1), false
	}
	state := w.state(e.seed)
	_, known = e.visited[state]
	e.visited[state] = struct{}{}
	return 0, known
}

// sleep lets time pass until somebody has a word. It reports whether anybody has.
func (w *world) sleep() bool {
	select {
	case <-w.wake: // from before
	default:
	}
	select {
	case <-w.wake:
		return true
	case <-time.After(time.Hour):
		return false
	}
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
		{name: "stop", long: true, roles: three, faults: []fault{stop}, most: 1, deep: 1},
		{name: "stop, a server with leeway", roles: three, faults: []fault{stop}, deep: 1, lenient: true},
		{name: "outage", long: true, roles: three, faults: []fault{outage, down}, most: 1, deep: 1},
		{name: "outage, a server with leeway", roles: three, faults: []fault{outage, down}, deep: 1, lenient: true},
		{name: "slow server, clocks fast and slow", roles: three, rates: []float64{1, 1.9, 1.1}, slow: 2 * modelLease},
		{name: "slow server, clocks slow and fast", roles: three, rates: []float64{0.55, 1, 1.05}, slow: 2 * modelLease, noAge: true},
		{name: "two", roles: two, faults: all, most: 1, deep: 2},
		{name: "two, a server with leeway", roles: two, faults: all, most: 1, deep: 2, lenient: true},
		{name: "two, slow server", roles: two, faults: all, most: 1, deep: 2, slow: 2 * modelLease},
		{name: "two, slow server, clocks slow and fast", roles: two, rates: []float64{0.55, 1.05}, faults: all, most: 1, deep: 2, slow: 2 * modelLease},
		{name: "sign-out", long: true, roles: []role{refresh, refresh, forget}, faults: all, most: 1, deep: 1},
		{name: "sign-in", long: true, roles: []role{refresh, refresh, save}, faults: all, most: 1, deep: 1, lenient: true},
	} {
		t.Run(s.name, func(t *testing.T) {
			if *modelDeep {
				s.most = s.deep
			} else if s.most < min(s.deep, 1) {
				t.Skip("takes long: only with -model.deep")
			}
			if s.long && RaceDetector {
				t.Skip("takes half a minute with the race detector: only without it")
			}
			e := explorer{scenario: &s, seed: maphash.MakeSeed(), visited: map[uint64]struct{}{}}
			began := time.Now()
			err := e.explore(t)
			t.Logf("%d states, %d runs, %d steps, %v", len(e.visited), e.runs, e.steps, time.Since(began))
			require.NoError(t, err)
		})
	}
}
