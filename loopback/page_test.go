package loopback

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/piecesauth/piecesauth"
)

// The page says in plain words what happened, and to a developer what exactly.
func TestWritePage(t *testing.T) {
	denied := &piecesauth.Error{Op: "complete", Code: "access_denied", Description: "<b>"}
	for _, tt := range []struct {
		err           error
		text, details string
	}{
		{nil, "You can close this window and go back to the application.", ""},
		{denied, "The application was not given access. You can close", ""},
		{fmt.Errorf("x: %w", denied), "The application was not given access. You can close", ""},
		{&piecesauth.Error{Op: "complete", Code: "server_error"}, "The sign-in server refused. You can close", "piecesauth: complete: server_error"},
		{&piecesauth.Error{Op: "complete", Err: context.DeadlineExceeded}, "The application stopped waiting for the answer. You can close", "piecesauth: complete: context deadline exceeded"},
		{context.Canceled, "The application stopped waiting for the answer. You can close", "context canceled"},
		{piecesauth.ErrUnknownOutcome, "The sign-in server was asked to finish, and its answer did not arrive. You can close", "unknown whether the server acted"},
		{&piecesauth.Error{Op: "callback", Err: errors.New("x")}, "What the browser brought is not an answer that can be used. You can close", "piecesauth: callback: x"},
		{&piecesauth.Error{Op: "complete", Err: piecesauth.ErrIssuerMismatch}, "What the browser brought is not an answer that can be used. You can close", "issuer"},
		{&piecesauth.Error{Op: "complete", Err: piecesauth.ErrNonceMismatch}, "The application could not finish it. You can close", "nonce"},
		{errors.New("a <script>"), "The application could not finish it. You can close", "a &lt;script&gt;"},
	} {
		var page strings.Builder
		writePage(&page, tt.err)
		assert.Contains(t, page.String(), "<p>"+tt.text)
		assert.NotContains(t, page.String(), "<script")
		if tt.details == "" {
			assert.NotContains(t, page.String(), `class="why"`)
		} else {
			assert.Contains(t, page.String(), `<p class="why">`)
			assert.Contains(t, page.String(), tt.details)
		}
	}
}
