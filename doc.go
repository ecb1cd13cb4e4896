// Package piecesauth signs people in to Pieces and keeps them signed in.
//
// It is a Go SDK for the four operations of the Pieces Auth0 API, and for
// everything around them: PKCE, state, nonce, the callback, ID tokens, and
// keeping a token fresh.
//
//	auth, err := piecesauth.New(piecesauth.Config{
//		BaseURL:  piecesauth.LiveBaseURL,
//		Issuer:   "https://auth.pieces.services/",
//		ClientID: "…", // registered with Pieces
//		Audience: "https://pieces.us.auth0.com/api/v2/",
//	})
//	token, err := loopback.SignIn(ctx, auth, loopback.Options{})
//	user, err := auth.UserInfo(ctx, token)
//
// # Which package to use
//
//	loopback        sign in from a program on a person's own machine
//	tokenfile       keep one token in a file that several processes share
//	web             sign-in, sessions and tokens for a net/http application
//	tokenkv         keep the tokens of many people, for many machines
//	tokensql        tokenkv on PostgreSQL, MySQL or SQLite (its own module)
//	tokenredis      tokenkv on Redis (its own module)
//	seal            encrypt what is kept outside the program
//	keyring         keep the key in the system's credential store (its own module)
//	piecesauthtest  test all of this against a Pieces auth server in memory
//
// # Signing in
//
// A web application signs a person in over two requests: [Authenticator.Begin]
// returns an [Attempt], which holds the URL to send the person to and the
// values to keep until the callback; [Authenticator.Complete] takes the attempt
// and the values of the callback, and returns a [Token]. Package loopback does
// both for a program on a person's machine, and package web for a web
// application.
//
// # Staying signed in
//
// A [TokenSource] returns a valid token to any number of goroutines and, with a
// store that they share, to any number of processes and machines. Before a
// program exits, call [Authenticator.Close].
//
// # Errors
//
// Every call of this package that fails returns an [*Error]. Package loopback
// and the stores return one too if a call of this package failed, and plain
// errors otherwise. If [errors.Is] finds [ErrSignInRequired], the person has to
// sign in again.
//
// # The generated client
//
// The models and [Client] are generated from the API's OpenAPI document.
// [Authenticator.API] returns that client configured like this package's own
// calls: it limits time and size, and follows no redirects.
// [NewClientWithResponses] returns one without those limits. Neither checks the
// answers; the methods of [Authenticator] do.
package piecesauth
