package consumer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadme compiles every Go block of the README, and of the page for those
// who come from elsewhere, as a package of this module. It runs those that are
// tests. A block that is marked with more than "go" is not ours.
func TestReadme(t *testing.T) {
	for page, least := range map[string]int{"README.md": 5, "docs/coming-from.md": 5} {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile("../../" + page)
			if err != nil {
				t.Fatal(err)
			}
			blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllSubmatch(text, -1)
			if len(blocks) < least {
				t.Fatalf("%d Go blocks found", len(blocks))
			}
			for i, block := range blocks {
				t.Run(fmt.Sprint("block ", i+1), func(t *testing.T) {
					t.Parallel()
					compile(t, block[1])
				})
			}
		})
	}
}

// compile compiles a block, and runs it if it is a test.
func compile(t *testing.T, block []byte) {
	t.Helper()
	name, command := "block.go", "vet"
	if strings.Contains(string(block), "func Test") {
		name, command = "block_test.go", "test"
	}
	dir, err := os.MkdirTemp(".", "_readme") //nolint:usetesting // it has to be of this module, though of no pattern
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	source := filepath.Join(dir, name)
	if err := os.WriteFile(source, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"vet", command} {
		cmd := exec.CommandContext(t.Context(), "go", command, "./"+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", command, err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "gofmt", "-l", source).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("gofmt: %v\n%s", err, out)
	}
}
