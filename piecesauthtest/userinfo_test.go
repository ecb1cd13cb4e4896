package piecesauthtest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func TestUserInfo(t *testing.T) {
	now := time.Now()
	server := newServer(t, piecesauthtest.Options{
		Now: func() time.Time { return now }, TokenLifetime: time.Hour,
		User: map[string]any{"name": "Grace Hopper", "updated_at": 1767322445},
	})
	token, err := server.NewToken()
	require.NoError(t, err)
	a := userinfo(t, server, token.AccessToken)
	assert.Equal(t, 200, a.StatusCode)
	assert.JSONEq(t, `{"sub":"auth0|507f1f77bcf86cd799439011","name":"Grace Hopper","updated_at":1767322445}`, a.body)

	for name, test := range map[string]struct {
		path   string
		header []string
		status int
		want   string
	}{
		"nothing":            {"", nil, 401, `Bearer realm="piecesauthtest"`},
		"unknown":            {"", []string{"Authorization", "Bearer x"}, 401, `error="invalid_token"`},
		"other scheme":       {"", []string{"Authorization", "Basic eDp5"}, 401, `error="invalid_request"`},
		"in the query":       {"?access_token=" + token.AccessToken, nil, 400, `error="invalid_request"`},
		"in both":            {"?access_token=" + token.AccessToken, []string{"Authorization", "Bearer " + token.AccessToken}, 400, `error="invalid_request"`},
		"twice":              {"", []string{"Authorization", "Bearer " + token.AccessToken, "Authorization", "Bearer x"}, 400, `error="invalid_request"`},
		"the application ID": {"", []string{"Authorization", "Bearer " + token.AccessToken, "X-Application-ID", "x"}, 400, `error="invalid_request"`},
	} {
		t.Run(name, func(t *testing.T) {
			a := get(t, server, server.URL+"/userinfo"+test.path, test.header...)
			assert.Equal(t, test.status, a.StatusCode)
			assert.Contains(t, a.Header.Get("WWW-Authenticate"), test.want)
		})
	}
	now = now.Add(time.Hour)
	assert.Equal(t, 401, userinfo(t, server, token.AccessToken).StatusCode)
	assert.Equal(t, 200, refresh(t, server, token.RefreshToken).StatusCode)
}
