package tokenfile_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// profileRole asks for the profile whenever it is told to, as a program that
// runs for long does; told "fresh", as one that has just begun.
func profileRole(in *bufio.Scanner, args []string) error {
	auth, err := piecesauth.New(piecesauth.Config{BaseURL: args[1], ClientID: args[2], Issuer: args[3]})
	if err != nil {
		return err
	}
	store, err := tokenfile.New(args[0])
	if err != nil {
		return err
	}
	source := auth.TokenSource(store)
	for in.Scan() {
		if in.Text() == "fresh" {
			source = auth.TokenSource(store)
		}
		if _, err := source.UserInfo(context.Background()); err != nil {
			fmt.Println("failed:", err)
			continue
		}
		fmt.Println("done")
	}
	return in.Err()
}

// TestManyExpiries has four processes share a token that expires 25 times, at a
// server that rotates refresh tokens, revokes the sign-in when one comes twice,
// ends the access token at a refresh, is two minutes ahead, and whose keys fail
// at random: 25 refreshes, and nobody notices anything.
func TestManyExpiries(t *testing.T) {
	const processes, expiries = 4, 25
	server := piecesauthtest.NewServer(piecesauthtest.Options{RefreshEndsAccessTokens: true, ClockOffset: 2 * time.Minute})
	defer server.Close()
	server.FailFunc(piecesauthtest.JWKS, func(*piecesauthtest.Request) piecesauthtest.Fault {
		if rand.N(2) == 0 {
			return piecesauthtest.Fault{}
		}
		return piecesauthtest.Fault{Status: http.StatusInternalServerError}
	})
	path := newPath(t)
	store := open(t, path)
	first, err := server.NewToken("openid", "offline_access")
	require.NoError(t, err)
	require.NoError(t, put(t.Context(), store, first))
	config := server.Config()
	var children []*process
	for range processes {
		children = append(children, start(t, "profile", path, config.BaseURL, config.ClientID, config.Issuer))
	}
	for round := range expiries {
		require.NoError(t, store.Update(t.Context(), func(_ context.Context, token *piecesauth.Token) (*piecesauth.Token, error) {
			token.Expiry = time.Now().Add(-time.Minute)
			return token, nil
		}))
		for i, child := range children {
			child.say(map[bool]string{true: "fresh", false: "go"}[i == round%processes])
		}
		for _, child := range children {
			child.expect("done")
		}
	}
	require.Zero(t, server.Revocations())
	require.Equal(t, expiries, server.Count(piecesauthtest.Refresh))
	require.NotZero(t, server.Count(piecesauthtest.JWKS))
}
