package piecesauth

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestProfileInItsOwnWay reads profiles as servers really write them: what can't
// be read is left out, and everything else is there.
func TestProfileInItsOwnWay(t *testing.T) {
	second := Timestamp{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	milli := Timestamp{time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)}
	for _, tt := range []struct {
		name, members string
		want          Auth0User
	}{
		{"a number as user_id, as Auth0 has it for GitHub", `"identities":[{"user_id":1234567,"provider":"github"}]`, Auth0User{Identities: []Auth0Identity{{UserID: "1234567", Provider: "github"}}}},
		{"a number that no float holds", `"identities":[{"user_id":12345678901234567890}]`, Auth0User{Identities: []Auth0Identity{{UserID: "12345678901234567890"}}}},
		{"one identity of three is none", `"identities":[{"user_id":"1"},"x",{"user_id":"3"}]`, Auth0User{Identities: []Auth0Identity{{UserID: "1"}, {UserID: "3"}}}},
		{"identities an object", `"identities":{}`, Auth0User{}},
		{"isSocial in quotes", `"identities":[{"isSocial":"true"}]`, Auth0User{Identities: []Auth0Identity{{IsSocial: true}}}},
		{"expires_in in words", `"identities":[{"expires_in":"never","user_id":"1"}]`, Auth0User{Identities: []Auth0Identity{{UserID: "1"}}}},
		{"email_verified in quotes", `"email_verified":"true"`, Auth0User{EmailVerified: true}},
		{"email_verified a word", `"email_verified":"yes"`, Auth0User{}},
		{"email_verified a number", `"email_verified":1`, Auth0User{}},
		{"email null", `"email":null`, Auth0User{}},
		{"email a list", `"email":["a@b"]`, Auth0User{}},
		{"locale an object", `"locale":{"country":"US","language":"en"}`, Auth0User{}},
		{"user_metadata a list", `"user_metadata":[]`, Auth0User{}},
		{"user_metadata text", `"user_metadata":"{}"`, Auth0User{}},
		{"updated_at in ms", `"updated_at":1767323045678`, Auth0User{UpdatedAt: milli}},
		{"updated_at in words", `"updated_at":"yesterday"`, Auth0User{}},
		{"updated_at an object", `"updated_at":{"$date":"2026-01-02T03:04:05Z"}`, Auth0User{}},
		{"updated_at in quotes", `"updated_at":"1767323045"`, Auth0User{UpdatedAt: second}},
		{"logins_count in quotes", `"logins_count":"3"`, Auth0User{LoginsCount: 3}},
		{"logins_count a fraction", `"logins_count":3.5`, Auth0User{}},
		{"blocked_for text", `"blocked_for":"1.2.3.4"`, Auth0User{}},
		{"blocked_for of numbers", `"blocked_for":[1,"b",{}]`, Auth0User{BlockedFor: []string{"1", "b"}}},
		{"name a number", `"name":42`, Auth0User{Name: "42"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := `{"sub":"github|1","nickname":"ada",` + tt.members + `,"family_name":"L"}`
			tt.want.Sub, tt.want.Nickname, tt.want.FamilyName = "github|1", "ada", "L"
			a := newAuth(t, LiveBaseURL, func(c *Config) { c.HTTPClient = direct(reply(200, body, asJSON)) })
			user, err := a.UserInfo(t.Context(), &Token{AccessToken: theAccess})
			require.NoError(t, err)
			require.Equal(t, tt.want, user.Auth0User)

			var stored User
			b, err := json.Marshal(user)
			require.NoError(t, err)
			require.JSONEq(t, body, string(b), "all of it")
			require.NoError(t, json.Unmarshal(b, &stored))
			require.Equal(t, tt.want, stored.Auth0User)
		})
	}
	for _, body := range []string{
		`{"sub":1}`, `{"sub":["a"]}`, `{"sub":{}}`, `{"sub":true}`, `{"sub":"a","sub":"b"}`, `{"sub":"a","name":"x","name":"y"}`, `{"sub":"a","locale":{"a":1,"a":2}}`, `{"sub":"a"`, `{"sub":"a"}{}`,
	} {
		a := newAuth(t, LiveBaseURL, func(c *Config) { c.HTTPClient = direct(reply(200, body, asJSON)) })
		user, err := a.UserInfo(t.Context(), &Token{AccessToken: theAccess})
		require.Nil(t, user, body)
		requireError(t, err, &Error{Op: "userinfo", StatusCode: 200})
	}
}
