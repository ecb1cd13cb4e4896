// Command cli is a command-line program that greets whoever uses it. The first
// run signs them in, and later runs find them signed in.
//
//	PIECES_CLIENT_ID=… go run ./examples/cli
//
// Without PIECES_CLIENT_ID it tries itself out, with no network and no account:
// see start.go.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/tokenfile"
)

func run(ctx context.Context, config piecesauth.Config, path string, options loopback.Options, out io.Writer) error {
	auth, err := piecesauth.New(config)
	if err != nil {
		return err
	}
	defer auth.Close() // waits for a refresh that runs beside
	store, err := tokenfile.New(path)
	if err != nil {
		return err
	}
	source := auth.TokenSource(store)
	if _, err := loopback.Token(ctx, source, auth, options); err != nil {
		return err
	}
	user, err := source.UserInfo(ctx) // for another API: source.Client(nil)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Hello,", user.Name)
	return nil
}

func main() {
	if err := start(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
