package piecesauthtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// A whole sign-in: what an application does, and the person at the browser.
func Example() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}

	attempt, err := auth.Begin(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	callback, err := server.Browser().SignIn(ctx, attempt.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := auth.Complete(ctx, attempt, callback)
	if err != nil {
		fmt.Println(err)
		return
	}
	user, err := auth.UserInfo(ctx, token)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(user.Name)
	for _, request := range server.Requests(piecesauthtest.Exchange) {
		fmt.Println(request.Method, request.URL.Path, request.Form.Get("grant_type"), request.Status)
	}
	// Output:
	// Ada Lovelace
	// POST /oauth/token authorization_code 200
}

// The person refuses.
func ExampleBrowser() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	attempt, err := auth.Begin(nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	browser := server.Browser()
	browser.Deny = true
	callback, err := browser.SignIn(ctx, attempt.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = auth.Complete(ctx, attempt, callback)
	fmt.Println(errors.Is(err, &piecesauth.Error{Code: "access_denied"}))
	// Output: true
}

// The token endpoint is down for one request, and then refuses one.
func ExampleServer_Fail() {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	server.Fail(piecesauthtest.Refresh,
		piecesauthtest.Fault{Status: http.StatusBadGateway, Body: "<h1>Bad Gateway</h1>"},
		piecesauthtest.Fault{Status: http.StatusBadRequest, Body: `{"error":"invalid_grant"}`},
	)

	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := server.NewToken()
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		_, err = auth.Refresh(context.Background(), token)
		fmt.Println(err == nil, errors.Is(err, piecesauth.ErrSignInRequired))
	}
	// Output:
	// false false
	// false true
	// true false
}

// An ID token of somebody else's, and a callback that lacks its state.
func ExampleServer_BendIDToken() {
	ctx := context.Background()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	signIn := func() error {
		attempt, err := auth.Begin(nil)
		if err != nil {
			return err
		}
		callback, err := server.Browser().SignIn(ctx, attempt.URL)
		if err != nil {
			return err
		}
		_, err = auth.Complete(ctx, attempt, callback)
		return err
	}

	server.BendIDToken(func(t *piecesauthtest.IDToken) { t.Claims["iss"] = "https://evil.example/" })
	fmt.Println(errors.Is(signIn(), piecesauth.ErrIssuerMismatch))
	server.BendCallback(func(v url.Values) { v.Del("state") })
	fmt.Println(errors.Is(signIn(), piecesauth.ErrStateMismatch))
	fmt.Println(signIn())
	// Output:
	// true
	// true
	// <nil>
}

func ExampleTestStore() {
	// In a _test.go file:
	_ = func(t *testing.T) {
		piecesauthtest.TestStore(t, func(*testing.T) piecesauth.TokenStore {
			return &piecesauth.MemoryStore{}
		})
	}
}
