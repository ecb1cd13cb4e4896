package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

const people = 50

// offline runs two bots, as on two machines, that share a database. Before each
// round the server ends all access tokens, so that both bots need new ones.
func offline(ctx context.Context, rounds int, every time.Duration, out io.Writer) error {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	folder, err := os.MkdirTemp("", "bot")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails

	bots := make([]*bot, 2)
	for i := range bots {
		pool, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "tokens.db")+
			"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
		if err != nil {
			return err
		}
		defer func() { _ = pool.Close() }()
		if bots[i], err = newBot(ctx, server.Config(), pool, key); err != nil {
			return err
		}
	}
	names := make([]string, people)
	for i := range names {
		names[i] = fmt.Sprintf("person-%02d", i)
		if err := bots[0].enroll(ctx, server, names[i]); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "people who have signed in:", len(names))

	for round := 1; rounds == 0 || round <= rounds; round++ {
		server.RevokeAccessTokens()
		before := server.Count(piecesauthtest.Refresh)
		reached := make(chan int)
		for _, b := range bots {
			go func() { reached <- b.round(ctx, names, out) }()
		}
		first, second := <-reached, <-reached
		fmt.Fprintf(out, "round %d: two bots reached %d and %d people, with %d refreshes\n",
			round, first, second, server.Count(piecesauthtest.Refresh)-before)
		if round == rounds {
			break
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// enroll signs a person in and stores their token. Real people do that in a
// browser, on a page of package web or with loopback.SignIn.
func (b *bot) enroll(ctx context.Context, server *piecesauthtest.Server, name string) error {
	browser := server.BrowserAs(piecesauthtest.Person{Sub: name, Name: name})
	token, err := loopback.SignIn(ctx, b.auth, loopback.Options{
		RedirectURL: "http://127.0.0.1:0/callback",
		Begin:       &piecesauth.BeginOptions{Prompt: "login"},
		OpenBrowser: func(url string) error { _, err := browser.Open(ctx, url); return err },
	})
	if err != nil {
		return err
	}
	return b.source(name).Save(ctx, token)
}
