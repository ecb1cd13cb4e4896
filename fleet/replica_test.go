package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// replicaConfig is an application that has many people signed in.
type replicaConfig struct {
	ID            string // names the process to the authorization server
	DB            database
	Auth          string
	ClientID      string
	Lease         time.Duration
	ClockAhead    time.Duration // of other machines' clocks
	RefreshBefore time.Duration
	RowLock       bool // the rival, which holds a row's lock through a refresh
}

// replicaRequest asks for tokens: of each of the people, at once, or one after
// another for a while.
type replicaRequest struct {
	From, To int           // the people, by number
	Within   time.Duration // 0: for as long as it takes
	For      time.Duration
	Every    time.Duration // a visit of somebody at random
}

type replicaAnswer struct {
	Took     time.Duration
	Tokens   map[int]string // access tokens
	Failures []failure
	Visits   int
}

// failure is a person who got no token.
type failure struct {
	Person    int
	Since, At time.Time
	Text      string
	SignIn    bool // the person has to sign in again
}

func person(n int) string { return fmt.Sprintf("person-%d", n) }

// replica is the application's part in one process.
type replica struct {
	replicaConfig
	auth   *piecesauth.Authenticator
	stores func(id string) piecesauth.TokenStore
	db     *connected

	sources sync.Map // of people, by number
}

func newReplica(ctx context.Context, c replicaConfig) (*replica, error) {
	auth, err := piecesauth.New(piecesauth.Config{
		BaseURL: c.Auth, ClientID: c.ClientID, ApplicationID: c.ID, RefreshBefore: c.RefreshBefore,
	})
	if err != nil {
		return nil, err
	}
	db, err := c.DB.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := db.warm(ctx); err != nil {
		return nil, err
	}
	tokens, err := tokenkv.New(db, tokenkv.Options{Lease: c.Lease})
	if err != nil {
		return nil, err
	}
	r := &replica{replicaConfig: c, auth: auth, stores: tokens.Store, db: db}
	if c.RowLock {
		r.stores = func(id string) piecesauth.TokenStore { return rowLock{db, id} }
	}
	if c.ClockAhead != 0 {
		stores := r.stores
		r.stores = func(id string) piecesauth.TokenStore { return shift(stores(id), c.ClockAhead) }
	}
	return r, nil
}

func replicaRole(config []byte) error {
	var c replicaConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	ctx := context.Background()
	r, err := newReplica(ctx, c)
	for range 300 { // whoever starts while the database is down waits for it
		if err == nil {
			break
		}
		<-time.After(100 * time.Millisecond)
		r, err = newReplica(ctx, c)
	}
	if err != nil {
		return err
	}
	defer func() { _ = r.db.close() }()
	return serve(func(request replicaRequest) (replicaAnswer, error) {
		if request.For == 0 {
			return r.all(ctx, request), nil
		}
		return r.visits(ctx, request), nil
	})
}

// all asks for everybody's token at once. The sources are new: the tokens are
// made to expire in the database, and those held in memory would still be good.
func (r *replica) all(ctx context.Context, request replicaRequest) replicaAnswer {
	answer := replicaAnswer{Tokens: map[int]string{}}
	if request.Within != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, request.Within)
		defer cancel()
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for n := request.From; n < request.To; n++ {
		wg.Go(func() {
			token, failed := r.token(ctx, n, r.auth.TokenSource(r.stores(person(n))))
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				answer.Failures = append(answer.Failures, *failed)
				return
			}
			answer.Tokens[n] = token.AccessToken
		})
	}
	wg.Wait()
	answer.Took = time.Since(began)
	return answer
}

func (r *replica) token(ctx context.Context, n int, source *piecesauth.TokenSource) (*piecesauth.Token, *failure) {
	since := time.Now()
	token, err := source.Token(ctx)
	if err != nil {
		return nil, &failure{Person: n, Since: since, At: time.Now(), Text: err.Error(), SignIn: errors.Is(err, piecesauth.ErrSignInRequired)}
	}
	return token, nil
}

// startReplicas starts as many, and signs the people in.
func startReplicas(t testing.TB, n int, c replicaConfig, a *authServer) []*process {
	t.Helper()
	c.Auth, c.ClientID = a.url, a.id
	all := make([]*process, n)
	for i := range all {
		c.ID = strconv.Itoa(i)
		all[i] = start(t, "replica", c)
		var answer replicaAnswer
		require.NoError(t, all[i].ask(replicaRequest{}, &answer), "it is ready")
	}
	return all
}

// signIn stores tokens of as many people, which have expired by any of their
// clocks.
func signIn(t testing.TB, d database, a *authServer, people int) {
	t.Helper()
	signInUntil(t, d, a, people, time.Now().Add(-24*time.Hour))
}

// signInUntil stores tokens that expire then.
func signInUntil(t testing.TB, d database, a *authServer, people int, expiry time.Time) {
	t.Helper()
	db := d.open(t)
	tokens, err := tokenkv.New(db, tokenkv.Options{})
	require.NoError(t, err)
	for n, token := range a.tokens(t, people) {
		token.Expiry, token.Obtained = expiry, time.Time{}
		save(t, tokens.Store(person(n)), token)
	}
}

func save(t testing.TB, store piecesauth.TokenStore, token *piecesauth.Token) {
	t.Helper()
	require.NoError(t, store.Update(context.WithoutCancel(t.Context()), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return token, nil }))
}
