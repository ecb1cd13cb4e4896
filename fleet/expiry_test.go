package fleet_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	fleetPeople   = 200
	fleetReplicas = 4
)

// expire has every replica ask for everybody's token at once, all of which have
// expired, and returns how long it took.
func expire(t testing.TB, replicas []*process, a *authServer, people int) time.Duration {
	t.Helper()
	before := a.count(t)
	answers := make([]replicaAnswer, len(replicas))
	errs := make([]error, len(replicas))
	var wg sync.WaitGroup
	for i, p := range replicas {
		wg.Go(func() { errs[i] = p.ask(replicaRequest{To: people}, &answers[i]) })
	}
	wg.Wait()
	var slowest time.Duration
	for i, answer := range answers {
		require.NoError(t, errs[i])
		require.Empty(t, answer.Failures)
		require.Equal(t, answers[0].Tokens, answer.Tokens, "all have the same tokens")
		require.Len(t, answer.Tokens, people)
		slowest = max(slowest, answer.Took)
	}
	require.Equal(t, people, a.count(t)-before, "one refresh for each person")
	_, revoked := a.history(t)
	require.Zero(t, revoked)
	return slowest
}

// Two hundred people's tokens expire at once, on four replicas with a pool of
// five connections each, at a server that takes half a second: one refresh for
// each of them, in every round. Times are bench-fleet's to judge. Here it is
// only to be seen that no connection is held while the server is asked: whoever
// holds one can't be faster than the floor in any round, however fast the machine;
// and a busy machine may be slow in some.
func TestFleetExpiry(t *testing.T) {
	const takes, rounds = 500 * time.Millisecond, 3
	measure := func(t *testing.T, d database, rowLock bool) (floor, fastest time.Duration) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, Before: takes})
		replicas := startReplicas(t, fleetReplicas, replicaConfig{DB: d, RowLock: rowLock}, a)
		var all []time.Duration
		for range rounds {
			if rowLock {
				signInBare(t, d, a, fleetPeople)
			} else {
				signIn(t, d, a, fleetPeople)
			}
			all = append(all, expire(t, replicas, a, fleetPeople))
			if rowLock {
				break
			}
		}
		t.Logf("%s: %v", d.Name, all)
		return takes * fleetPeople / time.Duration(fleetReplicas*d.Pool), slices.Min(all)
	}
	onEach(t, func(t *testing.T, d database) {
		floor, fastest := measure(t, d, false)
		require.Less(t, fastest, floor)
	})
	t.Run("a row's lock", func(t *testing.T) {
		floor, fastest := measure(t, the(t, "postgres"), true)
		require.Greater(t, fastest, floor, "what others are measured against")
	})
}
