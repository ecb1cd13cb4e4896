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

// TestReadme compiles every Go block of the README as a package of this module,
// and runs those that are tests.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllSubmatch(readme, -1)
	if len(blocks) < 5 {
		t.Fatalf("%d Go blocks found", len(blocks))
	}
	for i, block := range blocks {
		t.Run(fmt.Sprint("block ", i+1), func(t *testing.T) {
			t.Parallel()
			name, command := "block.go", "vet"
			if strings.Contains(string(block[1]), "func Test") {
				name, command = "block_test.go", "test"
			}
			dir, err := os.MkdirTemp(".", "_readme") //nolint:usetesting // it has to be of this module, though of no pattern
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			source := filepath.Join(dir, name)
			if err := os.WriteFile(source, block[1], 0o600); err != nil {
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
		})
	}
}
