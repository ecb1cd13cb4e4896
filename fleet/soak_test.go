package fleet_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// The soak: eight replicas have five hundred people signed in, whose tokens
// live for three seconds, at a server that rotates refresh tokens and revokes
// the sign-in when one is used again. People come at random, and all the while
// replicas are killed or stopped, connections are cut, answers of the database
// are lost, and the database dies and is started again.
var soakFor = flag.Duration("soak", 2*time.Minute, "how long the soak takes, all databases together")

const (
	soakPeople   = 500
	soakReplicas = 8
	soakTokens   = 3 * time.Second
	soakLease    = 3 * time.Second
	soakLeeway   = time.Minute // longer than a restart, and than a stop
	longestStop  = 2 * soakLease
	soakVisit    = 60 * time.Millisecond // of somebody, on each replica
	// recovery is how soon after the database is back nobody notices any more.
	recovery = 3 * time.Second
)

// visits has people come at random, for as long as is asked for.
func (r *replica) visits(ctx context.Context, request replicaRequest) replicaAnswer {
	var answer replicaAnswer
	var mu sync.Mutex
	var wg sync.WaitGroup
	end, next := time.After(request.For), time.NewTicker(request.Every)
	defer next.Stop()
	for {
		select {
		case <-end:
			wg.Wait()
			return answer
		case <-next.C:
		}
		n := request.From + rand.IntN(request.To-request.From)
		answer.Visits++
		wg.Go(func() {
			if _, failed := r.token(ctx, n, r.source(n)); failed != nil {
				mu.Lock()
				defer mu.Unlock()
				answer.Failures = append(answer.Failures, *failed)
			}
		})
	}
}

// source is the one that the process has for the person.
func (r *replica) source(n int) *piecesauth.TokenSource {
	source, ok := r.sources.Load(n)
	if !ok {
		source, _ = r.sources.LoadOrStore(n, r.auth.TokenSource(r.stores(person(n))))
	}
	return source.(*piecesauth.TokenSource)
}

type period struct{ from, to time.Time }

type soak struct {
	t      testing.TB
	db     database // with the proxy in front
	auth   *authServer
	proxy  *proxy
	config replicaConfig

	signIns *piecesauth.Authenticator // for people who have to sign in again,
	tokens  *tokenkv.Tokens           // into these

	ids     atomic.Int64
	visited atomic.Int64

	mu       sync.Mutex
	slots    [soakReplicas]*process
	kills    map[string]time.Time // by the id of the process
	stood    pauses
	outages  []period
	failures []failure
	count    map[string]int // of what was done
}

func newSoak(t testing.TB, name string, leeway time.Duration) *soak {
	d := the(t, name)
	d.control(t, "start") // can it be restarted?
	a := startAuth(t, authConfig{Lifetime: soakTokens, Leeway: leeway, Before: 20 * time.Millisecond, After: 50 * time.Millisecond})
	signIn(t, d, a, soakPeople)
	behind, p := through(t, d)
	tokens, err := tokenkv.New(d.open(t), tokenkv.Options{})
	require.NoError(t, err)
	signIns, err := piecesauth.New(piecesauth.Config{BaseURL: a.url, ClientID: a.id})
	require.NoError(t, err)
	s := &soak{
		t: t, signIns: signIns, db: d, auth: a, proxy: p, tokens: tokens, kills: map[string]time.Time{}, stood: pauses{}, count: map[string]int{},
		config: replicaConfig{DB: behind, Auth: a.url, ClientID: a.id, Lease: soakLease, RefreshBefore: 500 * time.Millisecond},
	}
	for i := range s.slots {
		s.launch(i)
	}
	return s
}

func (s *soak) launch(slot int) *process {
	c := s.config
	c.ID = strconv.FormatInt(s.ids.Add(1), 10)
	p := start(s.t, "replica", c)
	p.id = c.ID
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots[slot] = p
	return p
}

// serve keeps a replica going, and starts its successor when it is killed.
func (s *soak) serve(slot int, until time.Time) {
	s.mu.Lock()
	p := s.slots[slot]
	s.mu.Unlock()
	for time.Now().Before(until) {
		var answer replicaAnswer
		if err := p.ask(replicaRequest{To: soakPeople, For: time.Second, Every: soakVisit}, &answer); err != nil {
			if !p.killed.Load() {
				s.t.Errorf("replica %s ended by itself", p.id)
			}
			p.kill()
			p = s.launch(slot)
			continue
		}
		s.visited.Add(int64(answer.Visits))
		s.mu.Lock()
		s.failures = append(s.failures, answer.Failures...)
		s.mu.Unlock()
		for _, f := range answer.Failures {
			if f.SignIn {
				s.signInAgain(f.Person)
			}
		}
	}
}

// signInAgain tries until the database is back.
func (s *soak) signInAgain(n int) {
	token := s.auth.tokens(s.t, 1)[0]
	source := s.signIns.TokenSource(s.tokens.Store(person(n)))
	for range 300 {
		if source.Save(context.WithoutCancel(s.t.Context()), token) == nil {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	s.t.Errorf("nobody can sign in")
}

// trouble makes some until then.
func (s *soak) trouble(until time.Time) {
	var stopped sync.WaitGroup
	defer stopped.Wait()
	for time.Now().Before(until) {
		<-time.After(time.Duration(rand.Int64N(int64(time.Second))))
		switch n := rand.IntN(100); {
		case n < 45:
			s.kill()
		case n < 65:
			stopped.Go(s.stop)
		case n < 90:
			s.proxy.cut()
			s.did("cut")
		case n < 97 || !s.mayRestart():
			s.proxy.losing.Store(true)
			s.did("answer lost")
		default:
			s.restart()
		}
	}
}

func (s *soak) did(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[what]++
}

func (s *soak) any() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots[rand.IntN(soakReplicas)]
}

func (s *soak) kill() {
	p := s.any()
	if p.killed.Load() {
		return
	}
	s.mu.Lock()
	s.kills[p.id] = time.Now()
	s.count["kill"]++
	s.mu.Unlock()
	p.killed.Store(true)
	_ = p.cmd.Process.Kill() // whoever serves it notices
}

func (s *soak) stop() {
	p := s.any()
	pause := period{from: time.Now()}
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // it may be killed meanwhile
	<-time.After(time.Duration(rand.Int64N(int64(longestStop))))
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	pause.to = time.Now()
	s.did("stop")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stood[p.id] = append(s.stood[p.id], pause)
}

// mayRestart leaves time for something else between two restarts.
func (s *soak) mayRestart() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.outages) == 0 || time.Since(s.outages[len(s.outages)-1].to) > 4*recovery
}

func (s *soak) restart() {
	s.mu.Lock()
	s.outages = append(s.outages, period{time.Now(), time.Now().Add(time.Hour)})
	s.count["restart"]++
	s.mu.Unlock()
	s.db.control(s.t, "crash")
	<-time.After(time.Duration(rand.Int64N(int64(soakLease)))) // out for so long
	s.db.control(s.t, "start")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outages[len(s.outages)-1].to = time.Now()
}

// run lets it go on for so long, and checks that everybody is signed in then.
func (s *soak) run(d time.Duration) {
	until := time.Now().Add(d)
	var wg sync.WaitGroup
	for slot := range s.slots {
		wg.Go(func() { s.serve(slot, until) })
	}
	wg.Go(func() { s.trouble(until) })
	if d > 10*time.Second {
		wg.Go(func() { // one at least
			<-time.After(d / 2)
			if s.mayRestart() {
				s.restart()
			}
		})
	}
	wg.Wait()
	refreshes, revoked := s.auth.history(s.t)
	s.t.Logf("%s: %d visits, %d refreshes, %d failures, %d revocations, %v", s.db.Name, s.visited.Load(), len(refreshes), len(s.failures), revoked, s.count)
}

// unexplained are the failures that no outage of the database explains.
func (s *soak) unexplained() (all []failure) {
	for _, f := range s.failures {
		explained := false
		for _, o := range s.outages {
			explained = explained || !f.SignIn && f.Since.Before(o.to.Add(recovery)) && f.At.After(o.from)
		}
		if !explained {
			all = append(all, f)
		}
	}
	return all
}

// everybody asks every replica for everybody's token, and returns who has none.
func (s *soak) everybody() (failures []failure) {
	for slot, p := range s.slots {
		if p.killed.Load() {
			p.kill()
			p = s.launch(slot)
		}
		answer := asked(s.t, []*process{p}, replicaRequest{To: soakPeople})()[0]
		require.Len(s.t, answer.Tokens, soakPeople-len(answer.Failures))
		failures = append(failures, answer.Failures...)
	}
	return failures
}

// reused are the refresh tokens that were sent again after the server had taken
// them, with the request that it took. One that was refused the first time was
// revoked with its sign-in.
func reused(refreshes []refresh) (all []refresh, first map[string]refresh) {
	first = map[string]refresh{}
	for _, r := range refreshes {
		if _, ok := first[r.Used]; ok {
			all = append(all, r)
		} else if r.New != "" {
			first[r.Used] = r
		}
	}
	return all, first
}

// The server's leeway is longer than any restart: nobody is signed out.
func TestSoak(t *testing.T) {
	for _, name := range serverNames {
		t.Run(name, func(t *testing.T) {
			s := newSoak(t, name, soakLeeway)
			s.run(*soakFor / 4)
			require.Empty(t, s.unexplained())
			require.Empty(t, s.everybody())
			refreshes, revoked := s.auth.history(t)
			require.Zero(t, revoked)
			again, _ := reused(refreshes)
			t.Logf("%s: %d refresh tokens were sent twice", name, len(again))
			require.NotEmpty(t, again, "no kill and no stop came between a rotation and its saving")
		})
	}
}

// explain returns what a refresh token was sent twice for: the process that had
// the first answer was killed before it had time to save it, or one of the two
// stood still for longer than it may, which is less while the database is away.
func (s *soak) explain(first, second refresh) string {
	killed, ok := s.kills[first.By]
	if ok && first.At.Before(killed.Add(100*time.Millisecond)) && killed.Sub(first.At) < 2*soakLease {
		return "kill"
	}
	least := soakLease / 3
	for _, o := range s.outages {
		if first.At.Before(o.to.Add(soakLease)) && second.At.After(o.from) {
			least = 0
		}
	}
	if s.stood.explain(first, second, least, soakLease) {
		return "stop"
	}
	return ""
}

// Without leeway a token that is lost with its process takes the sign-in with
// it, and so does a process that stands still for longer than its lease: nothing
// can prevent that, and nothing else does it.
func TestSoakWithoutLeeway(t *testing.T) {
	for _, name := range serverNames {
		t.Run(name, func(t *testing.T) {
			s := newSoak(t, name, 0)
			s.run(*soakFor / 12)
			for range 3 { // who has to sign in is found by asking
				for _, f := range s.everybody() {
					require.True(t, f.SignIn, "%s", f.Text)
					s.failures = append(s.failures, f)
					s.signInAgain(f.Person)
				}
			}
			require.Empty(t, s.everybody())
			refreshes, revoked := s.auth.history(t)
			again, first := reused(refreshes)
			explained := map[string]int{}
			for _, r := range again {
				why := s.explain(first[r.Used], r)
				require.NotEmpty(t, why, "%s and then %s sent one refresh token, and neither was killed or stood still", first[r.Used].By, r.By)
				explained[why]++
			}
			t.Logf("%s: %d refresh tokens were sent twice, after %v", name, len(again), explained)
			require.LessOrEqual(t, revoked, len(again))
			signedOut := map[int]bool{}
			for _, f := range s.unexplained() {
				require.True(t, f.SignIn, "%s", f.Text)
				signedOut[f.Person] = true
			}
			require.LessOrEqual(t, len(signedOut), revoked, "more people were signed out than had their tokens revoked")
		})
	}
}
