package piecesauth

import (
	"fmt"
	"strings"
	"testing"

	"github.com/piecesauth/piecesauth/internal/callback"
	"github.com/stretchr/testify/require"
)

// TestErrorIs matches the fields that are set.
func TestErrorIs(t *testing.T) {
	err := &Error{Op: "exchange", StatusCode: 400, Code: "invalid_grant", Description: "d", URI: "u", RetryAfter: 1, Err: callback.ErrNone}
	for _, target := range []*Error{
		{Op: "exchange"}, {StatusCode: 400}, {Code: "invalid_grant"}, {Description: "d"}, {URI: "u"}, {RetryAfter: 1}, err,
	} {
		require.ErrorIs(t, fmt.Errorf("wrapped: %w", err), target)
	}
	for _, target := range []*Error{
		{}, {Op: "refresh"}, {StatusCode: 401}, {Code: "invalid_request"}, {Description: "x"}, {URI: "x"}, {RetryAfter: 2}, {Op: "exchange", StatusCode: 401},
	} {
		require.NotErrorIs(t, err, target)
	}
	require.ErrorIs(t, err, callback.ErrNone)
	require.Equal(t, "piecesauth: exchange: HTTP status 400: invalid_grant: d: the answer has neither code nor error", err.Error())
	text := &Error{Op: "x"}
	text.setOAuth("a\r\nb", strings.Repeat("ü", 200), "\x00u ", nil)
	require.Equal(t, "a  b", text.Code)
	require.Equal(t, strings.Repeat("ü", 150)+"…", text.Description)
	require.Equal(t, "u", text.URI)

	// What is as long as bearable stays, and so do secrets as short as a word.
	text.setOAuth("invalid seven77 eight888", strings.Repeat("x", 300), "one four", []string{"seven77", "eight888", "one", "four"})
	require.Equal(t, "invalid seven77 [redacted]", text.Code)
	require.Equal(t, strings.Repeat("x", 300), text.Description)
	require.Equal(t, "one [redacted]", text.URI)
}
