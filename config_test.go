package piecesauth

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNew refuses what can't work, and names the field.
func TestNew(t *testing.T) {
	good := Config{ClientID: theClient, RedirectURL: theRedirect, Audience: theAudience}
	for _, tt := range []struct {
		names  string
		change func(*Config)
	}{
		{"ClientID", func(c *Config) { c.ClientID = "" }},
		{"BaseURL", func(c *Config) { c.BaseURL = "http://auth.example.com" }},
		{"BaseURL", func(c *Config) { c.BaseURL = "http://localhost.example.com" }},
		{"BaseURL", func(c *Config) { c.BaseURL = "http://10.0.0.1" }},
		{"BaseURL", func(c *Config) { c.BaseURL = "auth.example.com" }},
		{"BaseURL", func(c *Config) { c.BaseURL = "/auth" }},
		{"BaseURL", func(c *Config) { c.BaseURL = "ftp://auth.example.com" }},
		{"BaseURL", func(c *Config) { c.BaseURL = "https://" + theVerifier + ":" + theState + "@auth.example.com" }},
		{"BaseURL", func(c *Config) { c.BaseURL = "https://auth.example.com?x=" + theState }},
		{"BaseURL", func(c *Config) { c.BaseURL = "https://auth.example.com#x" }},
		{"BaseURL", func(c *Config) { c.BaseURL = "https://auth.example.com:" + theState }},
		{"RedirectURL", func(c *Config) { c.RedirectURL = "/cb" }},
		{"RedirectURL", func(c *Config) { c.RedirectURL = "http://example.com/cb" }},
		{"RedirectURL", func(c *Config) { c.RedirectURL = "https://example.com/cb#" }},
		{"RedirectURL", func(c *Config) { c.RedirectURL = "http://[::1" }},
		{"Scopes", func(c *Config) { c.Scopes = Scopes{"openid", ""} }},
		{"Scopes", func(c *Config) { c.Scopes = Scopes{"openid profile"} }},
		{"Scopes", func(c *Config) { c.Scopes = Scopes{"openid,profile"} }},
		{"Scopes", func(c *Config) { c.Scopes = Scopes{"openid\u00a0profile"} }},
		{"Scopes", func(c *Config) { c.Scopes = Scopes{`"openid"`} }},
		{"ClientID", func(c *Config) { c.ClientID = "id\n" }},
		{"ClientID", func(c *Config) { c.ClientID = " id" }},
		{"ClientID", func(c *Config) { c.ClientID = "i\x00d" }},
		{"Audience", func(c *Config) { c.Audience = "https://api.example.com/\n" }},
		{"ApplicationID", func(c *Config) { c.ApplicationID = "a\r\nX: y" }},
		{"UserAgent", func(c *Config) { c.UserAgent = "a\r\nX: y" }},
		{"RedirectURL", func(c *Config) { c.RedirectURL = "javascript:alert(1)" }},
		{"RedirectURL", func(c *Config) { c.RedirectURL = "JavaScript:alert(1)" }},
		{"RedirectURL", func(c *Config) { c.RedirectURL = "data:text/html,x" }},
		{"RedirectURL", func(c *Config) { c.RedirectURL = "file:///cb" }},
		{"Leeway", func(c *Config) { c.Leeway = -1 }},
		{"ResponseMode", func(c *Config) { c.ResponseMode = "form" }},
		{"RefreshBefore", func(c *Config) { c.RefreshBefore = -time.Second }},
		{"Issuer", func(c *Config) { c.Issuer = "http://auth.example.com/" }},
		{"Issuer", func(c *Config) { c.Issuer = "auth.example.com" }},
		{"Issuer", func(c *Config) { c.Issuer = "https://auth.example.com/?x" + theState }},
		{"IDTokenAlgorithms", func(c *Config) { c.IDTokenAlgorithms = []string{"RS256", "HS256"} }},
		{"IDTokenAlgorithms", func(c *Config) { c.IDTokenAlgorithms = []string{"none"} }},
	} {
		c := good
		tt.change(&c)
		t.Run(tt.names, func(t *testing.T) {
			a, err := New(c)
			require.Nil(t, a)
			requireError(t, err, &Error{Op: "new"})
			require.Contains(t, err.Error(), tt.names+" ")
		})
	}

	for _, change := range []func(*Config){
		func(*Config) {},
		func(c *Config) { *c = Config{ClientID: theClient} },
		func(c *Config) { c.BaseURL = "https://auth.example.com/base" },
		func(c *Config) { c.BaseURL = "http://127.0.0.1:1000/" },
		func(c *Config) { c.BaseURL = "http://[::1]:1000" },
		func(c *Config) { c.RedirectURL = "https://app.example.com/cb?tenant=1" },
		func(c *Config) { c.RedirectURL = "com.example.app:/cb" },
		func(c *Config) { c.ResponseMode = ResponseModeWebMessage },
		func(c *Config) {
			c.Issuer, c.IDTokenAlgorithms = "https://auth.example.com/", []string{"ES256", "EdDSA", "PS512"}
		},
		func(c *Config) { c.Scopes = Scopes{} }, // as of a Config that went through JSON
		func(c *Config) { c.Issuer, c.IDTokenAlgorithms = "https://auth.example.com/", []string{} },
		func(c *Config) { c.BaseURL = "HTTPS://Auth.Example.COM" },
		func(c *Config) { c.BaseURL = "http://LOCALHOST:1000" },
	} {
		c := good
		change(&c)
		_, err := New(c)
		require.NoError(t, err, "%+v", c)
	}
}

// TestConfigIsCopied lets nobody change an authenticator from outside.
func TestConfigIsCopied(t *testing.T) {
	w := newWire(t, reply(200, tokenBody, asJSON))
	scopes := Scopes{"openid", "email"}
	a := newAuth(t, w.URL, func(c *Config) { c.Scopes = scopes })
	scopes[0] = "changed"
	for range 2 {
		attempt, err := a.Begin(&BeginOptions{})
		require.NoError(t, err)
		require.Equal(t, "openid email", query(t, attempt.URL).Get("scope"))
		token, err := a.Complete(t.Context(), attempt, url.Values{"state": {attempt.State}, "code": {theCode}})
		require.NoError(t, err)
		require.Equal(t, Scopes{"openid", "email"}, token.Scopes, "what was asked for, as the answer doesn't say")
		token.Scopes[0] = "changed"
	}
}

func TestConfigIsACopy(t *testing.T) {
	auth, err := New(Config{ClientID: "client"})
	require.NoError(t, err)
	config := auth.Config()
	assert.Equal(t, LocalBaseURL, config.BaseURL)
	assert.Equal(t, Scopes{"openid", "profile", "email", "offline_access"}, config.Scopes)
	assert.Equal(t, ResponseModeFormPost, config.ResponseMode)
	config.Scopes[0] = "changed"
	assert.Equal(t, "openid", auth.Config().Scopes[0])
}

func TestAuthenticatorIsPrinted(t *testing.T) {
	auth := newAuth(t, LiveBaseURL)
	require.Equal(t, "Authenticator{BaseURL:"+LiveBaseURL+" ClientID:"+auth.Config().ClientID+"}", fmt.Sprint(auth))
	require.Equal(t, "<nil>", fmt.Sprint((*Authenticator)(nil)))
}
