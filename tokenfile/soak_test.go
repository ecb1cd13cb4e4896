package tokenfile_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// The soak: many processes share one file, at a server that rotates refresh
// tokens and revokes the sign-in when one is used again. In each round the token
// expires, all processes ask for one at once, and in three rounds of four a
// process is killed: at any time, between the server's rotation and our save,
// or about when it saves. Its successor goes on at once. The size is set by the
// build tag soak.

// With a leeway longer than a restart no kill costs anything.
func TestSoak(t *testing.T) {
	s := newSoak(t, piecesauthtest.Options{RefreshLeeway: 5 * time.Minute})
	for round := range soakRounds {
		require.Equal(t, outcomeToken, s.round(round))
	}
	tally := s.check()
	require.Zero(t, s.server.Revocations())
	require.Equal(t, soakRounds, tally.saved, "one refresh a round")
	require.NotZero(t, tally.lost, "no kill came between the rotation and the save")
}

// Without leeway, a token that was lost with its process takes the sign-in with
// it: whoever uses the old one again has it revoked. Nothing else does, and
// every process says what has to be done.
func TestSoakWithoutLeeway(t *testing.T) {
	s := newSoak(t, piecesauthtest.Options{})
	signIns := 0
	for round := range soakRounds {
		if s.round(round) == outcomeSignIn {
			signIns++
			s.signIn()
		}
	}
	tally := s.check()
	require.Equal(t, soakRounds-signIns, tally.saved, "one refresh a round")
	require.NotZero(t, tally.lost, "no kill came between the rotation and the save")
	require.Equal(t, tally.revocations, s.server.Revocations())
	require.GreaterOrEqual(t, tally.revocations, signIns)
}

// soakRole asks for a token whenever it is told to.
func soakRole(in *bufio.Scanner, args []string) error {
	path, baseURL, clientID, id := args[0], args[1], args[2], args[3]
	auth, err := piecesauth.New(piecesauth.Config{BaseURL: baseURL, ClientID: clientID, ApplicationID: id})
	if err != nil {
		return err
	}
	store, err := tokenfile.New(path)
	if err != nil {
		return err
	}
	for in.Scan() {
		// A new source each time: the token is made to expire early, in the file,
		// and one that is held in memory would be good for a day.
		token, err := auth.TokenSource(store).Token(context.Background())
		switch {
		case errors.Is(err, piecesauth.ErrSignInRequired):
			fmt.Println(outcomeSignIn)
		case err != nil:
			fmt.Println("failed:", err)
		default:
			fmt.Println(token.AccessToken)
		}
	}
	return in.Err()
}

const (
	outcomeToken  = "token"
	outcomeSignIn = "sign-in required"
)

// When a process is killed, by the round.
const (
	killNobody         = iota
	killAnytime        // any process, at any time
	killBeforeAnswer   // the one that refreshes, when the server has rotated
	killAboutTheAnswer // the one that refreshes, while it gets the answer or saves it
	killKinds
)

type soak struct {
	t      *testing.T
	path   string
	store  *tokenfile.Store
	server *piecesauthtest.Server
	loads  atomic.Int64 // of the reader that looks for torn files
	kills  sync.WaitGroup

	mu        sync.Mutex
	kind      int // of this round
	armed     bool
	all       []*soakProcess // every one there ever was; its index is its id
	current   []*soakProcess
	refreshes []refresh
	stored    map[string]bool // the access tokens that a round ended with
}

type soakProcess struct {
	*process
	killed bool
}

// refresh is a request for one that the server has answered, or is about to.
type refresh struct {
	by      *soakProcess
	used    string // the refresh token
	token   string // the new access token; "" where it was refused
	revokes bool
}

func newSoak(t *testing.T, options piecesauthtest.Options) *soak {
	s := &soak{t: t, path: newPath(t), server: piecesauthtest.NewServer(options), stored: map[string]bool{}}
	t.Cleanup(s.server.Close)
	s.store = open(t, s.path)
	s.signIn()
	for range soakProcesses {
		s.current = append(s.current, s.start())
	}

	// A reader that takes no lock never sees half a file, nor none.
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticks := time.NewTicker(time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticks.C:
			}
			if _, err := s.store.Load(context.WithoutCancel(t.Context())); err != nil {
				t.Errorf("reading while others write: %v", err)
				return
			}
			s.loads.Add(1)
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return s
}

// signIn puts a token of a new sign-in into the file.
func (s *soak) signIn() {
	token, err := s.server.NewToken("offline_access")
	require.NoError(s.t, err)
	require.NoError(s.t, put(s.t.Context(), s.store, token))
}

func (s *soak) start() *soakProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &soakProcess{process: start(s.t, "soak", s.path, s.server.URL, s.server.ClientID, strconv.Itoa(len(s.all)))}
	s.all = append(s.all, p)
	return p
}

func (s *soak) kill(p *soakProcess) {
	s.mu.Lock()
	p.killed = true
	s.mu.Unlock()
	p.kill()
}

// round lets the token expire and has all processes ask for one. All get the
// one that is in the file then, or all have to have the person sign in again.
func (s *soak) round(n int) (outcome string) {
	s.mu.Lock()
	s.kind, s.armed = n%killKinds, true
	s.mu.Unlock()
	// Enough for every process to refresh, and its successor.
	for range 2 * soakProcesses {
		s.server.Fail(piecesauthtest.Refresh, piecesauthtest.Fault{Bend: s.refreshed})
	}
	require.NoError(s.t, s.store.Update(s.t.Context(), func(_ context.Context, token *piecesauth.Token) (*piecesauth.Token, error) {
		token.Expiry = time.Unix(int64(n), 0).UTC()
		return token, nil
	}))

	reports := make([]string, soakProcesses)
	var asking sync.WaitGroup
	for i := range reports {
		asking.Go(func() { reports[i] = s.ask(i) })
	}
	if n%killKinds == killAnytime {
		s.killSoon(50*time.Millisecond, func() *soakProcess { return s.current[rand.N(soakProcesses)] })
	}
	asking.Wait()
	s.kills.Wait()

	token, err := s.store.Load(s.t.Context())
	require.NoError(s.t, err)
	want := outcomeSignIn
	if reports[0] != outcomeSignIn {
		want, outcome = token.AccessToken, outcomeToken
		s.stored[token.AccessToken] = true
	} else {
		outcome = outcomeSignIn
	}
	for _, report := range reports {
		require.Equal(s.t, want, report, "round %d", n)
	}
	return outcome
}

// ask gives what the i-th process says, or if it is killed, its successor.
func (s *soak) ask(i int) string {
	for {
		s.mu.Lock()
		p := s.current[i]
		s.mu.Unlock()
		p.tell()
		if line, ok := <-p.lines; ok {
			return line
		}
		p = s.start()
		s.mu.Lock()
		s.current[i] = p
		s.mu.Unlock()
	}
}

// killSoon kills the process at a random time until then.
func (s *soak) killSoon(until time.Duration, choose func() *soakProcess) {
	after := time.After(rand.N(until))
	s.kills.Go(func() {
		<-after
		s.mu.Lock()
		p := choose()
		s.mu.Unlock()
		s.kill(p)
	})
}

// refreshed is called when the server has rotated a token, or refused to, and
// has not answered yet.
func (s *soak) refreshed(response *piecesauthtest.Response) {
	var answer struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(response.Body, &answer); err != nil {
		s.t.Errorf("the server's answer: %v", err)
	}
	id, err := strconv.Atoi(response.Request.Header.Get("X-Application-ID"))
	if err != nil {
		s.t.Errorf("which process asked: %v", err)
		return
	}
	s.mu.Lock()
	p := s.all[id]
	s.refreshes = append(s.refreshes, refresh{
		by:      p,
		used:    response.Request.Form.Get("refresh_token"),
		token:   answer.AccessToken,
		revokes: strings.Contains(answer.Description, "used before"),
	})
	kind := killNobody
	if s.armed && answer.AccessToken != "" { // once a round
		kind, s.armed = s.kind, false
	}
	s.mu.Unlock()
	switch kind {
	case killBeforeAnswer:
		s.kill(p)
	case killAboutTheAnswer:
		s.killSoon(5*time.Millisecond, func() *soakProcess { return p })
	}
}

type tally struct{ saved, lost, revocations int }

// check goes through all that the server was asked. A token that it gave is in
// the file, or its process was killed; what revoked a sign-in was the reuse of
// a refresh token whose successor was lost so.
func (s *soak) check() (sum tally) {
	for _, p := range s.current {
		p.kill()
	}
	s.server.Close() // what killed processes asked for has been answered then
	first := map[string]refresh{}
	killed := 0
	for _, p := range s.all {
		if p.killed {
			killed++
		}
	}
	for _, r := range s.refreshes {
		if r.token == "" {
			continue
		}
		if _, again := first[r.used]; !again {
			first[r.used] = r
		}
		if s.stored[r.token] {
			sum.saved++
		} else {
			sum.lost++
			require.True(s.t, r.by.killed, "a token was lost, and its process not killed")
		}
	}
	for _, r := range s.refreshes {
		if r.revokes {
			sum.revocations++
			rotated := first[r.used]
			// The other one is that of a request which a killed process had sent,
			// and which the server got to late.
			require.True(s.t, rotated.by.killed && !s.stored[rotated.token] || r.by.killed, "a revocation that no kill explains")
		}
	}
	require.Subset(s.t, []string{"token.json", "token.json.lock"}, s.tidy())
	s.t.Logf("%d processes, %d rounds: %d refreshes asked for, %d killed, %d tokens saved, %d lost by a kill, %d revocations, file read %d times",
		soakProcesses, soakRounds, len(s.refreshes), killed, sum.saved, sum.lost, s.server.Revocations(), s.loads.Load())
	return sum
}

// tidy lists the folder after one more save.
func (s *soak) tidy() []string {
	require.NoError(s.t, put(s.t.Context(), s.store, token("last")))
	return names(s.t, s.path)
}
