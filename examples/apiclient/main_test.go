package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOffline checks that a refused token is replaced, and that every request is
// traced.
func TestOffline(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, offline(t.Context(), &out))
	assert.Equal(t, `Notes: buy milk
Notes: buy milk
traced:
  HTTP GET /notes 200
  HTTP GET /.well-known/openid-configuration 200
  HTTP GET /.well-known/jwks.json 200
  HTTP POST /oauth/token 200
  HTTP GET /notes 401
  HTTP GET /notes 200
`, out.String())
}
