package piecesauthtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

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

// Several people, each at a browser of their own, and one who takes back what
// she granted.
func ExampleServer_BrowserAs() {
	ctx := context.Background()
	ada := piecesauthtest.Person{Sub: "auth0|1", Name: "Ada Lovelace"}
	grace := piecesauthtest.Person{Sub: "auth0|2", Name: "Grace Hopper"}
	server := piecesauthtest.NewServer(piecesauthtest.Options{People: []piecesauthtest.Person{ada, grace}})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}

	tokens := map[string]*piecesauth.Token{}
	for _, person := range []piecesauthtest.Person{ada, grace} {
		attempt, err := auth.Begin(nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		callback, err := server.BrowserAs(person).SignIn(ctx, attempt.URL)
		if err != nil {
			fmt.Println(err)
			return
		}
		if tokens[person.Sub], err = auth.Complete(ctx, attempt, callback); err != nil {
			fmt.Println(err)
			return
		}
		user, err := auth.UserInfo(ctx, tokens[person.Sub])
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(user.Sub, user.Name)
	}

	server.Revoke(grace)
	for _, person := range []piecesauthtest.Person{ada, grace} {
		_, err = auth.Refresh(ctx, tokens[person.Sub])
		family := server.Families(person)[0]
		fmt.Println(person.Name, err == nil, errors.Is(err, piecesauth.ErrSignInRequired), family.Refreshes, family.Revoked)
	}
	// Output:
	// auth0|1 Ada Lovelace
	// auth0|2 Grace Hopper
	// Ada Lovelace true false 1 false
	// Grace Hopper false true 0 true
}

// A server that is configured by data: people from a file, and a clock that is
// two minutes late.
func ExampleStart() {
	const file = `[
		{"sub": "auth0|1", "name": "Ada Lovelace", "email": "ada@example.com"},
		{"sub": "github|2", "name": "Grace Hopper", "identities": [{"user_id": 1234567}]}
	]`
	options := piecesauthtest.Options{Addr: "localhost:0", ClockOffset: -2 * time.Minute}
	if err := json.Unmarshal([]byte(file), &options.People); err != nil {
		fmt.Println(err)
		return
	}
	server, err := piecesauthtest.Start(options)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	token, err := server.NewToken()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.Valid(), server.Families()[0].Sub)
	// Output: true auth0|1
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

// A rate limit that is met three times, twice only after the server acted: the
// refresh tokens were rotated, and nobody has the new ones.
func ExampleFault() {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	limited := piecesauthtest.Fault{Status: http.StatusTooManyRequests, RetryAfter: time.Hour}
	limitedLate := limited
	limitedLate.AfterActing, limitedLate.Times = true, 2
	server.Fail(piecesauthtest.Refresh, limited, limitedLate)

	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		token, err := server.NewToken()
		if err != nil {
			fmt.Println(err)
			return
		}
		_, err = auth.Refresh(context.Background(), token)
		fmt.Println(errors.Is(err, &piecesauth.Error{StatusCode: http.StatusTooManyRequests}))
	}
	for _, family := range server.Families() {
		fmt.Println(family.Refreshes)
	}
	// Output:
	// true
	// true
	// true
	// 0
	// 1
	// 1
}

func ExampleTestStore() {
	// In a _test.go file:
	_ = func(t *testing.T) {
		piecesauthtest.TestStore(t, func(*testing.T) piecesauth.TokenStore {
			return &piecesauth.MemoryStore{}
		})
	}
}
