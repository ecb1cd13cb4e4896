package fleet_test

import (
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
// five connections each, at a server that takes half a second.
func TestFleetExpiry(t *testing.T) {
	bars := map[string]time.Duration{"postgres": 2 * time.Second, "mariadb": 2 * time.Second, "redis": 1500 * time.Millisecond}
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, Before: 500 * time.Millisecond})
		replicas := startReplicas(t, fleetReplicas, replicaConfig{DB: d}, a)
		var best time.Duration
		for range 10 { // the machine may be busy with something else
			signIn(t, d, a, fleetPeople)
			took := expire(t, replicas, a, fleetPeople)
			t.Logf("%s: %v", d.Name, took)
			if best == 0 || took < best {
				best = took
			}
			if best <= bars[d.Name] {
				break
			}
		}
		require.LessOrEqual(t, best, bars[d.Name])
	})
}
