package piecesauth_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What SECURITY.md says is tested has a test by that name: of the root package,
// or of the package that stands before the name.
func TestSecurityNamesTests(t *testing.T) {
	page, err := os.ReadFile(".github/SECURITY.md")
	require.NoError(t, err)
	named := regexp.MustCompile("`(?:(\\w+)\\.)?((?:Test|Fuzz)\\w+)(?:/([^`]+))?`").FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, named)

	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path) //nolint:gosec // of this module
		for _, match := range declaration.FindAllSubmatch(text, -1) {
			declared[filepath.Base(filepath.Dir(path))+"."+string(match[1])] = true
		}
		return err
	}))
	for _, match := range named {
		pkg, name, subtest := match[1], match[2], match[3]
		if pkg == "" {
			pkg = "." // as filepath has it
		}
		assert.True(t, declared[pkg+"."+name], "SECURITY.md names %s, which is not there", match[0])
		if subtest != "" {
			assert.Equal(t, "TestConformance", name, "%s: only its subtests can be looked up", match[0])
			assert.True(t, slices.ContainsFunc(conformanceCases, func(c conformanceCase) bool { return c.name == subtest }),
				"SECURITY.md names %s, which is no case", match[0])
		}
	}
}
