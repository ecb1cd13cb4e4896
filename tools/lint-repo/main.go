// Command lint-repo checks what the repository says of itself: that links on its
// pages lead somewhere, that the tests, benchmarks, files and make targets that
// they name are there, that each figure names what measures it, that packages
// import what CONTRIBUTING lets them, that all files name the same Go release, and
// that Dependabot, go.work and the workflows are set up as they should be. It
// reads files and go list, and reaches no network.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

const contributing = ".github/CONTRIBUTING.md"

func main() {
	module := flag.String("module", ".", "the repository's `folder`")
	flag.Parse()
	problems, err := check(context.Background(), *module)
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("problems: %d", len(problems))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint-repo:", err)
		os.Exit(1)
	}
}

func check(ctx context.Context, folder string) ([]string, error) {
	t, err := read(os.DirFS(folder))
	if err != nil {
		return nil, err
	}
	problems := slices.Concat(t.links(), t.claims(), t.figures(), t.sizes())
	for _, check := range []func() ([]string, error){
		t.dependabot,
		t.workspace,
		t.releases,
		t.workflows,
		func() ([]string, error) { return t.arrows(ctx, folder) },
	} {
		more, err := check()
		if err != nil {
			return nil, err
		}
		problems = append(problems, more...)
	}
	return problems, nil
}

// tree is the repository without what is installed or built.
type tree struct {
	fs.FS
	files []string
	pages []*page
}

func read(fsys fs.FS) (*tree, error) {
	t := &tree{FS: fsys}
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "node_modules", "artifacts", "testdata"}, entry.Name()):
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		t.files = append(t.files, name)
		if path.Ext(name) == ".md" {
			source, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			t.pages = append(t.pages, parse(name, source))
		}
		return nil
	})
	if err == nil && len(t.pages) == 0 {
		err = errors.New("no page is there: is this the repository's folder?")
	}
	return t, err
}

// sizes returns the Go files that are too long to be read, but for generated ones.
func (t *tree) sizes() []string {
	const most = 800
	var problems []string
	for _, name := range t.files {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_gen.go") {
			continue
		}
		if source, err := fs.ReadFile(t, name); err == nil && bytes.Count(source, []byte("\n")) > most {
			problems = append(problems, fmt.Sprintf("%s has more than %d lines", name, most))
		}
	}
	return problems
}

// exists reports whether a file or a folder of that name is there.
func (t *tree) exists(name string) bool {
	return name == "." || slices.ContainsFunc(t.files, func(file string) bool {
		return file == name || strings.HasPrefix(file, name+"/")
	})
}

// folders returns the folders that hold a file of that name.
func (t *tree) folders(name string) []string {
	var folders []string
	for _, file := range t.files {
		if path.Base(file) == name {
			folders = append(folders, path.Dir(file))
		}
	}
	return folders
}
