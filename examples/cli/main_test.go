package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOffline checks that the second run needs no sign-in.
func TestOffline(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, offline(t.Context(), &out))
	assert.Equal(t, "Hello, Ada Lovelace\nsign-ins so far: 1\nHello, Ada Lovelace\nsign-ins so far: 1\n", out.String())
}
