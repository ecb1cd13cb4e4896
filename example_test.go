package piecesauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/url"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// A web application signs a person in with two requests. Here the server and
// the person are simulated by package piecesauthtest.
func Example() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()

	auth, err := piecesauth.New(server.Config())
	if err != nil {
		log.Fatal(err)
	}
	// First request: keep the attempt, send the person to its URL.
	attempt, err := auth.Begin(nil)
	if err != nil {
		log.Fatal(err)
	}
	callback, err := server.Browser().SignIn(ctx, attempt.URL)
	if err != nil {
		log.Fatal(err)
	}
	// Second request: the callback.
	token, err := auth.Complete(ctx, attempt, callback)
	if err != nil {
		log.Fatal(err)
	}
	user, err := auth.UserInfo(ctx, token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.Name)
	// Output: Ada Lovelace
}

func ExampleNew() {
	_, err := piecesauth.New(piecesauth.Config{
		BaseURL:  "http://auth.pieces.services",
		ClientID: "9sW4Pa1LEjX67l6VO14u0207NLYeXnu1",
	})
	fmt.Println(err)
	// Output: piecesauth: new: BaseURL is http, which only a server on this machine may have: use https
}

func ExampleAuthenticator_Begin() {
	auth, err := piecesauth.New(piecesauth.Config{
		BaseURL:     piecesauth.LiveBaseURL,
		ClientID:    "9sW4Pa1LEjX67l6VO14u0207NLYeXnu1",
		Audience:    "https://pieces.us.auth0.com/api/v2/",
		RedirectURL: "https://app.example.com/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	attempt, err := auth.Begin(&piecesauth.BeginOptions{Prompt: "login", Extra: url.Values{"screen_hint": {"signup"}}})
	if err != nil {
		log.Fatal(err)
	}
	u, err := url.Parse(attempt.URL)
	if err != nil {
		log.Fatal(err)
	}
	q := u.Query()
	fmt.Println(u.Host, u.Path)
	fmt.Println(q.Get("scope"))
	fmt.Println(q.Get("prompt"), q.Get("screen_hint"), q.Get("code_challenge_method"))
	fmt.Println(attempt) // no secret is printed
	// Output:
	// auth.pieces.services /authorize
	// openid profile email offline_access
	// login signup S256
	// Attempt{URL:[redacted] State:[redacted] Nonce:[redacted] Verifier:[redacted] RedirectURL:https://app.example.com/callback BaseURL:https://auth.pieces.services/ ClientID:9sW4Pa1LEjX67l6VO14u0207NLYeXnu1}
}

// Silent authentication: is the person still signed in at the server?
func ExampleAuthenticator_Authorize() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		log.Fatal(err)
	}

	none := "none"
	_, err = auth.Authorize(ctx, piecesauth.AuthorizeAuth0Params{
		CodeChallenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
		Prompt:        &none,
		ResponseMode:  piecesauth.ResponseModeQuery,
	})
	fmt.Println(errors.Is(err, piecesauth.ErrSignInRequired))
	// Output: true
}

func ExampleAuthenticator_Refresh() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		log.Fatal(err)
	}
	token, err := server.NewToken()
	if err != nil {
		log.Fatal(err)
	}

	renewed, err := auth.Refresh(ctx, token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(renewed.RefreshToken != token.RefreshToken) // it rotates

	_, err = auth.Refresh(ctx, token)
	fmt.Println(errors.Is(err, piecesauth.ErrSignInRequired))
	// Output:
	// true
	// true
}

func ExampleToken_Claims() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		log.Fatal(err)
	}
	stored, err := server.NewToken() // as though read from a store
	if err != nil {
		log.Fatal(err)
	}

	var claims struct {
		Subject string `json:"sub"`
	}
	fmt.Println(stored.Claims(&claims))
	token, err := auth.Verify(ctx, stored)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.Claims(&claims), claims.Subject != "")
	// Output:
	// piecesauth: verify: ID token not verified in this process: call Verify first
	// <nil> true
}

func ExampleUser_Claims() {
	var user piecesauth.User
	if err := json.Unmarshal([]byte(`{"sub":"auth0|1","name":"Ada","https://pieces.app/plan":"pro"}`), &user); err != nil {
		log.Fatal(err)
	}
	var custom struct {
		Plan string `json:"https://pieces.app/plan"`
	}
	if err := user.Claims(&custom); err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.Name, custom.Plan)
	// Output: Ada pro
}

func ExampleTokenSource() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		log.Fatal(err)
	}

	source := auth.TokenSource(new(piecesauth.MemoryStore))
	_, err = source.Token(ctx)
	fmt.Println(errors.Is(err, piecesauth.ErrSignInRequired))

	token, err := server.NewToken() // stands for a sign-in
	if err != nil {
		log.Fatal(err)
	}
	if err := source.Save(ctx, token); err != nil {
		log.Fatal(err)
	}
	valid, err := source.Token(ctx)
	fmt.Println(valid.Valid(), err)
	// Output:
	// true
	// true <nil>
}

func ExampleError() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		log.Fatal(err)
	}

	_, err = auth.Refresh(ctx, &piecesauth.Token{RefreshToken: "long gone"})
	var e *piecesauth.Error
	if errors.As(err, &e) {
		fmt.Println(e.Op, e.Code)
	}
	fmt.Println(errors.Is(err, &piecesauth.Error{Code: "invalid_grant"}))
	// Output:
	// refresh invalid_grant
	// true
}

func ExampleParseCallback() {
	callback, err := piecesauth.ParseCallback("http://localhost:3000/callback?code=Splx&state=af0i\n")
	fmt.Println(callback.Get("code"), err)
	_, err = piecesauth.ParseCallback("http://localhost:3000/callback")
	fmt.Println(err)
	// Output:
	// Splx <nil>
	// piecesauth: callback: the URL has no code and no error that can be read, so it is not the one a sign-in ended at
}

func ExampleAuthenticator_LogoutURL() {
	auth, err := piecesauth.New(piecesauth.Config{BaseURL: piecesauth.LiveBaseURL, ClientID: "9sW4"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(auth.LogoutURL("https://app.example.com/"))
	// Output: https://auth.pieces.services/v2/logout?client_id=9sW4&returnTo=https%3A%2F%2Fapp.example.com%2F
}

// The generated client, for what the methods don't cover.
func ExampleAuthenticator_API() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		log.Fatal(err)
	}
	answer, err := auth.API().Auth0LogoutWithResponse(ctx, &piecesauth.Auth0LogoutParams{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.StatusCode())
	// Output: 200
}
