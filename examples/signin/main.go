// Command signin goes through a whole sign-in, step by step: authorization URL,
// callback, token, profile, refresh, logout.
//
// Without flags it signs Ada Lovelace in at a server of its own, with no network
// and no account, and then ends. Flags point it at a real server:
//
//	go run ./examples/signin -base-url https://auth.pieces.services -client-id … -audience …
//
// With -token-file the token is kept, and the next run is signed in already;
// with -paste the browser is on another machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenfile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // stop only restores the signals of a process that ends
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("signin", flag.ContinueOnError)
	var config piecesauth.Config
	flags.StringVar(&config.BaseURL, "base-url", "", "the authorization server; empty starts one in this process")
	flags.StringVar(&config.ClientID, "client-id", "", "the application, as registered there")
	flags.StringVar(&config.Audience, "audience", "https://pieces.us.auth0.com/api/v2/", "the API that the token is for")
	flags.StringVar(&config.Issuer, "issuer", "", "verify ID tokens in full, as this issuer's")
	flags.StringVar(&config.RedirectURL, "redirect-url", "http://localhost:3000/pkce/response/code", "where the answer goes, as registered")
	scope := flags.String("scope", "openid profile email offline_access", "what to ask for, separated by spaces")
	mode := flags.String("response-mode", "form_post", "how the answer travels: form_post or query")
	paste := flags.Bool("paste", false, "open no browser; read the URL that one ends at from the terminal")
	tokenFile := flags.String("token-file", "", "keep the token in this file; the next run is signed in already")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config.Scopes = strings.Fields(*scope)
	config.ResponseMode = piecesauth.ResponseMode(*mode)
	options := loopback.Options{Output: out, Remote: *paste}
	if *paste {
		options.Input = in
	}

	var server *piecesauthtest.Server // of this process, if any
	if config.BaseURL == "" {
		options.RedirectURLs = []string{config.RedirectURL, "http://localhost:3001/pkce/response/code", "http://localhost:3002/pkce/response/code"}
		server = piecesauthtest.NewServer(piecesauthtest.Options{RedirectURLs: options.RedirectURLs})
		defer server.Close()
		fmt.Fprintln(out, "A server of this process plays the authorization server, and a person who signs in there.")
		embedded := server.Config()
		config.BaseURL, config.ClientID, config.Issuer = embedded.BaseURL, embedded.ClientID, embedded.Issuer
		options.OpenBrowser = func(rawURL string) error {
			_, err := server.Browser().Open(ctx, rawURL)
			return err
		}
	}
	auth, err := piecesauth.New(config)
	if err != nil {
		return err
	}
	defer auth.Close()
	var store piecesauth.TokenStore = new(piecesauth.MemoryStore)
	if *tokenFile != "" {
		if store, err = tokenfile.New(*tokenFile); err != nil {
			return err
		}
	}
	program := program{auth, auth.TokenSource(store), options, out}
	token, err := program.greet(ctx)
	if err != nil {
		return err
	}
	if err := program.leave(ctx, token); err != nil || server == nil {
		return err
	}
	server.Revoke()
	fmt.Fprintln(out, "7. Revoked at the server, by the person say. The next run:")
	program.source = auth.TokenSource(store)
	_, err = program.greet(ctx)
	return err
}

// program is one run.
type program struct {
	auth    *piecesauth.Authenticator
	source  *piecesauth.TokenSource
	options loopback.Options
	out     io.Writer
}

// greet gets a token, after a sign-in if necessary, and prints whose it is.
func (p *program) greet(ctx context.Context) (*piecesauth.Token, error) {
	token, err := p.signIn(ctx)
	if err != nil {
		return nil, err
	}
	user, err := p.auth.UserInfo(ctx, token)
	if errors.Is(err, &piecesauth.Error{StatusCode: 401}) {
		fmt.Fprintln(p.out, "   The server doesn't know this token any more: sign in again.")
		if err = p.source.Forget(ctx); err != nil {
			return nil, err
		}
		if token, err = p.signIn(ctx); err == nil {
			user, err = p.auth.UserInfo(ctx, token)
		}
	}
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(p.out, "4. User: %s, known as %s <%s>\n", user.Sub, user.Name, user.Email)
	return token, nil
}

// signIn returns the stored token or, after a sign-in, a new one, which it stores.
func (p *program) signIn(ctx context.Context) (*piecesauth.Token, error) {
	steps := "1, 2. Signed in already, by what an earlier run has stored"
	if _, err := p.source.Token(ctx); err != nil {
		fmt.Fprintln(p.out, "1. Going to the authorization URL, and waiting for the browser to come back")
		steps = "2. The code of the callback was redeemed, and the token stored"
	}
	token, err := loopback.Token(ctx, p.source, p.auth, p.options)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(p.out, steps)
	fmt.Fprintf(p.out, "3. Token: %v, good until %s\n", token, token.Expiry.Local().Format(time.DateTime))
	return token, nil
}

// leave refreshes the token, which a TokenSource otherwise does by itself when it
// is time, and signs out.
func (p *program) leave(ctx context.Context, token *piecesauth.Token) error {
	if token.RefreshToken == "" {
		fmt.Fprintln(p.out, "5. Refresh: not possible, no refresh token was given")
	} else {
		token, err := p.auth.Refresh(ctx, token)
		if err != nil {
			return err
		}
		if err := p.source.Save(ctx, token); err != nil {
			return err
		}
		fmt.Fprintf(p.out, "5. Refreshed: %v, good until %s\n", token, token.Expiry.Local().Format(time.DateTime))
	}
	answer, err := p.auth.Logout(ctx, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "6. Logged out: the server answered with a page of %d bytes%s\n", len(answer.HTML), answer.Location)
	fmt.Fprintln(p.out, "   A browser's session ends at", p.auth.LogoutURL(""), "which loopback.OpenBrowser opens")
	return nil
}
