package e2e

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	clientID = "pieces-e2e"
	ada      = "ada" // at oidc-provider anyone can sign in
)

// provider is an authorization server that somebody else wrote, with the paths
// of the Pieces Auth0 API.
type provider struct {
	issuer        string
	subject       string                          // someone who can sign in
	enter         func(ctx context.Context) error // they do so, in a tab that was sent there
	revokesReused bool                            // a refresh token used twice takes what came of it along
}

// oidcProvider starts the npm package of that name. Its pages let anyone in,
// and ask for their consent.
func oidcProvider(t *testing.T) *provider { return oidcProviderWith(t) }

func oidcProviderWith(t *testing.T, env ...string) *provider {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "provider/server.mjs")
	cmd.Env = append(cmd.Environ(), env...)
	server := start(t, cmd)
	issuer := server.line(t, "http://")
	return &provider{
		issuer:        issuer,
		subject:       ada,
		enter:         func(ctx context.Context) error { return enterAs(ctx, ada) },
		revokesReused: true,
	}
}

// enterAs signs anyone in at oidc-provider, and consents.
func enterAs(ctx context.Context, name string) error {
	if err := loginAs(ctx, name); err != nil {
		return err
	}
	return consent(ctx)
}

func login(ctx context.Context) error { return loginAs(ctx, ada) }

func loginAs(ctx context.Context, name string) error {
	return chromedp.Do(ctx,
		chromedp.WaitVisible(css(`input[name=login]`)),
		chromedp.SendKeys(css(`input[name=login]`), name),
		chromedp.SendKeys(css(`input[name=password]`), "any will do"),
		chromedp.Click(css(`button[type=submit]`)),
	)
}

func consent(ctx context.Context) error {
	return chromedp.Do(ctx,
		chromedp.WaitReady(css(`input[name=prompt][value=consent]`)),
		chromedp.Click(css(`button[type=submit]`)),
	)
}

// zitadel starts the example server of github.com/zitadel/oidc. It differs from
// the other where it can: no consent, no session, no iss in the callback, an
// issuer without a slash at its end.
func zitadel(t *testing.T) *provider {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)

	storage.RegisterClients(storage.NativeClient(clientID,
		"http://localhost/pkce/response/code", "http://localhost/callback", "http://127.0.0.1/callback"))
	handler = exampleop.SetupServer(server.URL, storage.NewStorage(storage.NewUserStore(server.URL)),
		slog.New(slog.DiscardHandler), false,
		op.WithCustomEndpoints(
			op.NewEndpoint("/authorize"), op.NewEndpoint("/oauth/token"), op.NewEndpoint("/userinfo"),
			op.NewEndpoint("/revoke"), op.NewEndpoint("/v2/logout"), op.NewEndpoint("/.well-known/jwks.json")),
	)
	return &provider{
		issuer:  server.URL,
		subject: "id2",
		enter: func(ctx context.Context) error {
			return chromedp.Do(ctx,
				chromedp.WaitVisible(css(`#username`)),
				chromedp.SendKeys(css(`#username`), "test-user2"),
				chromedp.SendKeys(css(`#password`), "verysecure"),
				chromedp.Click(css(`button[type=submit]`)),
			)
		},
	}
}
