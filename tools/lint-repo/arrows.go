package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

const library = "github.com/piecesauth/piecesauth"

// arrowRow is a row of the table of CONTRIBUTING: packages, and those of the
// library that they may import.
var arrowRow = regexp.MustCompile("(?m)^\\| ((?:`[\\w./*-]+`(?:, )?)+) \\|([^|]*)\\|$")

// inCode is a name in a cell.
var inCode = regexp.MustCompile("`([^`]+)`")

// arrows returns the imports that the table of CONTRIBUTING has no room for.
// Tests may import what they like.
func (t *tree) arrows(ctx context.Context, folder string) ([]string, error) {
	table, err := t.arrowTable()
	if err != nil {
		return nil, err
	}
	imports, err := t.imports(ctx, folder)
	if err != nil {
		return nil, err
	}
	return forbidden(table, imports), nil
}

// arrow is what packages of a name may import.
type arrow struct {
	from string
	to   []string
}

func (t *tree) arrowTable() ([]arrow, error) {
	source, err := fs.ReadFile(t, contributing)
	if err != nil {
		return nil, err
	}
	_, source, ok := bytes.Cut(source, []byte("| package | may import from this repository |"))
	if !ok {
		return nil, fmt.Errorf("%s has no table of what packages may import", contributing)
	}
	source, _, _ = bytes.Cut(source, []byte("\n\n"))
	var table []arrow
	for _, row := range arrowRow.FindAllSubmatch(source, -1) {
		var to []string
		for _, name := range inCode.FindAllSubmatch(row[2], -1) {
			to = append(to, string(name[1]))
		}
		for _, name := range inCode.FindAllSubmatch(row[1], -1) {
			table = append(table, arrow{string(name[1]), to})
		}
	}
	return table, nil
}

// imports returns what each package of the library imports of the library, by
// their paths below its root.
func (t *tree) imports(ctx context.Context, folder string) (map[string][]string, error) {
	imports := map[string][]string{}
	for _, module := range t.folders("go.mod") {
		if slices.Contains(pins(), module) {
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
		cmd.Dir = path.Join(folder, module)
		cmd.Env = append(os.Environ(), "GOWORK=off")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go list in %s: %w", module, err)
		}
		for line := range strings.Lines(string(out)) {
			words := strings.Fields(line)
			from := below(words[0])
			imports[from] = nil
			for _, imported := range words[1:] {
				if imported == library || strings.HasPrefix(imported, library+"/") {
					imports[from] = append(imports[from], below(imported))
				}
			}
		}
	}
	return imports, nil
}

// below returns a package's path below the library's root, and "root" for that.
func below(path string) string {
	if path == library {
		return "root"
	}
	return strings.TrimPrefix(path, library+"/")
}

func forbidden(table []arrow, imports map[string][]string) []string {
	var problems []string
	for from, imported := range imports {
		i := slices.IndexFunc(table, func(a arrow) bool { return covers(a.from, from) })
		if i < 0 {
			problems = append(problems, fmt.Sprintf("%s: the table of %s doesn't say what it may import", from, contributing))
			continue
		}
		for _, to := range imported {
			if !slices.ContainsFunc(table[i].to, func(allowed string) bool { return covers(allowed, to) }) {
				problems = append(problems, fmt.Sprintf("%s imports %s, which the table of %s doesn't let it", from, to, contributing))
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// covers reports whether a name of the table, which may end in /*, is for a package.
func covers(name, pkg string) bool {
	if prefix, ok := strings.CutSuffix(name, "*"); ok {
		return strings.HasPrefix(pkg, prefix)
	}
	return name == pkg
}
