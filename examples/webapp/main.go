// Command webapp is a model of a web application that signs people in to
// Pieces. Any number of replicas can stand behind one address: none remembers
// anything between two requests. What has to last travels in the person's
// browser, in encrypted cookies: a sign-in that has begun, and who signed in.
//
//	go run .
//
// runs it with a Pieces auth server of its own, in memory: no account needed.
// Flags point it at a real one. All replicas get the same keys, for example
//
//	export WEBAPP_KEYS=$(head -c 64 /dev/urandom | base64 -w0)
//
// and the callback, the application's URL followed by /callback, has to be
// registered with the auth server.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv("WEBAPP_KEYS"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, keys string, out io.Writer) error {
	flags := flag.NewFlagSet("webapp", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8080", "address to listen on")
	url := flags.String("url", "", "where people find the application, by default http:// and the address")
	config := piecesauth.Config{
		// No offline_access: the application asks who someone is, and keeps no tokens.
		Scopes: piecesauth.Scopes{"openid", "profile", "email"},
	}
	flags.StringVar(&config.BaseURL, "base-url", "", "the auth server, by default one in memory")
	flags.StringVar(&config.ClientID, "client-id", "", "client ID, as registered")
	flags.StringVar(&config.Audience, "audience", "", "the API that tokens are for")
	flags.StringVar(&config.Issuer, "issuer", "", "the issuer of ID tokens, so that their signatures are checked")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // for the returns before Serve has it
	if *url == "" {
		*url = "http://" + listener.Addr().String()
	}
	*url = strings.TrimSuffix(*url, "/")
	config.RedirectURL = *url + "/callback"

	if config.BaseURL == "" {
		server := piecesauthtest.NewServer(piecesauthtest.Options{
			RedirectURLs: []string{config.RedirectURL},
			ReturnToURLs: []string{*url + "/"},
		})
		defer server.Close()
		embedded := server.Config()
		embedded.RedirectURL, embedded.Scopes = config.RedirectURL, config.Scopes
		config = embedded
	}
	auth, err := piecesauth.New(config)
	if err != nil {
		return err
	}
	if keys == "" {
		_, _ = fmt.Fprintln(out, "WEBAPP_KEYS is not set: a key for this run alone, so no second replica.")
		keys = newKey()
	}
	app, err := newApp(auth, *url, strings.Split(keys, ",")...)
	if err != nil {
		return fmt.Errorf("WEBAPP_KEYS: %w", err)
	}
	handler, err := app.handler()
	if err != nil {
		return fmt.Errorf("-url: %w", err)
	}

	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second, // a callback waits for the auth server
		IdleTimeout:       2 * time.Minute,
	}
	_, _ = fmt.Fprintf(out, "Open %s (listening on http://%s)\n", *url, listener.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// Requests that are under way get a moment to finish.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}

func newKey() string {
	key := make([]byte, 64)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}
