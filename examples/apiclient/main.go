// Command apiclient calls an API with a token that is kept valid, and traces
// every request with OpenTelemetry. The same transport, of package otelhttp,
// carries the calls to the API and those to the authorization server.
//
// It runs with no network and no account: an API and an authorization server in
// this process take the place of the real ones.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/piecesauth/piecesauth"
)

// traced returns an HTTP client whose requests are traced.
func traced(traces trace.TracerProvider) *http.Client {
	return &http.Client{Transport: otelhttp.NewTransport(http.DefaultTransport, otelhttp.WithTracerProvider(traces))}
}

// newSource returns the source of the person's token. Its own requests, such as
// refreshes, go through the client.
func newSource(config piecesauth.Config, store piecesauth.TokenStore, client *http.Client) (*piecesauth.TokenSource, error) {
	config.HTTPClient = client
	auth, err := piecesauth.New(config)
	if err != nil {
		return nil, err
	}
	return auth.TokenSource(store), nil
}

// notes asks the API for the person's notes.
func notes(ctx context.Context, client *http.Client, api string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/notes", nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request) // piecesauth.ErrSignInRequired: the person has to sign in
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the API answered %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return string(body), err
}

func main() {
	if err := offline(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
