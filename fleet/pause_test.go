package fleet_test

import (
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pauses are when processes stood still, by their ids to the authorization
// server.
type pauses map[string][]period

// explain reports whether a refresh token may have been used twice because one
// of the two processes that did stood still: between the two, and for so long.
// Whoever comes second had taken over by the end of the pause, or ends it.
func (p pauses) explain(first, second refresh, least, lease time.Duration) bool {
	for _, id := range []string{first.By, second.By} {
		for _, pause := range p[id] {
			if pause.to.Sub(pause.from) >= least && first.At.Before(pause.to) && second.At.After(pause.from) && second.At.Before(pause.to.Add(lease)) {
				return true
			}
		}
	}
	return false
}

// A replica is stopped for longer than its lease and woken, and the server has
// no leeway: a refresh token that was sent by then may be used twice, once for
// the pause, and no other is.
func TestReplicaIsStoppedWithoutLeeway(t *testing.T) {
	const people, rounds, lease = 20, 6, time.Second
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, Before: 50 * time.Millisecond, After: 200 * time.Millisecond})
		replicas := startReplicas(t, 3, replicaConfig{DB: d, Lease: lease}, a)
		stood, signedOut := pauses{}, 0
		for round := range rounds {
			signIn(t, d, a, people)
			before := a.count(t)
			n := round % len(replicas)
			late := asked(t, replicas[n:n+1], replicaRequest{To: people})
			if round < rounds/2 { // some have sent, and some have not
				eventually(t, "a refresh", func() bool { return a.count(t) > before })
			} else {
				<-time.After(rand.N(60 * time.Millisecond))
			}
			pause := period{from: time.Now()}
			replicas[n].signal(t, syscall.SIGSTOP)
			others := append(append([]*process{}, replicas[:n]...), replicas[n+1:]...)
			answers := asked(t, others, replicaRequest{To: people})()
			replicas[n].signal(t, syscall.SIGCONT)
			pause.to = time.Now()
			stood[strconv.Itoa(n)] = append(stood[strconv.Itoa(n)], pause)
			answers = append(answers, late()...)
			after := asked(t, replicas, replicaRequest{To: people})()
			for _, answer := range after {
				require.Equal(t, after[0].Tokens, answer.Tokens, "what a replica knows that was stopped is what all know")
			}
			signedOut += len(whoIsOut(t, append(answers, after...)))
		}
		refreshes, revoked := a.history(t)
		again, first := reused(refreshes)
		times := map[string]int{}
		for _, r := range again {
			times[r.Used]++
			require.Equal(t, 1, times[r.Used], "a refresh token was sent three times")
			require.True(t, stood.explain(first[r.Used], r, lease/3, lease), "a refresh token was sent twice, and neither %s nor %s stood still", first[r.Used].By, r.By)
		}
		t.Logf("%s: of %d people %d were signed out; %d refresh tokens were sent twice, each after a pause, and %d sign-ins revoked", d.Name, people*rounds, signedOut, len(again), revoked)
		require.NotEmpty(t, again, "no pause came between a rotation and its saving")
		require.LessOrEqual(t, revoked, len(again))
		require.LessOrEqual(t, signedOut, revoked)
	})
}

// whoIsOut returns who was asked to sign in; nobody failed otherwise.
func whoIsOut(t testing.TB, answers []replicaAnswer) map[int]bool {
	t.Helper()
	out := map[int]bool{}
	for _, answer := range answers {
		for _, f := range answer.Failures {
			require.True(t, f.SignIn, "%s", f.Text)
			out[f.Person] = true
		}
	}
	return out
}

// While the token is good nobody takes over from a replica that is stopped: it
// wakes and stores what it got, and no refresh token is used twice.
func TestReplicaIsStoppedWhileTheTokenIsGood(t *testing.T) {
	const people = 20
	onEach(t, func(t *testing.T, d database) {
		a := startAuth(t, authConfig{Lifetime: time.Hour, After: 200 * time.Millisecond})
		replicas := startReplicas(t, 3, replicaConfig{DB: d, Lease: time.Second, RefreshBefore: 5 * time.Minute}, a)
		signInUntil(t, d, a, people, time.Now().Add(2*time.Minute))
		first := asked(t, replicas[:1], replicaRequest{To: people})()
		eventually(t, "a refresh", func() bool { return a.count(t) > 0 })
		replicas[0].signal(t, syscall.SIGSTOP)
		began := time.Now()
		expectAll(t, append(first, asked(t, replicas[1:], replicaRequest{To: people})()...), people) // and waits for nobody
		<-time.After(time.Until(began.Add(4 * time.Second)))                                         // stopped for as long
		replicas[0].signal(t, syscall.SIGCONT)
		eventually(t, "everybody's refresh", func() bool { return a.count(t) == people })
		eventually(t, "everybody's new token", func() bool {
			answers := asked(t, replicas, replicaRequest{To: people})()
			expectAll(t, answers[:1], people)
			for n, token := range answers[0].Tokens {
				if token == first[0].Tokens[n] {
					return false
				}
			}
			expectAll(t, answers, people)
			return true
		})
		require.Equal(t, people, a.count(t), "one refresh for each person")
		_, revoked := a.history(t)
		require.Zero(t, revoked)
	})
}
