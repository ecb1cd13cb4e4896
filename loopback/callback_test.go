package loopback_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
)

// The right state with something that is refused ends the wait: the person and
// the program are told, and complete is not called.
func TestWaitRefuses(t *testing.T) {
	right := "code=planted-code&state=" + state
	for _, tt := range []struct {
		name, query, says string
		is                error
	}{
		{"state twice", right + "&state=" + state, "the redirect has state more than once (RFC 6749 §3.1): sign in again", piecesauth.ErrStateMismatch},
		{"a wrong state before", "state=wrong&" + right, "the redirect has state more than once (RFC 6749 §3.1): sign in again", piecesauth.ErrStateMismatch},
		{"a wrong state after", right + "&state=", "the redirect has state more than once (RFC 6749 §3.1): sign in again", piecesauth.ErrStateMismatch},
		{"code twice", "code=d&" + right, "the redirect has code more than once (RFC 6749 §3.1): sign in again", nil},
		{"the same code twice", "code=planted-code&" + right, "the redirect has code more than once (RFC 6749 §3.1): sign in again", nil},
		{"iss twice", "iss=a&iss=a&" + right, "the redirect has iss more than once (RFC 6749 §3.1): sign in again", nil},
		{"error twice", "error=a&error=b&" + right, "the redirect has error more than once (RFC 6749 §3.1): sign in again", nil},
		{"error_description twice", "error=a&error_description=b&error_description=&" + right, "the redirect has error_description more than once (RFC 6749 §3.1): sign in again", nil},
		{"error_uri twice", "error_uri=a&error_uri=b&" + right, "the redirect has error_uri more than once (RFC 6749 §3.1): sign in again", nil},
		{"scope twice", "scope=a&scope=b&" + right, "the redirect has scope more than once (RFC 6749 §3.1): sign in again", nil},
		{"a code that can't be read", "code=planted%zz&state=" + state, "code in the redirect can't be read: sign in again", nil},
		{"an iss that can't be read", "iss=%&" + right, "iss in the redirect can't be read: sign in again", nil},
		{"an error that can't be read", "error=%&" + right, "error in the redirect can't be read: sign in again", nil},
		{"a second state that can't be read", "state=%&" + right, "state in the redirect can't be read: sign in again", nil},
	} {
		for _, request := range []string{get("/callback?" + tt.query), post("/callback", formType, tt.query)} {
			t.Run(tt.name+", "+request[:4], func(t *testing.T) {
				r := listen(t, "")
				w := wait(t, r, nil)
				res, body := send(t, address(r), request)
				assert.Equal(t, http.StatusBadRequest, res.StatusCode)
				assert.Contains(t, body, "<h1>The sign-in failed</h1>")
				assert.Contains(t, body, "What the browser brought is not an answer that can be used.")
				assert.NotContains(t, body, "planted")
				got, err := w.result()
				require.Nil(t, got, "complete was called")
				require.EqualError(t, err, "piecesauth: callback: "+tt.says)
				require.ErrorIs(t, err, &piecesauth.Error{Op: "callback"})
				if tt.is != nil {
					require.ErrorIs(t, err, tt.is)
				}
			})
		}
	}
}

// A page that is written by the program is shown for a refused callback, too.
func TestWaitRefusesOwnPage(t *testing.T) {
	r := listen(t, "")
	r.Page = func(w http.ResponseWriter, err error) { _, _ = io.WriteString(w, "ours: "+err.Error()) }
	w := wait(t, r, nil)
	_, body := send(t, address(r), get("/callback?code=c&code=c&state="+state))
	require.Equal(t, "ours: piecesauth: callback: the redirect has code more than once (RFC 6749 §3.1): sign in again", body)
	_, err := w.result()
	require.Error(t, err)
}

// A page in plain words for whoever ends up where the sign-in doesn't.
func TestRefusalPage(t *testing.T) {
	r := listen(t, "")
	w := wait(t, r, nil)
	for _, tt := range []struct{ request, says string }{
		{get("/callback?code=c"), "Its address has no state."},
		{get("/callback?code=c&state=wrong"), "Its address has the state of another sign-in."},
		{get("/callback?code=c&state=wrong&state=wrong"), "Its address has the state more than once."},
		{get("/"), "It is not what a browser sends when a sign-in ends."},
		{post("/callback", "text/plain", ""), "It is not what a browser sends when a sign-in ends."},
	} {
		res, body := send(t, address(r), tt.request)
		assert.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
		assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		assert.Contains(t, body, "<h1>This is not the answer that the sign-in waits for</h1>")
		assert.Contains(t, body, tt.says)
		assert.Contains(t, body, "go back to the application")
		assert.NotContains(t, body, "wrong")
	}
	_, _ = send(t, address(r), get("/callback?code=c&state="+state))
	_, err := w.result()
	require.NoError(t, err)
}

// A browser that makes https of http is turned away at once, so that it falls
// back to http, and the wait goes on.
func TestWaitGoesOnAfterTLS(t *testing.T) {
	r := listen(t, "")
	w := wait(t, r, nil)
	conn := tls.Client(dial(t, address(r)), &tls.Config{ServerName: "localhost"})
	err := conn.HandshakeContext(t.Context())
	require.ErrorAs(t, err, new(tls.RecordHeaderError))
	_, body := send(t, address(r), get("/callback?code=c&state="+state))
	require.Contains(t, body, "You are signed in")
	_, err = w.result()
	require.NoError(t, err)
}
