// Command bot does something for fifty people every minute, and keeps all of
// them signed in. Their tokens are in an SQLite database, which several bots can
// share: each token is refreshed once for all of them.
//
//	go run . -rounds 2
//
// It runs with no network and no account, against an authorization server in
// this process: see offline.go. On several machines, use PostgreSQL, MySQL or
// Redis instead of SQLite; nothing else changes.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	_ "modernc.org/sqlite"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/tokensql"
)

// bot is one process. Bots that share the database and the key share the tokens.
type bot struct {
	auth   *piecesauth.Authenticator
	tokens *tokenkv.Tokens
}

// newBot opens the database. The key is 32 random bytes, which is kept like the
// password of the database.
func newBot(ctx context.Context, config piecesauth.Config, pool *sql.DB, key []byte) (*bot, error) {
	auth, err := piecesauth.New(config)
	if err != nil {
		return nil, err
	}
	db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.SQLite})
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx); err != nil {
		return nil, err
	}
	sealer, err := seal.New(key)
	if err != nil {
		return nil, err
	}
	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
	return &bot{auth, tokens}, err
}

// source returns the token source of a person.
func (b *bot) source(person string) *piecesauth.TokenSource {
	return b.auth.TokenSource(b.tokens.Store(person))
}

// round visits everybody, eight at a time, and returns how many people were
// reached. It prints who has to sign in again.
func (b *bot) round(ctx context.Context, people []string, out io.Writer) int {
	var wait sync.WaitGroup
	var mu sync.Mutex
	reached, slots := 0, make(chan struct{}, 8)
	for _, person := range people {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			_, err := b.source(person).UserInfo(ctx) // what the bot does; for another API: source.Client(nil)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, piecesauth.ErrSignInRequired):
				fmt.Fprintf(out, "%s has to sign in again\n", person)
			case err != nil:
				fmt.Fprintf(out, "%s: %v\n", person, err)
			default:
				reached++
			}
		})
	}
	wait.Wait()
	return reached
}

func main() {
	rounds := flag.Int("rounds", 0, "stop after this many rounds; 0 runs until Ctrl-C")
	every := flag.Duration("every", time.Minute, "time from one round to the next")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := offline(ctx, *rounds, *every, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // stop only restores the signals of a process that ends
	}
}
