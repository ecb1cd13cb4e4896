// Command signin takes the whole journey, step by step: authorization URL,
// callback, token, profile, refresh, logout.
//
// As it is, it signs Ada Lovelace in at a server of its own, with no network
// and no account, and finishes by itself. Flags point it at a real server:
//
//	go run ./examples/signin -base-url https://auth.pieces.services -client-id … -audience …
//
// With -token-file the token is kept, and the next run is signed in already.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
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

	var openBrowser func(string) error // nil: the system's
	if config.BaseURL == "" {
		server := piecesauthtest.NewServer(piecesauthtest.Options{})
		defer server.Close()
		fmt.Fprintln(out, "A server of this process plays the authorization server, and a person who signs in there.")
		embedded := server.Config()
		config.BaseURL, config.ClientID, config.Issuer = embedded.BaseURL, embedded.ClientID, embedded.Issuer
		config.RedirectURL = "http://127.0.0.1:0/callback"
		openBrowser = func(rawURL string) error {
			fmt.Fprintln(out, "  ", presentable(rawURL))
			_, err := server.Browser().Open(ctx, rawURL)
			return err
		}
	}
	auth, err := piecesauth.New(config)
	if err != nil {
		return err
	}

	var store piecesauth.TokenStore = new(piecesauth.MemoryStore)
	if *tokenFile != "" {
		if store, err = tokenfile.New(*tokenFile); err != nil {
			return err
		}
	}
	source := auth.TokenSource(store)
	signIn := func() (*piecesauth.Token, error) {
		token, err := throughBrowser(ctx, auth, openBrowser, *paste, in, out, config.RedirectURL)
		if err != nil {
			return nil, err
		}
		return token, source.Save(ctx, token)
	}

	token, err := source.Token(ctx)
	switch {
	case errors.Is(err, piecesauth.ErrSignInRequired):
		token, err = signIn()
	case err == nil:
		fmt.Fprintln(out, "1, 2. Signed in already, by", *tokenFile)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "3. Token: %v, good until %s\n", token, token.Expiry.Local().Format(time.DateTime))

	user, err := auth.UserInfo(ctx, token)
	if errors.Is(err, &piecesauth.Error{StatusCode: 401}) && *tokenFile != "" {
		fmt.Fprintln(out, "   The server doesn't know this token any more; a server of this process knows only its own.")
		if token, err = signIn(); err == nil {
			user, err = auth.UserInfo(ctx, token)
		}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "4. User: %s, known as %s <%s>\n", user.Sub, user.Name, user.Email)

	if token.RefreshToken == "" {
		fmt.Fprintln(out, "5. Refresh: not possible, no refresh token was given")
	} else {
		// A TokenSource does this by itself when it is time to.
		if token, err = auth.Refresh(ctx, token); err != nil {
			return err
		}
		if err := source.Save(ctx, token); err != nil {
			return err
		}
		fmt.Fprintf(out, "5. Refreshed: %v, good until %s\n", token, token.Expiry.Local().Format(time.DateTime))
	}

	answer, err := auth.Logout(ctx, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "6. Logged out: the server answered with a page of %d bytes%s\n", len(answer.HTML), answer.Location)
	fmt.Fprintln(out, "   A browser's session ends at", auth.LogoutURL(""))
	return nil
}

// throughBrowser gets a token by way of a browser: of this machine, or of any,
// whose final URL is pasted.
func throughBrowser(ctx context.Context, auth *piecesauth.Authenticator, open func(string) error, paste bool,
	in io.Reader, out io.Writer, redirectURL string,
) (*piecesauth.Token, error) {
	if paste {
		attempt, err := auth.Begin(nil)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "1. Open this URL in a browser:\n\n%s\n\n2. Paste the URL that it ends at: ", attempt.URL)
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && line == "" {
			return nil, fmt.Errorf("reading the URL: %w", err)
		}
		callback, err := piecesauth.ParseCallback(line)
		if err != nil {
			return nil, err
		}
		return auth.Complete(ctx, attempt, callback)
	}
	fmt.Fprintln(out, "1. Opening a browser at the authorization URL, and waiting for it to come back")
	token, err := loopback.SignIn(ctx, auth, loopback.Options{RedirectURL: redirectURL, OpenBrowser: open, Output: out})
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(out, "2. The callback came, and its code was redeemed")
	return token, nil
}

// presentable leaves out of an authorization URL what nobody needs to see.
func presentable(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "?"
	}
	q := u.Query()
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
