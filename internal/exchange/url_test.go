package exchange

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSameEndpoint compares as RFC 3986 §6.2 normalises.
func TestSameEndpoint(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"https://app.example.com", "https://app.example.com", true},
		{"https://app.example.com", "https://app.example.com/", true},
		{"https://app.example.com", "https://app.example.com:443", true},
		{"https://app.example.com", "https://app.example.com:443/", true},
		{"https://app.example.com", "https://app.example.com:/", true},
		{"http://localhost", "http://localhost:80/", true},
		{"https://app.example.com/cb", "HTTPS://App.Example.COM/cb", true},
		{"https://app.example.com/cb", "https://app.example.com/cb?code=1#x", true},
		{"https://app.example.com/a%2fb", "https://app.example.com/a%2Fb", true},
		{"https://app.example.com/~me", "https://app.example.com/%7Eme", true},
		{"https://app.example.com/cb", "https://app.example.com/%63%62", true},
		{"https://app.example.com/cb", "https://app.example.com/./cb", true},
		{"https://app.example.com/cb", "https://app.example.com/x/../cb", true},
		{"https://app.example.com/cb", "https://app.example.com/../cb", true},
		{"https://app.example.com/é", "https://app.example.com/%c3%a9", true},
		{"http://[::1]:3000/cb", "http://[::1]:3000/cb", true},
		{"com.example:/cb", "com.example:/cb", true},
		{"com.example:/cb", "COM.EXAMPLE:/cb", true},
		{"com.example:cb", "com.example:cb", true},

		{"https://app.example.com", "http://app.example.com", false},
		{"https://app.example.com", "https://app.example.com:444", false},
		{"https://app.example.com", "https://app.example.com.evil.com", false},
		{"https://app.example.com", "https://app.example.com@evil.com", false},
		{"https://app.example.com", "https://me@app.example.com", false},
		{"https://app.example.com/cb", "https://app.example.com/CB", false},
		{"https://app.example.com/cb", "https://app.example.com/cb/", false},
		{"https://app.example.com/cb", "https://app.example.com/cb%2F", false},
		{"https://app.example.com/a/b", "https://app.example.com/a%2Fb", false},
		{"https://app.example.com/cb", "https://app.example.com/cb/../login", false},
		{"https://app.example.com/cb", "https://app.example.com/cb%2F..%2Flogin", false},
		{"https://app.example.com/cb", "https://app.example.com//cb", false},
		{"https://app.example.com/cb", "https://app.example.com/cb%20", false},
		{"https://app.example.com/cb", "https://app.example.com/cb%00", false},
		{"http://localhost:3000/cb", "http://127.0.0.1:3000/cb", false},
		{"http://localhost:80/", "https://localhost:443/", false},
		{"com.example:/cb", "com.example:cb", false},
		{"com.example:cb", "com.example:other", false},
		{"com.example:/cb", "com.example.evil:/cb", false},
	} {
		a, err := url.Parse(tt.a)
		require.NoError(t, err)
		b, err := url.Parse(tt.b)
		require.NoError(t, err)
		assert.Equal(t, tt.want, SameEndpoint(a, b), "%s and %s", tt.a, tt.b)
		assert.Equal(t, tt.want, SameEndpoint(b, a), "%s and %s", tt.b, tt.a)
	}
}

func TestCheckURL(t *testing.T) {
	for raw, ok := range map[string]bool{
		"https://auth.example.com":    true,
		"HTTPS://auth.example.com":    true,
		"http://localhost:1000":       true,
		"http://LOCALHOST":            true,
		"http://127.0.0.1":            true,
		"http://127.1.2.3:80":         true,
		"http://[::1]:80":             true,
		"http://auth.example.com":     false,
		"http://localhost.example":    false,
		"http://localhost.":           false,
		"http://0.0.0.0":              false,
		"http://[::]":                 false,
		"http://192.168.0.1":          false,
		"http://127.0.0.1.nip.io":     false,
		"ftp://localhost":             false,
		"file:///etc/passwd":          false,
		"https:auth.example.com":      false,
		"https:///path":               false,
		"//auth.example.com":          false,
		"auth.example.com":            false,
		"https://me:pw@example.com":   false,
		"http://localhost@evil.com":   false,
		"unix://localhost/run/socket": false,
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		if ok {
			assert.NoError(t, CheckURL(u), raw)
			continue
		}
		assert.Error(t, CheckURL(u), raw)
	}
}

// An escape means the character itself only if RFC 3986 §2.3 calls that
// unreserved.
func TestSameEndpointEscapes(t *testing.T) {
	same := func(path string, c rune) bool {
		escaped, err := url.Parse(fmt.Sprintf("https://a.example/x%%%02x/", c))
		require.NoError(t, err)
		plain, err := url.Parse("https://a.example/" + path)
		require.NoError(t, err)
		return SameEndpoint(escaped, plain)
	}
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~" {
		require.True(t, same("x"+string(c)+"/", c), "%c", c)
	}
	for _, c := range "/:@!$&'()*+,;=" {
		require.False(t, same("x"+string(c)+"/", c), "%c", c)
	}
}
