package fleet_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, time.Minute, 20*time.Millisecond, what)
}

// asked has the replicas ask for everybody's token, and returns their answers.
func asked(t testing.TB, replicas []*process, request replicaRequest) func() []replicaAnswer {
	answers := make([]replicaAnswer, len(replicas))
	var wg sync.WaitGroup
	for i, p := range replicas {
		wg.Go(func() {
			if err := p.ask(request, &answers[i]); err != nil && !p.killed.Load() {
				t.Errorf("replica %d: %v", i, err)
			}
		})
	}
	return func() []replicaAnswer {
		wg.Wait()
		return answers
	}
}

// expectAll checks that all have the same tokens, for each of the people one.
func expectAll(t testing.TB, answers []replicaAnswer, people int) {
	t.Helper()
	for _, answer := range answers {
		require.Empty(t, answer.Failures)
		require.Len(t, answer.Tokens, people)
		require.Equal(t, answers[0].Tokens, answer.Tokens)
	}
}

// An answer that is lost after the database has acted is an error, and the swap
// stands.
func TestLostAnswer(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		direct := d.open(t)
		behind, p := through(t, d)
		behind.Pool = 1
		db := behind.open(t)
		_, err := db.Get(t.Context(), "warm") // the script, the prepared statement
		require.NoError(t, err)
		version, ok, err := db.Swap(t.Context(), "warm", "", []byte("value"))
		require.NoError(t, err)
		require.True(t, ok)
		version, ok, err = db.Swap(t.Context(), "warm", version, []byte("value"))
		require.NoError(t, err)
		require.True(t, ok)

		p.losing.Store(true)
		_, ok, err = db.Swap(t.Context(), "warm", version, []byte("next"))
		require.Error(t, err)
		require.False(t, ok)
		require.EqualValues(t, 1, p.lost.Load())
		row, err := direct.Get(t.Context(), "warm")
		require.NoError(t, err)
		require.Equal(t, "next", string(row.Value))

		// The pool gets over it.
		_, ok, err = db.Swap(t.Context(), "warm", row.Version, nil)
		require.NoError(t, err)
		require.True(t, ok)
	})
}

// One answer in ten is lost, to everybody: no refresh token is used twice.
func TestAnswersAreLost(t *testing.T) {
	const people, rounds = 20, 3
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, Before: 50 * time.Millisecond})
		behind, p := through(t, d)
		replicas := startReplicas(t, 3, replicaConfig{DB: behind, Lease: 2 * time.Second}, a)
		for round := range rounds {
			before := a.count(t)
			signIn(t, d, a, people)
			p.perMille.Store(30)
			answers := asked(t, replicas, replicaRequest{To: people})()
			p.perMille.Store(0)
			for _, answer := range answers {
				for _, f := range answer.Failures { // three answers in a row
					assert.False(t, f.SignIn, "%s", f.Text)
				}
			}
			expectAll(t, asked(t, replicas, replicaRequest{To: people})(), people)
			require.Equal(t, people, a.count(t)-before, "round %d", round)
		}
		require.NotZero(t, p.lost.Load())
		_, revoked := a.history(t)
		require.Zero(t, revoked)
	})
}

// The database dies when the server has rotated everybody's refresh token, and
// before a single answer has come: whoever got one stores it afterwards.
func TestDatabaseDies(t *testing.T) {
	const people = 30
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, After: time.Second})
		replicas := startReplicas(t, 3, replicaConfig{DB: d, Lease: 5 * time.Second}, a)
		signIn(t, d, a, people)
		answers := asked(t, replicas, replicaRequest{To: people})
		eventually(t, "everybody's refresh", func() bool { return a.count(t) == people })
		d.control(t, "crash")
		d.control(t, "start")
		for _, answer := range answers() {
			for _, f := range answer.Failures {
				require.False(t, f.SignIn, "%s", f.Text)
			}
		}
		expectAll(t, asked(t, replicas, replicaRequest{To: people})(), people)
		require.Equal(t, people, a.count(t), "no refresh token was sent twice")
		_, revoked := a.history(t)
		require.Zero(t, revoked)
	})
}

// Redis that was killed has what it was told, and no scripts.
func TestConnectionsAreCut(t *testing.T) {
	const people = 20
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, After: 300 * time.Millisecond})
		behind, p := through(t, d)
		replicas := startReplicas(t, 3, replicaConfig{DB: behind}, a)
		for range 3 {
			signIn(t, d, a, people)
			before := a.count(t)
			answers := asked(t, replicas, replicaRequest{To: people})
			eventually(t, "everybody's refresh", func() bool { return a.count(t) == before+people })
			p.cut()
			expectAll(t, answers(), people)
			require.Equal(t, before+people, a.count(t))
		}
		_, revoked := a.history(t)
		require.Zero(t, revoked)
	})
}

// A replica is stopped for longer than its lease, with requests under way, and
// woken: the server has a leeway that is longer.
func TestReplicaIsStopped(t *testing.T) {
	const people = 20
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, Leeway: time.Minute, After: 200 * time.Millisecond})
		replicas := startReplicas(t, 3, replicaConfig{DB: d, Lease: time.Second}, a)
		for round := range 3 {
			signIn(t, d, a, people)
			before := a.count(t)
			stopped := replicas[round]
			late := asked(t, []*process{stopped}, replicaRequest{To: people})
			eventually(t, "a refresh", func() bool { return a.count(t) > before })
			stopped.signal(t, syscall.SIGSTOP)
			others := append(append([]*process{}, replicas[:round]...), replicas[round+1:]...)
			answers := asked(t, others, replicaRequest{To: people})()
			stopped.signal(t, syscall.SIGCONT)
			expectAll(t, answers, people)
			require.Empty(t, late()[0].Failures)
			expectAll(t, asked(t, replicas, replicaRequest{To: people})(), people)
		}
		_, revoked := a.history(t)
		require.Zero(t, revoked)
	})
}

// A replica is stopped for less than its lease: nobody notices, and nothing is
// refreshed twice.
func TestReplicaIsStoppedShortly(t *testing.T) {
	const people = 20
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, After: 200 * time.Millisecond})
		replicas := startReplicas(t, 2, replicaConfig{DB: d, Lease: 10 * time.Second}, a)
		signIn(t, d, a, people)
		first := asked(t, replicas[:1], replicaRequest{To: people})
		eventually(t, "a refresh", func() bool { return a.count(t) > 0 })
		replicas[0].signal(t, syscall.SIGSTOP)
		second := asked(t, replicas[1:], replicaRequest{To: people})
		<-time.After(time.Second) // stopped for as long
		replicas[0].signal(t, syscall.SIGCONT)
		expectAll(t, append(first(), second()...), people)
		require.Equal(t, people, a.count(t))
	})
}

// The holder is killed, and nobody who comes after lives for as long as its
// lease: functions, commands.
func TestNobodyLivesLong(t *testing.T) {
	const people = 5
	const lease = 3 * time.Second
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, Leeway: time.Minute, After: 200 * time.Millisecond})
		c := replicaConfig{DB: d, Lease: lease}
		signIn(t, d, a, people)
		holder := startReplicas(t, 1, c, a)[0]
		answer := asked(t, []*process{holder}, replicaRequest{To: people})
		eventually(t, "everybody's refresh", func() bool { return a.count(t) == people })
		holder.kill()
		answer()
		got, began := map[int]string{}, time.Now()
		for len(got) < people {
			require.Less(t, time.Since(began), 10*lease)
			short := startReplicas(t, 1, c, a)
			for n, token := range asked(t, short, replicaRequest{To: people, Within: lease / 2})()[0].Tokens {
				got[n] = token
			}
			short[0].kill()
		}
		require.Greater(t, time.Since(began), lease/2, "a lease was not waited for")
		_, revoked := a.history(t)
		require.Zero(t, revoked)
	})
}

// Clocks that differ cost refreshes, and never a sign-in.
func TestClocksDiffer(t *testing.T) {
	const people = 10
	for _, clocks := range [][]time.Duration{
		{0, 2 * time.Minute, 4 * time.Minute},
		{0, 3 * time.Hour, 6 * time.Hour},
		{-5 * time.Hour, 0, 3 * time.Hour},
	} {
		t.Run(fmt.Sprint(clocks), func(t *testing.T) {
			onEach(t, func(t *testing.T, d database) {
				a := startAuth(t, authConfig{Lifetime: time.Minute})
				var replicas []*process
				for _, ahead := range clocks {
					replicas = append(replicas, startReplicas(t, 1, replicaConfig{DB: d, RefreshBefore: time.Second, ClockAhead: ahead}, a)...)
				}
				signIn(t, d, a, people)
				check := func(answers []replicaAnswer) {
					for _, answer := range answers {
						require.Empty(t, answer.Failures)
						require.Len(t, answer.Tokens, people)
					}
				}
				for i, p := range replicas { // to each, the tokens of those before have expired
					check(asked(t, []*process{p}, replicaRequest{To: people})())
					require.Equal(t, (i+1)*people, a.count(t))
				}
				for range 3 {
					check(asked(t, replicas, replicaRequest{To: people})())
				}
				_, revoked := a.history(t)
				require.Zero(t, revoked)
			})
		})
	}
}

// One connection is enough for everybody, with a server that takes its time.
func TestPoolOfOne(t *testing.T) {
	const people = 30
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, Before: 500 * time.Millisecond})
		d.Pool = 1
		replicas := startReplicas(t, 3, replicaConfig{DB: d}, a)
		signIn(t, d, a, people)
		require.Less(t, expire(t, replicas, a, people), 10*time.Second)
	})
}

// The server takes longer than a lease is: it is renewed, and nobody takes over.
func TestSlowServer(t *testing.T) {
	const people = 10
	for name, test := range map[string]struct {
		lease, takes time.Duration
	}{
		"default lease, 20 s":     {0, 20 * time.Second},
		"the shortest lease, 5 s": {time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for _, server := range serverNames {
				t.Run(server, func(t *testing.T) {
					d := the(t, server)
					t.Parallel() // they wait, most of the time
					a := startAuth(t, authConfig{Lifetime: time.Hour, Before: test.takes})
					replicas := startReplicas(t, 3, replicaConfig{DB: d, Lease: test.lease}, a)
					signIn(t, d, a, people)
					require.GreaterOrEqual(t, expire(t, replicas, a, people), test.takes)
				})
			}
		})
	}
}

// All replicas are killed between the rotation and the storing, with a server
// that has a leeway: the next ones refresh once more.
func TestKilledAfterTheRotation(t *testing.T) {
	const people = 10
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, Leeway: time.Minute, After: 500 * time.Millisecond})
		c := replicaConfig{DB: d, Lease: time.Second}
		signIn(t, d, a, people)
		first := startReplicas(t, 2, c, a)
		answers := asked(t, first, replicaRequest{To: people})
		eventually(t, "everybody's refresh", func() bool { return a.count(t) == people })
		for _, p := range first {
			p.kill()
		}
		answers()
		expectAll(t, asked(t, startReplicas(t, 3, c, a), replicaRequest{To: people})(), people)
		require.Equal(t, 2*people, a.count(t))
		_, revoked := a.history(t)
		require.Zero(t, revoked)
	})
}
