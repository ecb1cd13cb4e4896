package piecesauthtest_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

var (
	grace = piecesauthtest.Person{Sub: "auth0|grace", Name: "Grace Hopper", Email: "grace@example.com"}
	mary  = piecesauthtest.Person{Sub: "auth0|mary", Claims: map[string]any{"nickname": "mary", "name": 7}}
)

// who redeems a sign-in by the browser, and returns the profile.
func who(t *testing.T, server *piecesauthtest.Server, browser *piecesauthtest.Browser) (profile, answer map[string]any) {
	t.Helper()
	callback, err := browser.SignIn(t.Context(), authorizeURL(server, nil))
	require.NoError(t, err)
	answer = redeem(t, server, callback.Get("code"), nil).json(t)
	claims, err := verify(t, server, answer["id_token"])
	require.NoError(t, err)
	profile = userinfo(t, server, answer["access_token"]).json(t)
	assert.Equal(t, profile["sub"], claims["sub"])
	assert.Equal(t, profile["name"], claims["name"])
	return profile, answer
}

func TestPeople(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{People: []piecesauthtest.Person{grace, mary}})
	page := get(t, server, server.URL+"/login?"+authorizeQuery.with(nil).Encode()).body
	assert.Contains(t, page, `value="auth0|grace" checked> Grace Hopper`)
	assert.Contains(t, page, `value="auth0|mary"> auth0|mary`)

	profile, _ := who(t, server, server.Browser())
	assert.Equal(t, map[string]any{"sub": grace.Sub, "name": grace.Name, "email": grace.Email}, profile, "the first")
	profile, _ = who(t, server, server.BrowserAs(mary))
	assert.Equal(t, map[string]any{"sub": mary.Sub, "name": 7.0, "nickname": "mary"}, profile)

	someone := piecesauthtest.Person{Sub: "auth0|new", Name: "New"}
	profile, _ = who(t, server, server.BrowserAs(someone))
	assert.Equal(t, "New", profile["name"], "made known")
	profile, _ = who(t, server, server.BrowserAs(piecesauthtest.Person{Sub: grace.Sub, Name: "Other"}))
	assert.Equal(t, grace.Name, profile["name"], "known already")
	server.Change(func(o *piecesauthtest.Options) { assert.Len(t, o.People, 3, "nobody twice") })

	_, err := server.BrowserAs(piecesauthtest.Person{}).SignIn(t.Context(), authorizeURL(server, nil))
	require.ErrorContains(t, err, "the person has no sub")
	a := post(t, server, "/login?"+authorizeQuery.with(nil).Encode(), "action=signin&person=nobody")
	assert.Equal(t, 400, a.StatusCode)
	assert.Contains(t, a.body, "person is unknown")

	t.Run("besides the default", func(t *testing.T) {
		server := newServer(t, piecesauthtest.Options{})
		profile, _ := who(t, server, server.BrowserAs(grace))
		assert.Equal(t, grace.Sub, profile["sub"])
		profile, _ = who(t, server, server.Browser())
		assert.Equal(t, "Ada Lovelace", profile["name"])
	})
	t.Run("besides User", func(t *testing.T) {
		server := newServer(t, piecesauthtest.Options{User: map[string]any{"name": "First"}, People: []piecesauthtest.Person{grace}})
		profile, _ := who(t, server, server.Browser())
		assert.Equal(t, "First", profile["name"])
	})
}

func TestOneBrowserIsOnePerson(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{People: []piecesauthtest.Person{grace, mary}})
	first, second := server.BrowserAs(grace), server.BrowserAs(mary)
	for range 2 {
		profile, _ := who(t, server, first)
		assert.Equal(t, grace.Sub, profile["sub"])
		profile, _ = who(t, server, second)
		assert.Equal(t, mary.Sub, profile["sub"])
	}
	assert.Equal(t, 2*2, server.Count(piecesauthtest.Login), "a page and a form each")
	assert.Len(t, server.Families(grace), 2)
	assert.Len(t, server.Families(), 4)
}

func TestNewTokenFor(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	for range 2 { // made known, and known
		token, err := server.NewTokenFor(grace, "openid", "profile")
		require.NoError(t, err)
		assert.Equal(t, grace.Name, userinfo(t, server, token.AccessToken).json(t)["name"])
		assert.Empty(t, token.RefreshToken)
	}
	_, err := server.NewTokenFor(piecesauthtest.Person{Name: "without sub"})
	assert.ErrorContains(t, err, "no sub")
}

func TestPersonWhoChangesAndLeaves(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{People: []piecesauthtest.Person{grace, mary}})
	browser := server.BrowserAs(mary)
	_, answer := who(t, server, browser)
	server.Change(func(o *piecesauthtest.Options) {
		o.People = []piecesauthtest.Person{grace, {Sub: mary.Sub, Name: "Mary Jackson"}}
	})
	assert.Equal(t, "Mary Jackson", userinfo(t, server, answer["access_token"]).json(t)["name"])

	server.Change(func(o *piecesauthtest.Options) { o.People = []piecesauthtest.Person{grace} })
	a := userinfo(t, server, answer["access_token"])
	assert.Equal(t, 401, a.StatusCode)
	assert.Contains(t, a.Header.Get("WWW-Authenticate"), `error="invalid_token"`)
	assert.Equal(t, "invalid_grant", refresh(t, server, answer["refresh_token"]).json(t)["error"])
	callback, err := browser.SignIn(t.Context(), authorizeURL(server, values{"prompt": "none"}))
	require.NoError(t, err)
	assert.Equal(t, "login_required", callback.Get("error"))
}

func TestPersonJSON(t *testing.T) {
	var people []piecesauthtest.Person
	const text = `[
		{"sub":"auth0|1","name":"Ada","email":"ada@example.com","email_verified":"true","identities":[{"user_id":12345678901234567890}]},
		{"sub":7,"name":null}
	]`
	require.NoError(t, json.Unmarshal([]byte(text), &people))
	require.Len(t, people, 2)
	assert.Equal(t, "auth0|1", people[0].Sub)
	assert.Equal(t, "Ada", people[0].Name)
	assert.Equal(t, "ada@example.com", people[0].Email)
	assert.Len(t, people[0].Claims, 2)
	assert.Equal(t, "7", people[1].Sub)
	again, err := json.Marshal(people)
	require.NoError(t, err)
	assert.JSONEq(t, text, string(again))
	assert.Contains(t, string(again), "12345678901234567890")
	assert.Error(t, json.Unmarshal([]byte(`["x"]`), &people))

	server := newServer(t, piecesauthtest.Options{People: people})
	profile, _ := who(t, server, server.Browser())
	assert.Equal(t, "true", profile["email_verified"])
	profile, _ = who(t, server, server.BrowserAs(people[1]))
	assert.Equal(t, map[string]any{"sub": 7.0, "name": nil}, profile)
}
