package keyring_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	zalando "github.com/zalando/go-keyring"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/keyring"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// A token file is sealed with a key in the system's credential store.
func Example() {
	zalando.MockInit() // only here: a credential store in memory takes the place of the system's
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "keyring")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(folder) }()
	path := filepath.Join(folder, "my-app", "token.json")

	store, err := tokenfile.New(path, tokenfile.Sealed(keyring.Key("my-app", "default")))
	if err != nil {
		fmt.Println(err)
		return
	}
	// A TokenSource does this after a sign-in.
	if err := store.Replace(ctx, &piecesauth.Token{AccessToken: "a secret"}); err != nil {
		fmt.Println(err)
		return
	}
	content, err := os.ReadFile(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("in the clear:", strings.Contains(string(content), "a secret"))
	token, err := store.Load(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("read again:", token.AccessToken == "a secret")
	// Output:
	// in the clear: false
	// read again: true
}
