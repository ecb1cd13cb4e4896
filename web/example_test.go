package web_test

import (
	"context"
	"fmt"
	"html"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/web"
)

// A page for people who are signed in calls an API in their name.
func Example() {
	server := piecesauthtest.NewServer(piecesauthtest.Options{}) // a real program has the configuration of a real server
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := seal.New(make([]byte, 32)) // real keys come from where secrets are kept
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := tokenkv.New(new(tokenkv.MemoryDB), tokenkv.Options{Sealer: sealer}) // for replicas, one of tokensql or tokenredis
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	app := httptest.NewServer(mux)
	defer app.Close()

	signIn, err := web.New(web.Config{Auth: auth, URL: app.URL, Sealer: sealer, Tokens: tokens.Store})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("/auth/", signIn)
	mux.Handle("/", signIn.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := signIn.Session(r)
		profile, err := session.TokenSource().UserInfo(r.Context())
		if err != nil {
			signIn.Error(w, r, err)
			return
		}
		_, _ = fmt.Fprintf(w, "%s is signed in as %s", html.EscapeString(profile.Name), html.EscapeString(session.Subject))
	})))

	page, err := server.Browser().Open(context.Background(), app.URL)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page.Body)
	// Output: Ada Lovelace is signed in as auth0|507f1f77bcf86cd799439011
}

// An application signs somebody out everywhere. It keeps the time, here in
// memory, and with several replicas in its database.
func ExampleConfig_revoked() {
	var mu sync.Mutex
	ended := map[string]time.Time{} // by issuer and subject
	signOutEverywhere := func(issuer, subject string) {
		mu.Lock()
		defer mu.Unlock()
		ended[issuer+" "+subject] = time.Now()
	}
	config := web.Config{
		CheckStore: time.Minute, // a sign-out may take that long
		Revoked: func(_ context.Context, s *web.Session) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			return !s.SignedIn.After(ended[s.Issuer+" "+s.Subject]), nil
		},
	}

	session := &web.Session{Issuer: "https://pieces.us.auth0.com/", Subject: "auth0|1", SignedIn: time.Now().Add(-time.Hour)}
	fmt.Println(config.Revoked(context.Background(), session))
	signOutEverywhere(session.Issuer, session.Subject)
	fmt.Println(config.Revoked(context.Background(), session))
	// Output:
	// false <nil>
	// true <nil>
}

// The application shows an error page of its own.
func ExampleStatusCode() {
	config := web.Config{OnError: func(w http.ResponseWriter, _ *http.Request, err error) {
		w.WriteHeader(web.StatusCode(err))
		_, _ = io.WriteString(w, "Sorry.")
	}}
	w := httptest.NewRecorder()
	config.OnError(w, nil, &piecesauth.Error{Op: "complete", Code: "access_denied"})
	fmt.Println(w.Code, w.Body)
	// Output: 403 Sorry.
}
