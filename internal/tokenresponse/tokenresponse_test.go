package tokenresponse_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/strictjson"
	"github.com/piecesauth/piecesauth/internal/tokenresponse"
)

func TestRead(t *testing.T) {
	type response = tokenresponse.Response
	const bearer = tokenresponse.Bearer
	for body, want := range map[string]struct {
		response

		err string
	}{
		`{"access_token":"a","token_type":"bearer","expires_in":60,"refresh_token":"r","id_token":"i","scope":"x  y"}`: {
			response: response{AccessToken: "a", TokenType: bearer, RefreshToken: "r", IDToken: "i", Scopes: []string{"x", "y"}, Scoped: true, ExpiresIn: time.Minute},
		},
		`{"access_token":"a"}`:                                           {response: response{AccessToken: "a", TokenType: bearer}},
		`{"access_token":"a","scope":""}`:                                {response: response{AccessToken: "a", TokenType: bearer, Scoped: true}},
		`{"access_token":"a","scope":["x",1,"y"]}`:                       {response: response{AccessToken: "a", TokenType: bearer, Scopes: []string{"x", "y"}, Scoped: true}},
		`{"access_token":"a","scope":1,"expires_in":{},"token_type":[]}`: {response: response{AccessToken: "a", TokenType: bearer}},
		`{"access_token":"a","expires_in":"1e300"}`:                      {response: response{AccessToken: "a", TokenType: bearer, ExpiresIn: 100 * 365 * 24 * time.Hour}},
		`{"access_token":"a","refresh_token":"r\n"}`:                     {response: response{AccessToken: "a", TokenType: bearer}},
		`{"access_token":"a","id_token":"i","x":1,"x":2}`:                {response: response{AccessToken: "a", TokenType: bearer, IDToken: "i"}},

		`{"access_token":"a","token_type":"DPoP","id_token":"i","refresh_token":"r"}`: {response: response{AccessToken: "a", TokenType: "DPoP", RefreshToken: "r"}, err: "the answer's token_type is not Bearer"},
		`{"access_token":"a\n","id_token":"i","refresh_token":"r"}`:                   {response: response{TokenType: bearer, RefreshToken: "r"}, err: "the answer has a token with characters that none may have (RFC 6749 appendix A)"},
		`{"access_token":1,"refresh_token":"r","expires_in":60}`:                      {response: response{TokenType: bearer, RefreshToken: "r", ExpiresIn: time.Minute}, err: "the JSON has a number where access_token cannot be one"},
		`{"access_token":"a","access_token":"b","refresh_token":"r"}`:                 {response: response{TokenType: bearer, RefreshToken: "r"}, err: "the JSON has a name twice"},
		`{"access_token":"a","refresh_token":"r","id_token":"i",`:                     {response: response{AccessToken: "a", TokenType: bearer, RefreshToken: "r"}, err: "the JSON is malformed"},
		`{"refresh_token":"r"}`: {response: response{TokenType: bearer, RefreshToken: "r"}, err: "the answer has no access_token"},
		`<html>`:                {response: response{TokenType: bearer}, err: "the answer is not a JSON object"},
	} {
		got, err := tokenresponse.Read([]byte(body))
		if len(got.Scopes) == 0 {
			got.Scopes = nil
		}
		require.Equal(t, want.response, got, body)
		require.Equal(t, got.AccessToken != "" || got.RefreshToken != "", got.Kept())
		if want.err == "" {
			require.NoError(t, err, body)
		} else {
			require.EqualError(t, err, want.err, body)
		}
	}
}

func TestIsToken(t *testing.T) {
	for s, want := range map[string]bool{"": true, "a.b-c": true, " ~": true, "\x1f": false, "\x7f": false, "a\n": false, "ü": false} {
		require.Equal(t, want, tokenresponse.IsToken(s), "%q", s)
	}
}

func TestReadTooMuch(t *testing.T) {
	got, err := tokenresponse.Read([]byte(`{"access_token":"a","refresh_token":"r","x":[` + strings.Repeat("{},", 20_000) + `{}]}`))
	require.ErrorIs(t, err, strictjson.ErrTooLarge)
	require.Equal(t, "r", got.RefreshToken, "it can't be asked for again")
}
