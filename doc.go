// Package piecesauth signs people in to Pieces.
//
// It is the Go SDK for the four operations of the Pieces Auth0 API, and for
// what has to happen around them: PKCE, state, nonce, the callback, ID tokens,
// and keeping a token fresh.
//
//	auth, err := piecesauth.New(piecesauth.Config{
//		BaseURL:  piecesauth.LiveBaseURL,
//		Issuer:   "https://auth.pieces.services/",
//		ClientID: "…",
//		Audience: "https://pieces.us.auth0.com/api/v2/",
//	})
//	token, err := loopback.SignIn(ctx, auth, loopback.Options{})
//	user, err := auth.UserInfo(ctx, token)
//
// # Which package for what
//
//	loopback        sign in from a program on a person's own machine
//	tokenfile       keep one token in a file that several processes share
//	tokenkv         keep the tokens of many people for many machines
//	seal            encrypt what is kept outside the program
//	web             sign in, sessions and tokens for a net/http application
//	piecesauthtest  test any of it against a Pieces auth server in memory
//
// # Signing in
//
// A web application signs a person in within two requests: [Authenticator.Begin]
// returns an [Attempt], with the URL to send the person to and the values to
// keep until the answer comes; [Authenticator.Complete] takes the attempt and
// the callback's values, and returns a [Token].
//
// # Staying signed in
//
// A [TokenSource] hands out a valid token to any number of goroutines and, with
// a store that they share, of processes and machines.
//
// # Errors
//
// Every failed call of this package returns an [*Error]; those of package
// loopback and of the stores are returned as they are where no call of this
// package failed. [ErrSignInRequired] answers whether the person has to sign in
// again.
//
// # The generated client
//
// Models and [Client] come from the API's OpenAPI document.
// [Authenticator.API] returns the client as this package sets it up: it bounds
// time and size, and follows no redirects. [NewClientWithResponses] returns the
// bare one, which does none of that. Neither checks what comes back; the
// methods of [Authenticator] do.
package piecesauth
