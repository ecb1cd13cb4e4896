package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// start runs the program at the live service or, without a client ID, offline.
func start(ctx context.Context, out io.Writer) error {
	id := os.Getenv("PIECES_CLIENT_ID")
	if id == "" {
		return offline(ctx, out)
	}
	path, err := tokenPath()
	if err != nil {
		return err
	}
	return run(ctx, piecesauth.Config{
		BaseURL: piecesauth.LiveBaseURL, Issuer: "https://auth.pieces.services/",
		ClientID: id, Audience: "https://pieces.us.auth0.com/api/v2/",
	}, path, loopback.Options{Output: os.Stderr, Input: os.Stdin}, out)
}

// offline runs the program twice against a server in this process. Ada
// Lovelace is at the browser.
func offline(ctx context.Context, out io.Writer) error {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	folder, err := os.MkdirTemp("", "cli")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()

	ada := server.Browser()
	options := loopback.Options{
		RedirectURL: "http://127.0.0.1:0/callback",
		OpenBrowser: func(url string) error { _, err := ada.Open(ctx, url); return err },
	}
	for range 2 {
		if err := run(ctx, server.Config(), filepath.Join(folder, "token.json"), options, out); err != nil {
			return err
		}
		fmt.Fprintln(out, "sign-ins so far:", server.Count(piecesauthtest.Exchange))
	}
	return nil
}

// tokenPath returns where the token of the person who uses this program is kept.
func tokenPath() (string, error) {
	folder, err := os.UserConfigDir()
	return filepath.Join(folder, "piecesauth-example-cli", "token.json"), err
}
