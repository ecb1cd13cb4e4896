package tokenkv

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var modelMutants = flag.Bool("model.mutants", false, "break the algorithm in many ways, and see the model find each: a minute")

// TestModelFinds breaks the algorithm, one way at a time, and runs TestModel
// over it: a model that finds nothing wrong proves something only then.
func TestModelFinds(t *testing.T) {
	if !*modelMutants {
		t.Skip("compiles the package a dozen times: only with -model.mutants")
	}
	for _, m := range []struct{ name, file, right, wrong, finds string }{
		{"a lease is void at once", "lease.go",
			"return unchanged > length ||", "return true || unchanged > length ||", "was used"},
		{"a lease is void by age alone", "lease.go",
			" && unchanged >= quiet", "", "was used"},
		{"a lease is never void", "lease.go",
			"return unchanged > length ||", "return false && unchanged > length ||", "no end"},
		{"what nobody saw counts as watched", "lease.go",
			"s.env.mono(looked) >= quiet", "s.env.mono(looked) < 0", "was used"},
		{"no renewal", "lease.go",
			"case <-l.env.after(wait):", "case <-l.env.after(100 * wait):", "was used"},
		{"a lease is vouched for to its end", "lease.go",
			"return l.Tokens.lease/2 -", "return l.Tokens.lease -", "was used"},
		{"no last word before sending", "lease.go",
			"l.sent = !l.lost && l.left() > 0\n\t\treturn l.sent", "l.sent = true\n\t\treturn l.sent", "was used"},
		{"a last word without the clock", "lease.go",
			"l.sent = !l.lost && l.left() > 0", "l.sent = !l.lost", "was used"},
		{"a result is dropped when the lease ran out", "lease.go",
			"return d.Generation == l.base.Generation ||", "return d.heldBy(l.holder) ||", "is lost"},
		{"an outage loses a result", "lease.go",
			"next, forever,", "next, retryEvery,", "is lost"},
		{"no tombstone", "lease.go",
			"next.Token, next.Spent = nil, true", "next.Token = nil", "is lost"},
		{"takeovers don't count", "lease.go",
			"doc.Takeovers++", "", "was used"},
		{"the later result never wins", "lease.go",
			"d.PredecessorTakeovers < l.base.Takeovers", "false", "after more takeovers"},
		{"the earlier result wins", "lease.go",
			"d.PredecessorTakeovers < l.base.Takeovers", "true", "is stored, and not"},
		{"a release ends anybody's lease", "lease.go",
			"func(d *document) bool { return d.heldBy(l.holder) })", "func(d *document) bool { return true })", "is lost"},
		{"a lost answer is not looked for", "lease.go",
			"case doc.heldBy(l.holder): // by a swap", "case false: // by a swap", "waited for"},
		{"a sign-in keeps the generation", "tokenkv.go",
			"next := document{Generation: s.env.random(), Token: token}", "next := document{Generation: \"first\", Token: token}", "what was saved is not stored"},
		{"a sign-out leaves a row", "tokenkv.go",
			"\tcase next.Token == nil:\n\t\tnext = nil\n", "", "after the person signed out"},
	} {
		t.Run(m.name, func(t *testing.T) {
			source, err := os.ReadFile(m.file)
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(source), m.right), "what is to be broken is there, once")
			folder := t.TempDir()
			broken := filepath.Join(folder, m.file)
			require.NoError(t, os.WriteFile(broken, []byte(strings.Replace(string(source), m.right, m.wrong, 1)), 0o600))
			original, err := filepath.Abs(m.file)
			require.NoError(t, err)
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: broken}})
			require.NoError(t, err)
			list := filepath.Join(folder, "overlay.json")
			require.NoError(t, os.WriteFile(list, overlay, 0o600))

			out, err := exec.CommandContext(t.Context(), "go", "test", "-overlay", list, "-vet=off", "-failfast", "-run", "^TestModel$", ".").CombinedOutput()
			require.Error(t, err, "the model found nothing")
			assert.Contains(t, string(out), "Error Trace", "it was built, and ran")
			t.Log(string(out))
			assert.Contains(t, string(out), m.finds)
		})
	}
}
