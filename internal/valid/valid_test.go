package valid_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/valid"
)

func TestValid(t *testing.T) {
	server := func(raw string) error { _, err := valid.Server(raw); return err }
	list := func(check func([]string) error) func(string) error {
		return func(s string) error { return check([]string{"openid", s}[1:]) }
	}
	for _, tt := range []struct {
		name  string
		check func(string) error
		good  []string
		bad   map[string]string
	}{
		{"Server", server, []string{"https://a.example", "https://a.example/x/", "http://localhost:1", "http://127.0.0.1"}, map[string]string{
			"https://a.example?x": "query", "https://a.example#x": "fragment", "http://a.example": "use https", "a.example": "absolute", "ftp://a.example": "neither", "http://%zz": "is not a URL",
		}},
		{"Redirect", valid.Redirect, []string{"https://a.example/cb?x=y", "http://[::1]:3000/cb", "com.example:/cb"}, map[string]string{
			"/cb": "absolute", "https://a.example/#": "fragment", "http://a.example/": "use https", "javascript:alert(1)": "javascript", "data:x": "data", "%zz": "absolute",
		}},
		{"Text", valid.Text, []string{"", "abc", "ü", "a/1"}, map[string]string{"a b": "space", "a\n": "printed", "\x00": "printed", "\ufffd": "printed"}},
		{"Scopes", list(valid.Scopes), []string{"openid", "read:x", "https://a.example/s", "!~"}, map[string]string{
			"": "empty", "a b": "several", "a,b": "several", `"`: "no scope has", `\`: "no scope has", "ü": "no scope has", "\x7f": "no scope has",
		}},
		{"Algorithms", list(valid.Algorithms), []string{"RS256", "EdDSA"}, map[string]string{"HS256": "public key", "none": "public key", "RS256 RS384 ": "public key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, s := range tt.good {
				require.NoError(t, tt.check(s), s)
			}
			for s, want := range tt.bad {
				require.ErrorContains(t, tt.check(s), want, s)
			}
		})
	}
}
