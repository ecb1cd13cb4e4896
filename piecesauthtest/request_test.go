package piecesauthtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func TestRequests(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	code := signIn(t, server, nil)
	redeem(t, server, code, nil)
	get(t, server, server.URL+"/favicon.ico")
	var list []string
	for _, r := range server.Requests() {
		list = append(list, strings.TrimSpace(string(r.Op)+" "+r.Method+" "+r.URL.Path)+" "+http.StatusText(r.Status))
	}
	assert.Equal(t, []string{
		"authorize GET /authorize Found",
		"login GET /login OK",
		"login POST /login See Other",
		"exchange POST /oauth/token OK",
		"GET /favicon.ico Not Found",
	}, list)
	exchange := server.Requests(piecesauthtest.Exchange)[0]
	assert.Equal(t, code, exchange.Form.Get("code"))
	assert.Contains(t, string(exchange.Body), code)
	assert.Equal(t, "application/x-www-form-urlencoded", exchange.Header.Get("Content-Type"))
	assert.Equal(t, challenge, server.Requests(piecesauthtest.Authorize)[0].Form.Get("code_challenge"))
	assert.Equal(t, 2, server.Count(piecesauthtest.Login))
	assert.Equal(t, 5, server.Count())
}
