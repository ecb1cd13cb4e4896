package loopback_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
)

// A command-line program: the browser opens; the URL is printed in any case, and
// over SSH the address the browser ends at can be pasted.
func ExampleSignIn() {
	auth, err := piecesauth.New(piecesauth.Config{
		BaseURL:  piecesauth.LiveBaseURL,
		ClientID: "9sW4Pa1LEjX67l6VO14u0207NLYeXnu1",
		Audience: "https://pieces.us.auth0.com/api/v2/",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	token, err := loopback.SignIn(ctx, auth, loopback.Options{
		Output: os.Stderr,
		Input:  os.Stdin,
	})
	if err != nil {
		log.Fatal(err) //nolint:gocritic // the process ends
	}
	fmt.Println("signed in until", token.Expiry)
}

// A program that keeps its token: the person signs in once.
func ExampleToken() {
	client := func(ctx context.Context, auth *piecesauth.Authenticator, store piecesauth.TokenStore) (*http.Client, error) {
		source := auth.TokenSource(store)
		if _, err := loopback.Token(ctx, source, auth, loopback.Options{Output: os.Stderr, Input: os.Stdin}); err != nil {
			return nil, err
		}
		return source.Client(nil), nil
	}
	_ = client
}

// A program with a window of its own shows the way to the browser itself.
func ExampleListen() {
	signIn := func(ctx context.Context, auth *piecesauth.Authenticator, show func(url string)) (token *piecesauth.Token, err error) {
		receiver, err := loopback.Listen(ctx, "") // a free port
		if err != nil {
			return nil, err
		}
		defer receiver.Close()
		attempt, err := auth.Begin(&piecesauth.BeginOptions{RedirectURL: receiver.RedirectURL()})
		if err != nil {
			return nil, err
		}
		show(attempt.URL)
		err = receiver.Wait(ctx, attempt.State, func(callback url.Values) error {
			token, err = auth.Complete(ctx, attempt, callback)
			return err
		})
		return token, err
	}
	_ = signIn
}
