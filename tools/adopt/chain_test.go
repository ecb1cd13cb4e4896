package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// pieces makes a document the way Pieces publishes them: our four operations
// among three hundred, in words and an order that aren't ours, with tabs in
// its text. change bends the part that is ours first.
func pieces(t *testing.T, change func(doc *yaml.Node)) string {
	t.Helper()
	doc, err := load(filepath.Join(library, documentFile))
	require.NoError(t, err)
	foreign(doc, object)
	if change != nil {
		change(doc)
	}
	set(doc, "security", sequence(mapping(scalar("application"), sequence())))
	set(get(doc, "components", "securitySchemes"), "application", fromText("{type: apiKey, in: header, name: X-Application-ID}"))
	return surround(t, doc)
}

// surround puts a document among hundreds of operations and schemas, in the way
// that the published documents have them.
func surround(t *testing.T, doc *yaml.Node) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "openapi: %s\n", text(get(doc, "openapi")))
	part := func(key string, indent int) string {
		data, err := yaml.Marshal(get(doc, strings.Split(key, "/")...))
		require.NoError(t, err)
		pad := strings.Repeat(" ", indent)
		return pad + strings.ReplaceAll(strings.TrimSuffix(string(data), "\n"), "\n", "\n"+pad) + "\n"
	}
	fmt.Fprintf(&b, "info:\n%s", part("info", 2))
	if get(doc, "security") != nil {
		fmt.Fprintf(&b, "security:\n%s", part("security", 2))
	}
	b.WriteString("paths:\n")
	for i := range 296 {
		if i == 100 {
			b.WriteString(part("paths", 2))
		}
		fmt.Fprintf(&b, "  /things/%d/{thing}:\n    parameters:\n      - {name: thing, in: path, required: true, schema: {type: string}}\n", i)
		fmt.Fprintf(&b, "    post:\n      operationId: things-%d\n      tags: [Things%d]\n      x-internal: {deep: [1, 2]}\n", i, i%20)
		fmt.Fprintf(&b, "      description: \"Makes a thing.\n\tIts seed\tgoes in,\n\n  \tthe thing \\\t comes out: number %d.\"\n", i)
		b.WriteString("      parameters:\n")
		for p := range 5 {
			fmt.Fprintf(&b, "        - name: option_%d\n          in: query\n          required: false\n          description: 'An option,\n\tof several'\n          schema:\n            type: string\n", p)
		}
		fmt.Fprintf(&b, "      requestBody:\n        content:\n          application/json:\n            schema:\n              $ref: '#/components/schemas/Thing%d'\n", i)
		fmt.Fprintf(&b, "      responses:\n        '200':\n          description: OK\n          content:\n            application/json:\n              schema:\n                $ref: '#/components/schemas/Thing%d'\n", (i+1)%300)
	}
	fmt.Fprintf(&b, "servers:\n%s", part("servers", 2))
	b.WriteString("components:\n  securitySchemes:\n")
	b.WriteString(part("components/securitySchemes", 4) + "  schemas:\n")
	for i := range 300 {
		if i == 200 {
			b.WriteString(part("components/schemas", 4))
		}
		fmt.Fprintf(&b, "    Thing%d:\n      type: object\n      description: \"A\tthing\"\n      required:\n        - id\n      properties:\n", i)
		fmt.Fprintf(&b, "        next:\n          $ref: '#/components/schemas/Thing%d'\n", (i+7)%300)
		for p := range 7 {
			fmt.Fprintf(&b, "        value_%d:\n          type: string\n          description: \"Value\n\t%d\"\n          example: a\tb\n", p, p)
		}
		b.WriteString("        id:\n          type: string\n")
	}
	path := filepath.Join(t.TempDir(), "pieces.yaml")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	assert.Greater(t, strings.Count(b.String(), "\n"), 18_000)
	return path
}

// foreign turns every order around and puts other words in.
func foreign(n *yaml.Node, kind int) {
	n.HeadComment, n.LineComment, n.FootComment, n.Style = "", "", "", 0
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.Content[i].Value; kind == object && (k == "description" || k == "summary") {
				n.Content[i+1] = scalar("Somebody else's\twords")
			}
		}
		pairs := slices.Collect(slices.Chunk(n.Content, 2))
		slices.Reverse(pairs)
		n.Content = slices.Concat(pairs...)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i].Value
			foreign(n.Content[i+1], below(kind, k))
			if kind == object && slices.Contains([]string{"required", "enum", "parameters"}, k) {
				slices.Reverse(n.Content[i+1].Content)
			}
		}
		return
	}
	for _, c := range n.Content {
		foreign(c, object)
	}
}

// TestChain adopts editions as Pieces published them, one after the other and
// each alone: without and with a security for all, and the latest once more.
func TestChain(t *testing.T) {
	text := edition(t)
	older := tree(t, text)
	remove(older, "security")
	remove(get(older, "components", "securitySchemes"), "application")
	newer := tree(t, text)
	ours, err := os.ReadFile(filepath.Join(library, documentFile))
	require.NoError(t, err)
	paths := []string{surround(t, older), surround(t, newer), surround(t, newer)}
	chain := copyLibrary(t)
	for i, path := range paths {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		was, err := os.ReadFile(filepath.Join(chain, documentFile))
		require.NoError(t, err)
		for module, before := range map[string][]byte{chain: was, copyLibrary(t): ours} {
			var out bytes.Buffer
			a := adoption{module: module, test: sent, out: &out}
			require.NoError(t, a.adopt(t.Context(), path), out.String())
			_, lines, _ := strings.Cut(out.String(), "## Contract\n\n")
			lines, _, _ = strings.Cut(lines, "\n\n")
			lines = strings.TrimPrefix(strings.ReplaceAll(lines, "\n- ", "\n"), "- ")
			if i == 2 && module == chain {
				assert.Equal(t, "Nothing changed.", lines)
				assert.Contains(t, out.String(), "Nothing changed: the files say what this document says.")
				continue
			}
			assert.Equal(t, differences(observe(t, before), observe(t, data)), reported(strings.Split(lines, "\n")), lines)
			assert.Equal(t, i > 0, strings.Contains(out.String(), "exchange-for-auth0-token: the endpoint no longer allows anonymous access"))
			assert.Equal(t, i > 0, strings.Contains(out.String(), "What has to rise: major"))
		}
	}
}

// TestPublished holds the report to the independent comparison on documents as
// they were published, which are nobody's to copy into this repository: one
// after the other and each alone, as ADOPT_EDITIONS=first.yaml:second.yaml says.
func TestPublished(t *testing.T) {
	paths := filepath.SplitList(os.Getenv("ADOPT_EDITIONS"))
	if len(paths) == 0 {
		t.Skip("ADOPT_EDITIONS names no documents")
	}
	ours, err := os.ReadFile(filepath.Join(library, documentFile))
	require.NoError(t, err)
	chain := ours
	for _, path := range paths {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		for name, before := range map[string][]byte{"alone": ours, "in the chain": chain} {
			t.Run(filepath.Base(path)+" "+name, func(t *testing.T) {
				current := tree(t, string(before))
				u, err := updateOf(t.Context(), current, data)
				require.NoError(t, err)
				lines := changes(current, u.merged)
				t.Log(strings.Join(lines, "\n"))
				assert.Equal(t, differences(observe(t, before), observe(t, data)), reported(lines))
				f, err := lay(filepath.Join(library, overlayFile), current, u.merged)
				require.NoError(t, err)
				assert.Empty(t, f.misfit)
				if name == "in the chain" {
					chain, err = format(u.merged)
					require.NoError(t, err)
				}
			})
		}
	}
}
