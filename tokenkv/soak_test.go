package tokenkv_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/beforesend"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// TestSoak is an hour of virtual time: processes that live for seconds, some for
// less than a lease, are killed and stopped at random, connections are cut on
// either side of a write, and the database is down now and then.
func TestSoak(t *testing.T) {
	t.Run("a server with leeway", func(t *testing.T) {
		// Longer than a lease, its takeover, and a stop.
		synctest.Test(t, (&soak{leeway: time.Minute, stops: 8 * time.Second}).run)
	})
	t.Run("no leeway", func(t *testing.T) { synctest.Test(t, new(soak).run) })
}

const (
	soakPeople   = 20
	soakReplicas = 6
	soakLifetime = 3 * time.Second // of a token
)

// soakFor is an hour, or what of it takes as long with the race detector.
func soakFor() time.Duration {
	if tokenkv.RaceDetector {
		return 10 * time.Minute
	}
	return time.Hour
}

type soak struct {
	leeway time.Duration // in which the server takes a refresh token again
	stops  time.Duration // at most so long; none where it is 0

	db   tokenkv.MemoryDB
	mu   sync.Mutex
	down bool // the database

	used    map[string]time.Time
	issued  int
	signIns int
	revoked map[string]bool // sign-ins
	excused map[string]bool // of whose tokens one died with a process

	refreshes, revocations, unexcused, kills, errs int
	unexpected                                     []error
}

// process is a replica that lives for a while.
type process struct {
	*soak

	dead  bool
	until time.Time      // it stands still
	owed  map[int]string // sign-ins of people whose token it got, and has not stored yet
}

// exist is each moment that a process notices what befell it.
func (p *process) exist() {
	for {
		p.mu.Lock()
		dead, wait := p.dead, time.Until(p.until)
		p.mu.Unlock()
		if dead {
			runtime.Goexit()
		}
		if wait <= 0 {
			return
		}
		time.Sleep(wait)
	}
}

// query is a word with the database.
func (p *process) query(do func() error) error {
	p.exist()
	time.Sleep(time.Millisecond + rand.N(2*time.Millisecond))
	p.exist()
	p.mu.Lock()
	down := p.down
	p.mu.Unlock()
	if cut := rand.N(200); down || cut == 0 {
		return errDown
	} else if err := do(); cut == 1 || err != nil {
		return errors.Join(err, errDown)
	}
	p.exist()
	return nil
}

func (p *process) Get(ctx context.Context, key string) (row tokenkv.Row, err error) {
	err = p.query(func() (err error) { row, err = p.db.Get(ctx, key); return err })
	return row, err
}

func (p *process) Swap(ctx context.Context, key, version string, value []byte) (v string, ok bool, err error) {
	err = p.query(func() (err error) { v, ok, err = p.db.Swap(ctx, key, version, value); return err })
	return v, ok, err
}

// refresh is a word with the server.
func (p *process) refresh(ctx context.Context, person int, token *piecesauth.Token) (*piecesauth.Token, error) {
	p.exist()
	if err := beforesend.Call(ctx); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	time.Sleep(rand.N(200 * time.Millisecond))
	next, err := p.redeem(token.RefreshToken)
	if err == nil {
		p.mu.Lock()
		p.owed[person] = signInOf(next.RefreshToken)
		if p.dead { // its request was on its way
			p.excused[p.owed[person]] = true
		}
		p.mu.Unlock()
	}
	time.Sleep(rand.N(200 * time.Millisecond))
	p.exist()
	return next, err
}

// redeem is what the server does.
func (s *soak) redeem(refresh string) (*piecesauth.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, used := s.used[refresh]
	signIn := signInOf(refresh)
	switch {
	case s.revoked[signIn]:
		return nil, errRefused
	case used && time.Since(first) >= s.leeway:
		s.revoked[signIn] = true
		if s.revocations++; !s.excused[signIn] {
			s.unexcused++
		}
		return nil, errRefused
	case !used:
		s.used[refresh] = time.Now()
	}
	s.refreshes++
	return s.issue(signIn), nil
}

// issue returns a new token; the caller has s.mu.
func (s *soak) issue(signIn string) *piecesauth.Token {
	s.issued++
	return &piecesauth.Token{AccessToken: "access", RefreshToken: fmt.Sprintf("%s:%d", signIn, s.issued), Expiry: time.Now().Add(soakLifetime)}
}

func signInOf(refresh string) string {
	signIn, _, _ := strings.Cut(refresh, ":")
	return signIn
}

// signIn is what a person does who has to.
func (s *soak) signIn() *piecesauth.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signIns++
	return s.issue(fmt.Sprint("sign-in ", s.signIns))
}

// live asks for the tokens of people at random, until it is killed.
func (p *process) live(ctx context.Context, tokens *tokenkv.Tokens) {
	usable := func(t *piecesauth.Token) bool { return time.Until(t.Expiry) > time.Second }
	for ctx.Err() == nil {
		person := rand.N(soakPeople)
		s, _ := tokens.Store(fmt.Sprint("person ", person)).(optional)
		call, cancel := context.WithTimeout(ctx, time.Minute)
		err := s.UpdateUnless(call, usable, func(ctx context.Context, t *piecesauth.Token) (*piecesauth.Token, error) {
			if t == nil {
				return nil, piecesauth.ErrNoToken
			}
			return p.refresh(ctx, person, t)
		})
		cancel()
		p.mu.Lock()
		if err == nil {
			delete(p.owed, person)
		}
		p.mu.Unlock()
		switch {
		case err == nil:
		case errors.Is(err, errRefused), errors.Is(err, piecesauth.ErrNoToken):
			if token, err := s.Load(ctx); err != nil || !usable(token) { // else somebody stored another meanwhile
				_ = s.Replace(ctx, p.signIn())
			}
		default:
			p.mu.Lock()
			if p.errs++; !errors.Is(err, errDown) && ctx.Err() == nil {
				p.unexpected = append(p.unexpected, err)
			}
			p.mu.Unlock()
		}
		time.Sleep(rand.N(200 * time.Millisecond))
		p.exist()
	}
}

// kill ends the process. What it got and has not stored is lost with it.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	p.kills++
	for _, signIn := range p.owed {
		p.excused[signIn] = true
	}
}

// replica runs one process after another.
func (s *soak) replica(ctx context.Context, t *testing.T, all *sync.WaitGroup) {
	for ctx.Err() == nil {
		p := &process{soak: s, owed: map[int]string{}}
		tokens := open(t, p)
		all.Go(func() { p.live(ctx, tokens) })
		time.Sleep(rand.N(15 * time.Second)) // many live for less than a lease
		if s.stops > 0 && rand.N(3) == 0 {
			p.mu.Lock()
			p.until = time.Now().Add(rand.N(s.stops))
			p.mu.Unlock()
			time.Sleep(rand.N(s.stops))
		}
		if ctx.Err() == nil {
			p.kill()
		}
		time.Sleep(rand.N(time.Second))
	}
}

func (s *soak) run(t *testing.T) {
	s.used, s.revoked, s.excused = map[string]time.Time{}, map[string]bool{}, map[string]bool{}
	for person := range soakPeople {
		save(t, &s.db, fmt.Sprint("person ", person), s.signIn())
	}
	ctx, cancel := context.WithTimeout(t.Context(), soakFor())
	defer cancel()
	var all sync.WaitGroup
	for range soakReplicas {
		all.Go(func() { s.replica(ctx, t, &all) })
	}
	for ctx.Err() == nil {
		time.Sleep(rand.N(2 * time.Minute))
		s.mu.Lock()
		s.down = !s.down && rand.N(2) == 0
		s.mu.Unlock()
		time.Sleep(rand.N(5 * time.Second))
		s.mu.Lock()
		s.down = false
		s.mu.Unlock()
	}
	all.Wait()

	t.Logf("%d refreshes, %d kills, %d revocations, %d of them unexplained, %d errors", s.refreshes, s.kills, s.revocations, s.unexcused, s.errs)
	assert.Zero(t, s.unexcused, "revocations that no kill between rotation and save explains")
	if s.leeway > 0 {
		assert.Zero(t, s.revocations)
	}
	assert.Empty(t, s.unexpected)
	require.Greater(t, s.refreshes, 1000)
	for person := range soakPeople {
		id := fmt.Sprint("person ", person)
		_, err := open(t, &s.db).Store(id).Load(t.Context())
		if s.leeway == 0 && errors.Is(err, piecesauth.ErrNoToken) { // refused just before the end
			t.Log(id, "was refused just before the end")
			save(t, &s.db, id, s.signIn())
			_, err = open(t, &s.db).Store(id).Load(t.Context())
		}
		assert.NoError(t, err, "everybody is signed in")
	}
}
