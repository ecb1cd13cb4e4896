package tokensql_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/tokensql"
)

// A web application keeps the tokens of everybody who is signed in. In a real
// application the key comes from where it keeps its secrets, and the
// database is one that all its machines reach.
func Example() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: the token is valid: true
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tokens")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	pool, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "tokens.db")+
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()

	db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.SQLite})
	if err != nil {
		return err
	}
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	sealer, err := seal.New(key)
	if err != nil {
		return err
	}
	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
	if err != nil {
		return err
	}

	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		return err
	}
	signedIn, err := server.NewToken() // stands for a sign-in
	if err != nil {
		return err
	}
	source := auth.TokenSource(tokens.Store("an-opaque-session-id"))
	if err := source.Save(ctx, signedIn); err != nil {
		return err
	}
	token, err := auth.TokenSource(tokens.Store("an-opaque-session-id")).Token(ctx) // on any machine
	if err != nil {
		return err
	}
	fmt.Println("the token is valid:", token.Valid())
	return nil
}
