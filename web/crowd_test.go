package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// TestCrowd: 1,000 people at once sign in through two replicas, look at their
// own page, call an API and sign out. Nobody ever sees another's name.
func TestCrowd(t *testing.T) {
	people := 1000
	if testing.Short() {
		people = 100
	}
	server := newServer(t, func(o *piecesauthtest.Options) { o.RequestsKept = 1 })
	tokens, err := tokenkv.New(new(tokenkv.MemoryDB), tokenkv.Options{Sealer: newSealer(t, 1)})
	require.NoError(t, err)
	edit := func(s *setup) { s.web.Tokens = tokens.Store }
	replicas := []http.Handler{newApp(t, server, edit, byQuery), newApp(t, server, edit, byQuery)}
	var turn atomic.Int64
	front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { replicas[turn.Add(1)%2].ServeHTTP(w, r) })

	everybody := make([]piecesauthtest.Person, people)
	for i := range everybody {
		everybody[i] = piecesauthtest.Person{Sub: fmt.Sprint("auth0|", i), Name: fmt.Sprint("Person ", i), Email: fmt.Sprint(i, "@example.com")}
	}
	server.Change(func(o *piecesauthtest.Options) { o.People = everybody })
	var group sync.WaitGroup
	var right atomic.Int64
	gate := make(chan struct{}, 64) // connections to the server
	for i := range everybody {
		group.Go(func() {
			person := everybody[i]
			c := newClient(t, server, front)
			gate <- struct{}{}
			signedIn := signInByForm(c, person)
			<-gate
			if !assert.True(t, signedIn) {
				return
			}
			want := fmt.Sprintf(" %s %s %s", person.Sub, person.Name, person.Email)
			id := ""
			for range 4 {
				got := c.text("/account")
				if id == "" && len(got) > 26 {
					id = got[:26]
				}
				if !assert.Equal(t, id+want, got) || !assert.Equal(t, "hello "+person.Name, c.text("/")) {
					return
				}
			}
			gate <- struct{}{}
			got := c.text("/api")
			<-gate
			if !assert.Equal(t, person.Sub+" "+person.Sub, got) {
				return
			}
			before := c.copied()
			c.signOut()
			if assert.Equal(t, "hello stranger", before.text("/")) {
				right.Add(1)
			}
		})
	}
	group.Wait()
	assert.EqualValues(t, people, right.Load())
}

// signInByForm signs somebody in without the server's page, which would list
// everybody to everybody.
func signInByForm(c *client, person piecesauthtest.Person) bool {
	page := strings.Replace(c.get("/auth/signin").Header.Get("Location"), "/authorize?", "/login?", 1)
	browser := *c.server.Client()
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	form := strings.NewReader(url.Values{"action": {"signin"}, "person": {person.Sub}}.Encode())
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, page, form)
	if err != nil {
		return false
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := browser.Do(r)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	to, err := response.Location()
	return err == nil && c.query(to.Query()).StatusCode == http.StatusSeeOther
}

// TestTLS: over real connections, by TLS, with a browser of each of two people.
func TestTLS(t *testing.T) {
	server := newServer(t)
	var app http.Handler
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { app.ServeHTTP(w, r) }))
	defer front.Close()
	server.Change(func(o *piecesauthtest.Options) { o.ReturnToURLs = []string{front.URL + "/"} })
	app = newApp(t, server, func(s *setup) { s.web.URL = front.URL }, withTokens(new(stores)))
	for _, person := range []piecesauthtest.Person{{Sub: "auth0|1", Name: "Ada"}, {Sub: "auth0|2", Name: "Grace"}} {
		browser := server.BrowserAs(person)
		browser.Trust(front.Certificate())
		page, err := browser.Open(t.Context(), front.URL+"/api")
		require.NoError(t, err)
		assert.Equal(t, person.Sub+" "+person.Sub, page.Body)
		page, err = browser.Post(t.Context(), "/auth/signout", nil)
		require.NoError(t, err)
		assert.Equal(t, "hello stranger", page.Body)
	}
}
