package fleet_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// authConfig is an authorization server that rotates refresh tokens and
// revokes the sign-in when one is used again.
type authConfig struct {
	Lifetime, Leeway time.Duration
	Before, After    time.Duration // what it takes before it has rotated, and then
}

type authRequest struct {
	Tokens int // how many people sign in
}

type authAnswer struct {
	URL, ClientID string
	Tokens        []*piecesauth.Token
	Refreshes     []refresh // since they were last asked for
	Revocations   int
}

// refresh is a request for one that the server has answered, or is about to.
type refresh struct {
	At      time.Time
	By      string // the application's id, which names a process
	Used    string // the refresh token
	New     string // "" where it was refused
	Revokes bool
}

// authRole is the server, in a process of its own: its work is none of ours.
func authRole(config []byte) error {
	var c authConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	server := piecesauthtest.NewServer(piecesauthtest.Options{TokenLifetime: c.Lifetime, RefreshLeeway: c.Leeway})
	defer server.Close()
	var mu sync.Mutex
	var refreshes []refresh
	var fault piecesauthtest.Fault
	fault = piecesauthtest.Fault{Delay: c.Before, Bend: func(r *piecesauthtest.Response) {
		server.Fail(piecesauthtest.Refresh, fault)
		var body struct {
			RefreshToken string `json:"refresh_token"`
			Description  string `json:"error_description"`
		}
		_ = json.Unmarshal(r.Body, &body) // of the double, which tests it
		mu.Lock()
		refreshes = append(refreshes, refresh{
			At: time.Now(), By: r.Request.Header.Get("X-Application-ID"), Used: r.Request.Form.Get("refresh_token"),
			New: body.RefreshToken, Revokes: strings.Contains(body.Description, "used before"),
		})
		mu.Unlock()
		<-time.After(c.After)
	}}
	for range 5000 { // more than there are at once
		server.Fail(piecesauthtest.Refresh, fault)
	}
	return serve(func(request authRequest) (authAnswer, error) {
		answer := authAnswer{URL: server.URL, ClientID: server.ClientID}
		for range request.Tokens {
			token, err := server.NewToken("offline_access")
			if err != nil {
				return answer, err
			}
			answer.Tokens = append(answer.Tokens, token)
		}
		mu.Lock()
		defer mu.Unlock()
		answer.Refreshes, refreshes = refreshes, nil
		answer.Revocations = server.Revocations()
		return answer, nil
	})
}

// authServer is what a test has of the server.
type authServer struct {
	*process
	mu        sync.Mutex
	refreshes []refresh
	revoked   int
	url, id   string
}

func startAuth(t testing.TB, c authConfig) *authServer {
	t.Helper()
	a := &authServer{process: start(t, "auth", c)}
	require.NoError(t, a.refresh(0, nil))
	return a
}

func (a *authServer) refresh(tokens int, into *[]*piecesauth.Token) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var answer authAnswer
	if err := a.ask(authRequest{Tokens: tokens}, &answer); err != nil {
		return err
	}
	a.url, a.id, a.revoked = answer.URL, answer.ClientID, answer.Revocations
	a.refreshes = append(a.refreshes, answer.Refreshes...)
	if into != nil {
		*into = answer.Tokens
	}
	return nil
}

// tokens are of as many people who have just signed in.
func (a *authServer) tokens(t testing.TB, n int) (tokens []*piecesauth.Token) {
	t.Helper()
	require.NoError(t, a.refresh(n, &tokens))
	return tokens
}

// history are all refreshes so far, and the number of revocations.
func (a *authServer) history(t testing.TB) ([]refresh, int) {
	t.Helper()
	require.NoError(t, a.refresh(0, nil))
	return a.refreshes, a.revoked
}

func (a *authServer) count(t testing.TB) int {
	t.Helper()
	refreshes, _ := a.history(t)
	return len(refreshes)
}
