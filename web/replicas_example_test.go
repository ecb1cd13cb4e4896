package web_test

import (
	"context"
	"fmt"
	"html"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/web"
)

// Two replicas, which answer in turn, share a key and a database. Two people sign
// in, and each sees what an API says to them.
func Example_replicas() {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	var replicas []http.Handler
	var turn atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		replicas[turn.Add(1)%2].ServeHTTP(w, r)
	}))
	defer front.Close()
	key, db := make([]byte, 32), new(tokenkv.MemoryDB) // in earnest, a secret, and a DB of tokensql or tokenredis
	for range 2 {
		replicas = append(replicas, replica(server.Config(), front.URL, key, db))
	}
	for _, person := range []piecesauthtest.Person{{Sub: "1", Name: "Ada"}, {Sub: "2", Name: "Grace"}} {
		browser := server.BrowserAs(person)
		for range replicas {
			fmt.Println(must(browser.Open(context.Background(), front.URL+"/account")).Body)
		}
	}
	// Output:
	// Ada is signed in as 1
	// Ada is signed in as 1
	// Grace is signed in as 2
	// Grace is signed in as 2
}

func replica(config piecesauth.Config, url string, key []byte, db tokenkv.DB) http.Handler {
	sealer := must(seal.New(key))
	tokens := must(tokenkv.New(db, tokenkv.Options{Sealer: sealer}))
	signIn := must(web.New(web.Config{Auth: must(piecesauth.New(config)), URL: url, Sealer: sealer, Tokens: tokens.Store}))
	mux := http.NewServeMux()
	mux.Handle("/auth/", signIn)
	mux.Handle("/account", signIn.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := signIn.Session(r)
		profile, err := session.TokenSource().UserInfo(r.Context()) // another API: session.TokenSource().Client(nil)
		if err != nil {
			signIn.Error(w, r, err)
			return
		}
		_, _ = fmt.Fprintf(w, "%s is signed in as %s", html.EscapeString(profile.Name), html.EscapeString(session.Subject))
	})))
	return mux
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
