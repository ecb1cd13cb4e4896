package web_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDocs: each test that docs/web.md names for a point of the cheat sheets is
// there.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/web.md")
	require.NoError(t, err)
	var tests []string
	for _, pattern := range []string{"*_test.go", "../e2e/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(source, -1) {
				tests = append(tests, string(match[1]))
			}
		}
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(page, -1)
	require.NotEmpty(t, named)
	for _, match := range named {
		assert.True(t, slices.Contains(tests, string(match[1])), "%s is not a test", match[1])
	}
}
