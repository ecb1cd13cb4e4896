package loopback_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// A command-line program opens the browser. It prints the URL in any case, and
// over SSH reads the address that the browser ended at from standard input.
//
// Here a server in memory and its Browser take the place of a real server and
// a person: leave RedirectURL and OpenBrowser out, and use the configuration of
// the real server.
func ExampleSignIn() {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	person := server.Browser()
	token, err := loopback.SignIn(ctx, auth, loopback.Options{
		Output:      os.Stderr,
		Input:       os.Stdin,
		RedirectURL: "http://127.0.0.1:0/callback",
		OpenBrowser: func(url string) error { _, err := person.Open(ctx, url); return err },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("signed in:", token.Valid())
	// Output: signed in: true
}

// A program that keeps its token signs the person in once.
func ExampleToken() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	person := server.Browser()
	options := loopback.Options{
		RedirectURL: "http://127.0.0.1:0/callback",
		OpenBrowser: func(url string) error { _, err := person.Open(ctx, url); return err },
	}
	store := new(piecesauth.MemoryStore) // to stay signed in after the program ends: tokenfile.New
	for range 2 {
		source := auth.TokenSource(store)
		if _, err := loopback.Token(ctx, source, auth, options); err != nil {
			fmt.Println(err)
			return
		}
		user, err := source.UserInfo(ctx) // for another API: source.Client(nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(user.Name, "signed in", server.Count(piecesauthtest.Exchange), "time")
	}
	// Output:
	// Ada Lovelace signed in 1 time
	// Ada Lovelace signed in 1 time
}

// A program with a window of its own shows the sign-in page itself.
func ExampleListen() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	closed := make(chan struct{})
	show := func(url string) { // stands for the window
		go func() { defer close(closed); _, _ = server.Browser().Open(ctx, url) }()
	}

	receiver, err := loopback.Listen(ctx, "") // a free port
	if err != nil {
		fmt.Println(err)
		return
	}
	defer receiver.Close()
	attempt, err := auth.Begin(&piecesauth.BeginOptions{RedirectURL: receiver.RedirectURL()})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(attempt.URL)
	var token *piecesauth.Token
	err = receiver.Wait(ctx, attempt.State, func(callback url.Values) (err error) {
		token, err = auth.Complete(ctx, attempt, callback)
		return err
	})
	<-closed
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("signed in:", token.Valid())
	// Output: signed in: true
}
