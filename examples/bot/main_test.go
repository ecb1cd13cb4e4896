package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOffline checks that two bots refresh each token once, round after round.
func TestOffline(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, offline(t.Context(), 2, 0, &out))
	assert.Equal(t, `people who have signed in: 50
round 1: two bots reached 50 and 50 people, with 50 refreshes
round 2: two bots reached 50 and 50 people, with 50 refreshes
`, out.String())
}
