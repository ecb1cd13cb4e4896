package tokenfile_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// A program saves the token of a sign-in. Its next run, or another
// process at the same time, uses it.
func Example() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		log.Fatal(err)
	}
	configDir, err := os.MkdirTemp("", "") // a real program uses os.UserConfigDir
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(configDir) }()

	store, err := tokenfile.New(filepath.Join(configDir, "my-app", "token.json"))
	if err != nil {
		log.Fatal(err)
	}
	token, err := server.NewToken() // a real program calls loopback.SignIn
	if err != nil {
		log.Fatal(err)
	}
	if err := auth.TokenSource(store).Save(ctx, token); err != nil {
		log.Fatal(err)
	}

	// The next run.
	source := auth.TokenSource(store)
	token, err = source.Token(ctx)
	if err != nil {
		log.Fatal(err) // piecesauth.ErrSignInRequired: sign in first
	}
	user, err := auth.UserInfo(ctx, token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in as", user.Name)

	if err := source.Forget(ctx); err != nil {
		log.Fatal(err)
	}
	_, err = store.Load(ctx)
	fmt.Println(err)
	// Output:
	// signed in as Ada Lovelace
	// no token stored
}
