package piecesauth

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/jsonvalue"
)

const maxSeconds = jsonvalue.MaxSeconds

// bentGrants are answers of the token endpoint that are no exact JSON. In each,
// %s and %s are an access and a refresh token, once or more.
func bentGrants() []struct{ name, body, want string } {
	const (
		handedOut = "handed out"      // access and refresh token alone are beyond doubt
		kept      = "kept"            // not handed out, but the refresh token is beyond doubt
		doubtful  = "unknown outcome" // which the refresh token is can't be told
	)
	return []struct{ name, body, want string }{
		{"exact", `{"access_token":"%s","refresh_token":"%s"}`, handedOut},
		{"an unknown member twice", `{"x":1,"access_token":"%s","refresh_token":"%s","x":2}`, handedOut},
		{"scope twice", `{"scope":"openid","access_token":"%s","refresh_token":"%s","scope":"email"}`, handedOut},
		{"expires_in twice", `{"expires_in":3600,"access_token":"%s","refresh_token":"%s","expires_in":60}`, handedOut},
		{"token_type twice", `{"token_type":"Bearer","access_token":"%s","refresh_token":"%s","token_type":"Bearer"}`, handedOut},
		{"id_token twice", `{"id_token":"x","access_token":"%s","refresh_token":"%s","id_token":"y"}`, handedOut},
		{"a name twice in an unknown member", `{"access_token":"%s","refresh_token":"%s","user":{"a":1,"a":2}}`, handedOut},
		{"a name twice in a member that is known", `{"access_token":"%s","refresh_token":"%s","scope":{"a":1,"a":2}}`, handedOut},
		{"an unknown member that isn't UTF-8", `{"access_token":"%s","refresh_token":"%s","x":"` + "\xff" + `"}`, handedOut},
		{"a name that isn't UTF-8", `{"` + "\xff" + `":1,"access_token":"%s","refresh_token":"%s"}`, handedOut},
		{"a scope that isn't UTF-8", `{"access_token":"%s","refresh_token":"%s","scope":"` + "\xff" + `"}`, handedOut},
		{"half a surrogate pair", `{"access_token":"%s","refresh_token":"%s","x":"\ud800"}`, handedOut},
		{"text behind the object", `{"access_token":"%s","refresh_token":"%s"}<!-- 12 ms -->`, handedOut},
		{"a comma behind the object", `{"access_token":"%s","refresh_token":"%s"},`, handedOut},
		{"a NUL behind the object", `{"access_token":"%s","refresh_token":"%s"}` + "\x00", handedOut},
		{"names in other letters beside", `{"access_token":"%s","refresh_token":"%s","Access_Token":"x","REFRESH_TOKEN":"y"}`, handedOut},

		{"a comma too many", `{"access_token":"%s","refresh_token":"%s",}`, kept},
		{"an end without a brace", `{"access_token":"%s","refresh_token":"%s"`, kept},
		{"an end in a member", `{"access_token":"%s","refresh_token":"%s","scope":"ope`, kept},
		{"an unknown member without a value", `{"access_token":"%s","refresh_token":"%s","x":}`, kept},
		{"a number with a leading zero", `{"access_token":"%s","refresh_token":"%s","expires_in":007}`, kept},
		{"another object behind the first", `{"access_token":"%s","refresh_token":"%s"}{"access_token":"x"}`, kept},
		{"the access token twice", `{"access_token":"x","access_token":"%s","refresh_token":"%s"}`, kept},
		{"the access token twice, the same", `{"access_token":"%[1]s","access_token":"%[1]s","refresh_token":"%[2]s"}`, kept},
		{"an access token that isn't UTF-8", `{"access_token":"%s` + "\xff" + `","refresh_token":"%s"}`, kept},

		{"the refresh token twice", `{"access_token":"%s","refresh_token":"x","refresh_token":"%s"}`, doubtful},
		{"the refresh token twice, once escaped", `{"access_token":"%s","refresh\u005ftoken":"x","refresh_token":"%s"}`, doubtful},
		{"an end in the refresh token", `{"access_token":"%s","refresh_token":"%s`, doubtful},
	}
}

// TestMalformedGrants takes what a 200 granted from an answer that is no exact
// JSON, wherever it can be told what was granted.
func TestMalformedGrants(t *testing.T) {
	for _, tt := range bentGrants() {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.auth = newAuth(t, LiveBaseURL, func(c *Config) {
					c.HTTPClient = direct(func(w http.ResponseWriter, r *http.Request) {
						rec := httptest.NewRecorder()
						b.endpoint(rec, r)
						assert.Equal(t, http.StatusOK, rec.Code)
						access, refresh := fmt.Sprint("a", b.refreshes), fmt.Sprint("r", b.refreshes)
						reply(200, fmt.Sprintf(tt.body, access, refresh), asJSON)(w, r)
					})
				})
				b.source = b.auth.TokenSource(b.store)
				b.put(&Token{AccessToken: "a0", RefreshToken: "r0", Expiry: time.Now()})
				b.good = "r0"

				token, err := b.source.Token(t.Context())
				switch tt.want {
				case "handed out":
					require.NoError(t, err)
					require.Equal(t, "a1", token.AccessToken)
					require.Equal(t, "r1", b.stored())
					return
				case "kept":
					require.Equal(t, "r1", b.stored(), "the old one is spent")
				default:
					require.Equal(t, "r0", b.stored())
				}
				require.Nil(t, token)
				requireError(t, err, &Error{Op: "refresh", StatusCode: 200}, ErrUnknownOutcome)
				require.NotErrorIs(t, err, ErrSignInRequired)
			})
		})
		t.Run(tt.name+", without a TokenSource", func(t *testing.T) {
			a := newAuth(t, LiveBaseURL, func(c *Config) {
				c.HTTPClient = direct(reply(200, fmt.Sprintf(tt.body, theAccess, theRefresh), asJSON))
			})
			token, err := a.Exchange(t.Context(), TokenizedPKCE{RefreshToken: "old"})
			if tt.want == "handed out" {
				require.NoError(t, err)
				require.Equal(t, theAccess, token.AccessToken)
				require.Equal(t, theRefresh, token.RefreshToken)
				require.Empty(t, token.IDToken)
				return
			}
			requireError(t, err, &Error{Op: "exchange", StatusCode: 200}, ErrUnknownOutcome)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.NotNil(t, e.Token)
			require.Equal(t, tt.want == "kept", e.Token.RefreshToken == theRefresh)
			require.NotContains(t, err.Error(), theRefresh)
		})
	}
}
