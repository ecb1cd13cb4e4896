package main

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// treeOf is a repository of the files given, and of a page, so that it is one.
func treeOf(t *testing.T, files map[string]string) *tree {
	fsys := fstest.MapFS{"README.md": &fstest.MapFile{Data: []byte("# Title\n")}}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	read, err := read(fsys)
	require.NoError(t, err)
	return read
}

func TestRepository(t *testing.T) {
	problems, err := check(t.Context(), "../..")
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestReadElsewhere(t *testing.T) {
	_, err := read(fstest.MapFS{"node_modules/a/README.md": &fstest.MapFile{}})
	assert.ErrorContains(t, err, "no page")
}

func TestLinks(t *testing.T) {
	for name, test := range map[string]struct{ page, want string }{
		"another page":          {"[a](../README.md)", ""},
		"a folder":              {"[a](../docs)", ""},
		"the root":              {"[a](..)", ""},
		"a heading":             {"[a](../README.md#title)", ""},
		"a heading of its own":  {"# A `b`, and c\n\n[a](#a-b-and-c)", ""},
		"a repeated heading":    {"# A\n\n# A\n\n[a](#a-1)", ""},
		"an address":            {"[a](https://example.com/nowhere)", ""},
		"in code":               {"`[a](nowhere.md)`", ""},
		"no file":               {"\n\n[a](nowhere.md)", "docs/page.md:3: nowhere.md: no such file"},
		"no heading":            {"[a](../README.md#titel)", "docs/page.md:1: ../README.md#titel: no such heading"},
		"no heading of its own": {"[a](#b)", "docs/page.md:1: #b: no such heading"},
		"in a table":            {"| a |\n|---|\n| [a](b.md) |", "docs/page.md:3: b.md: no such file"},
		"an image":              {"![a](b.png)", "docs/page.md:1: b.png: no such file"},
		"from the host's root":  {"[a](/README.md)", "docs/page.md:1: /README.md: begins with a slash, which leads elsewhere on each host"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, test.want, treeOf(t, map[string]string{"docs/page.md": test.page}).links())
		})
	}
}

func TestClaims(t *testing.T) {
	files := map[string]string{
		"Makefile":             "test: ## Run\nlint-repo:\n",
		"root_test.go":         "func TestRoot(t *testing.T) {\n\tt.Run(\"the first case\", nil)\n}\nfunc BenchmarkRoot(b *testing.B) {}\n",
		"web/web_test.go":      "func TestWeb(t *testing.T) {\n}\nfunc ExampleNew() {}\n",
		"internal/a/x.go":      "",
		"internal/a/a_test.go": "func TestInternal(t *testing.T) {}\nfunc FuzzInternal(f *testing.F) {}\n",
	}
	for name, test := range map[string]struct{ page, want string }{
		"there":                 {"`TestRoot`, `web.TestWeb`, `internal/a.FuzzInternal`, `BenchmarkRoot`, `ExampleNew`", ""},
		"gone":                  {"\n`TestRoots`", "page.md:2: TestRoots: no such test"},
		"a benchmark":           {"`BenchmarkRoots`", "page.md:1: BenchmarkRoots: no such test"},
		"an example":            {"`ExampleOld`", "page.md:1: ExampleOld: no such test"},
		"in a table":            {"| a |\n|---|\n| `TestRoots` |", "page.md:3: TestRoots: no such test"},
		"another package's":     {"`web.TestRoot`", "page.md:1: web.TestRoot: no such test of web"},
		"a case":                {"`TestRoot/the_first_case`", ""},
		"no case":               {"`TestRoot/the_second_case`", `page.md:1: TestRoot/the_second_case: no case "the_second_case"`},
		"a quoted case":         {"`TestRoot` \"the first…\", `TestWeb`", ""},
		"no quoted case":        {"`TestRoot` \"the last…\"", `page.md:1: TestRoot: no case "the last"`},
		"by package":            {"All tests are of package web. `TestWeb`", ""},
		"not of that package":   {"All tests are of package `web`: `TestRoot`", "page.md:1: TestRoot: no such test of web"},
		"but for one":           {"All tests are of package web, but for `a.TestInternal`: `TestWeb`", ""},
		"part of a part":        {"# A\n\nTests of the root package.\n\n## B\n\n`TestWeb`", "page.md:7: TestWeb: no such test of ."},
		"another part":          {"# A\n\nTests of the root package.\n\n# B\n\n`TestWeb`", ""},
		"several packages":      {"Tests of the package itself, and of `internal`.\n`TestRoot`, `TestInternal`", ""},
		"a file":                {"`internal/a/x.go`, `x.go`, `./root_test.go`", ""},
		"no file":               {"`internal/x.go`", "page.md:1: internal/x.go: no such file"},
		"targets":               {"`make test lint-repo A=b`\n\n    make test\n", ""},
		"no target":             {"`make tests`", "page.md:1: make tests: no such target"},
		"run":                   {"`go test -run TestRoot/the_first_case .`", ""},
		"no such run":           {"`go test -run TestRoots .`", "page.md:1: TestRoots: no such test"},
		"no target, in a block": {"```sh\ngo run .\nmake tests   # all\n```", "page.md:2: make tests: no such target"},
		"a word":                {"`Test`, `text/html`, `make`", ""},
	} {
		t.Run(name, func(t *testing.T) {
			files["page.md"] = test.page
			expect(t, test.want, treeOf(t, files).claims())
		})
	}
}

func TestFigures(t *testing.T) {
	for name, test := range map[string]struct{ page, want string }{
		"none":              {"It takes 30 seconds.", ""},
		"with a test":       {"It takes 0.4× as long, by `BenchmarkA`.", ""},
		"with a target":     {"It takes 4 µs. `make bench` measures it.", ""},
		"in the part above": {"# A\n\n`make bench`\n\n## B\n\n4 µs", ""},
		"alone":             {"\n\nIt takes 0.4× as long.", "page.md:3: a figure (4×)"},
		"of another part":   {"# A\n\n`make bench`\n\n# B\n\n18 allocations", "page.md:7: a figure (8 allocations)"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, test.want, treeOf(t, map[string]string{"page.md": test.page}).figures())
		})
	}
}

func TestSizes(t *testing.T) {
	long := strings.Repeat("\n", 801)
	expect(t, "a/long.go has more than 800 lines", treeOf(t, map[string]string{"a/long.go": long, "a/x_gen.go": long, "a/fit.go": long[1:]}).sizes())
}

func TestDependabot(t *testing.T) {
	const settings = "updates:\n" +
		"  - {package-ecosystem: gomod, directories: [/, /a]}\n" +
		"  - {package-ecosystem: gomod, directory: /b}\n" +
		"  - {package-ecosystem: npm, directory: /c}\n"
	for name, test := range map[string]struct {
		files []string
		want  string
	}{
		"all":           {[]string{"go.mod", "a/go.mod", "b/go.mod", "c/package.json"}, ""},
		"a module more": {[]string{"go.mod", "a/go.mod", "b/go.mod", "c/package.json", "a/d/go.mod"}, ".github/dependabot.yml: go.mod of a/d is not listed"},
		"npm":           {[]string{"go.mod", "a/go.mod", "b/go.mod", "c/package.json", "d/package.json"}, ".github/dependabot.yml: package.json of d is not listed"},
		"a module less": {[]string{"go.mod", "a/go.mod", "c/package.json"}, ".github/dependabot.yml: b has no go.mod"},
		"installed":     {[]string{"go.mod", "a/go.mod", "b/go.mod", "c/package.json", "c/node_modules/x/package.json"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{".github/dependabot.yml": settings}
			for _, file := range test.files {
				files[file] = ""
			}
			problems, err := treeOf(t, files).dependabot()
			require.NoError(t, err)
			expect(t, test.want, problems)
		})
	}
}

func TestWorkspace(t *testing.T) {
	for name, test := range map[string]struct{ work, want string }{
		"all":           {"go 1.26.0\n\nuse (\n\t.\n\t./a\n\t./b/c\n)\n", ""},
		"a module less": {"use (\n\t.\n\t./b/c\n)\n", "go.work: a is not used"},
		"a module more": {"use (\n\t.\n\t./a\n\t./b\n\t./b/c\n)\n", "go.work: b is no module"},
	} {
		t.Run(name, func(t *testing.T) {
			problems, err := treeOf(t, map[string]string{"go.work": test.work, "go.mod": "", "a/go.mod": "", "b/c/go.mod": "", "tools/lint/go.mod": ""}).workspace()
			require.NoError(t, err)
			expect(t, test.want, problems)
		})
	}
}

func TestReleases(t *testing.T) {
	right := map[string]string{
		"go.mod": "module m\n\ngo 1.26.0\n", "a/go.mod": "module m/a\n\ngo 1.26.0\n", "go.work": "go 1.26.0\n", "README.md": "`go get`, with Go 1.26 or later.",
		"tools/weight/main.go":                  `mod := "module example.com/weight\n\ngo 1.26.0\n"`,
		".github/workflows/ci.yml":              "go-version: \"1.26\"\ngo: [\"1.26\", \"1.27\"]\n",
		".github/workflows/vulnerabilities.yml": "go-version: \"1.26\"\n",
	}
	for name, test := range map[string]struct{ file, old, new, want string }{
		"the same":          {"go.mod", "", "", ""},
		"another module":    {"a/go.mod", "1.26.0", "1.26.1", "a/go.mod: Go 1.26.1, and go.mod has 1.26.0"},
		"the workspace":     {"go.work", "1.26", "1.25", "go.work: Go 1.25.0"},
		"the README":        {"README.md", "1.26", "1.2", "README.md: Go 1.2,"},
		"unnamed":           {"README.md", "or later", "", "README.md: names no Go release"},
		"what is weighed":   {"tools/weight/main.go", "1.26", "1.27", "tools/weight/main.go: Go 1.27.0"},
		"a step":            {".github/workflows/ci.yml", "n: \"1.26", "n: \"1.27", "ci.yml: Go 1.27"},
		"the matrix":        {".github/workflows/ci.yml", "[\"1.26\", ", "[", "ci.yml: Go 1.27"},
		"the weekly search": {".github/workflows/vulnerabilities.yml", "1.26", "1.25", "vulnerabilities.yml: Go 1.25"},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(right)
			files[test.file] = strings.Replace(files[test.file], test.old, test.new, 1)
			problems, err := treeOf(t, files).releases()
			require.NoError(t, err)
			expect(t, test.want, problems)
		})
	}
}

func TestWorkflows(t *testing.T) {
	const head = "on: push\n\npermissions:\n  contents: read\n\njobs:\n"
	commit := strings.Repeat("0123456789", 4)
	for name, test := range map[string]struct{ text, want string }{
		"pinned":           {head + "      - uses: actions/checkout@" + commit + " # v7.0.1\n", ""},
		"by tag":           {head + "      - uses: actions/checkout@v7\n", ".github/workflows/ci.yml: not pinned"},
		"without version":  {head + "      - uses: actions/checkout@" + commit + "\n", ".github/workflows/ci.yml: not pinned"},
		"by a part":        {head + "      - uses: actions/checkout@" + commit[:8] + " # v7.0.1\n", ".github/workflows/ci.yml: not pinned"},
		"no permissions":   {"on: push\n", ".github/workflows/ci.yml: its permissions"},
		"more permissions": {head + "  a:\n    permissions:\n      contents: write\n", ".github/workflows/ci.yml: its permissions"},
	} {
		t.Run(name, func(t *testing.T) {
			problems, err := treeOf(t, map[string]string{".github/workflows/ci.yml": test.text}).workflows()
			require.NoError(t, err)
			expect(t, test.want, problems)
		})
	}
}

func TestArrows(t *testing.T) {
	table, err := treeOf(t, map[string]string{contributing: "| package | may import from this repository |\n|---|---|\n" +
		"| `root` | `internal/*` |\n| `internal/*`, `seal` | |\n| `web` | `root`, `seal` |\n\n| `loopback` | `web` |\n"}).arrowTable()
	require.NoError(t, err)
	for name, test := range map[string]struct {
		from, to, want string
	}{
		"allowed":      {"web", "root", ""},
		"by folder":    {"root", "internal/a/b", ""},
		"not allowed":  {"web", "loopback", "web imports loopback"},
		"nothing":      {"seal", "root", "seal imports root"},
		"upwards":      {"internal/a", "root", "internal/a imports root"},
		"not in there": {"loopback", "root", "loopback: the table"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, test.want, forbidden(table, map[string][]string{test.from: {test.to}}))
		})
	}
}

// expect wants one problem that contains the text, or none if that is empty.
func expect(t *testing.T, want string, problems []string) {
	t.Helper()
	if want == "" {
		assert.Empty(t, problems)
		return
	}
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0], want)
}
