package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// offline asks for the notes twice. In between, the server ends the access
// token, so that the second call is answered with 401 first.
func offline(ctx context.Context, out io.Writer) error {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	api := httptest.NewServer(notesAPI(server))
	defer api.Close()

	recorder := tracetest.NewSpanRecorder()
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	defer func() { _ = traces.Shutdown(ctx) }()

	plain := traced(traces)
	source, err := newSource(server.Config(), new(piecesauth.MemoryStore), plain)
	if err != nil {
		return err
	}
	signedIn, err := server.NewToken() // stands for a sign-in
	if err != nil {
		return err
	}
	if err := source.Save(ctx, signedIn); err != nil {
		return err
	}
	client := source.Client(plain) // it sends the token, and replaces one that the API refuses
	for range 2 {
		text, err := notes(ctx, client, api.URL)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, text)
		server.RevokeAccessTokens()
	}
	fmt.Fprintln(out, "traced:")
	for _, span := range recorder.Ended() {
		fmt.Fprintln(out, " ", span.Name(), pathOf(attributeOf(span, "url.full")), attributeOf(span, "http.response.status_code"))
	}
	return nil
}

// notesAPI is an API that asks the authorization server whose token it received.
func notesAPI(server *piecesauthtest.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, server.URL+"/userinfo", nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		ask.Header.Set("Authorization", r.Header.Get("Authorization"))
		answer, err := server.Client().Do(ask)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusOK {
			w.WriteHeader(answer.StatusCode)
			return
		}
		_, _ = io.WriteString(w, "Notes: buy milk")
	})
}

func attributeOf(span sdktrace.ReadOnlySpan, key attribute.Key) string {
	for _, attr := range span.Attributes() {
		if attr.Key == key {
			return attr.Value.String()
		}
	}
	return ""
}

func pathOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Path
}
