package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	// With its package before it and its case behind it, or not.
	testName = regexp.MustCompile(`^(?:([\w/]+)\.)?((?:Test|Fuzz|Benchmark|Example)[A-Z]\w*)(?:/(.+))?$`)
	declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	runOf    = regexp.MustCompile(`-run[ =]'?((?:Test|Fuzz|Example)[A-Z][\w/-]*)`)
	fileName = regexp.MustCompile(`^[\w./-]*\w\.(go|sh|md|ya?ml|mjs)$`)
	makeLine = regexp.MustCompile(`(?m)^\s*make((?: [\w.=-]+)+)`)
	target   = regexp.MustCompile(`(?m)^([\w-]+):`)
	// Which package the names in a part of a page are of.
	scopeOf = regexp.MustCompile(`(?i)\btests\s+(?:are\s+)?of\s+(?:the\s+)?((?:package|root)[^.:]*)`)
	quoted  = regexp.MustCompile(`"([^"]+)"`)
	// Files that a page tells readers to make, or that Go or Pieces name.
	theirs = regexp.MustCompile(`^(pieces-openapi\.yaml|path/to/.*)$`)
)

// claims returns what pages name that isn't there: tests and their cases,
// files, and make targets.
func (t *tree) claims() []string {
	tests := t.tests()
	var problems []string
	for _, p := range t.pages {
		report := func(m mark, format string, args ...any) {
			problems = append(problems, p.place(m.at)+": "+fmt.Sprintf(format, args...))
		}
		for _, span := range p.spans {
			if match := testName.FindStringSubmatch(span.text); match != nil {
				if problem := tests.missing(match, p.scope(span.at), p.behind(span)); problem != "" {
					report(span, "%s: %s", span.text, problem)
				}
			}
			if fileName.MatchString(span.text) && !t.named(p, span.text) {
				report(span, "%s: no such file", span.text)
			}
		}
		for _, m := range slices.Concat(p.spans, p.blocks) {
			for _, run := range runOf.FindAllStringSubmatch(m.text, -1) {
				if problem := tests.missing(testName.FindStringSubmatch(run[1]), nil, ""); problem != "" {
					report(m, "%s: %s", run[1], problem)
				}
			}
			for _, missing := range t.targets(m.text) {
				report(m, "make %s: no such target", missing)
			}
		}
	}
	return problems
}

// folder is what a package's tests are called, and their text.
type folder struct {
	names map[string]bool
	text  string
}

type packages map[string]*folder

func (t *tree) tests() packages {
	found := packages{}
	for _, name := range t.files {
		if path.Ext(name) != ".go" {
			continue
		}
		source, err := fs.ReadFile(t, name)
		if err != nil {
			continue // it was there when the tree was walked
		}
		dir := path.Dir(name)
		if found[dir] == nil {
			found[dir] = &folder{names: map[string]bool{}}
		}
		for _, match := range declared.FindAllSubmatch(source, -1) {
			found[dir].names[string(match[1])] = true
		}
		found[dir].text += string(source)
	}
	return found
}

// missing says what isn't there of a name, of the packages of its scope, or of
// any if that is nil.
func (p packages) missing(match, scope []string, behind string) string {
	qualifier, name, subtest := match[1], match[2], match[3]
	if qualifier != "" {
		scope = []string{qualifier}
	}
	var candidates []*folder
	for dir, f := range p {
		if f.names[name] && (scope == nil || slices.ContainsFunc(scope, func(pkg string) bool { return isPackage(dir, pkg) })) {
			candidates = append(candidates, f)
		}
	}
	if len(candidates) == 0 {
		if scope == nil {
			return "no such test"
		}
		return "no such test of " + strings.Join(scope, ", ")
	}
	var cases []string
	if subtest != "" {
		cases = strings.Split(subtest, "/")
	}
	for _, match := range quoted.FindAllStringSubmatch(behind, -1) {
		cases = append(cases, strings.Split(strings.ReplaceAll(match[1], ", ", "…"), "…")...)
	}
	for _, c := range cases {
		c = strings.TrimSpace(c)
		if !slices.ContainsFunc(candidates, func(f *folder) bool {
			return strings.Contains(f.text, c) || strings.Contains(f.text, strings.ReplaceAll(c, "_", " "))
		}) {
			return fmt.Sprintf("no case %q", c)
		}
	}
	return ""
}

// isPackage reports whether a folder is meant by a package's name, or is below
// "internal" if that is the name.
func isPackage(dir, pkg string) bool {
	if pkg == "internal" {
		return strings.HasPrefix(dir, "internal/")
	}
	return dir == pkg || path.Base(dir) == pkg
}

// scope returns the packages that the part of a page names, nearest first, or nil.
func (p *page) scope(at int) []string {
	for _, part := range p.above(at) {
		to := part.to
		if match := scopeOf.FindSubmatch(p.source[part.from:to]); match != nil {
			var packages []string
			sentence, _, _ := strings.Cut(string(match[1]), " but ")
			for _, word := range strings.FieldsFunc(sentence, func(r rune) bool { return strings.ContainsRune(" \n`,", r) }) {
				switch word {
				case "package", "packages", "and", "of", "the":
				case "root", "itself":
					packages = append(packages, ".")
				default:
					packages = append(packages, word)
				}
			}
			return packages
		}
	}
	return nil
}

// behind returns what stands behind a piece of code, up to the next or to the
// end of its cell.
func (p *page) behind(span mark) string {
	rest := p.source[span.at+len(span.text):]
	rest = rest[min(1, len(rest)):] // the mark that ends it
	if end := bytes.IndexAny(rest, "`|\n"); end >= 0 {
		rest = rest[:end]
	}
	return string(rest)
}

// named reports whether a page may name a file so: by its path from the page or
// from the root, or by the end of its path.
func (t *tree) named(p *page, name string) bool {
	name = strings.TrimPrefix(name, "./")
	return theirs.MatchString(name) || t.exists(path.Join(path.Dir(p.path), name)) ||
		slices.ContainsFunc(t.files, func(file string) bool { return file == name || strings.HasSuffix(file, "/"+name) })
}

// targets returns the targets of make in a text that the Makefile lacks.
func (t *tree) targets(text string) []string {
	makefile, err := fs.ReadFile(t, "Makefile")
	if err != nil {
		return nil
	}
	var known []string
	for _, match := range target.FindAllSubmatch(makefile, -1) {
		known = append(known, string(match[1]))
	}
	var missing []string
	for _, match := range makeLine.FindAllStringSubmatch(text, -1) {
		for _, word := range strings.Fields(match[1]) {
			if isTarget := !strings.Contains(word, "=") && !strings.HasPrefix(word, "-"); isTarget && !slices.Contains(known, word) {
				missing = append(missing, word)
			}
		}
	}
	return missing
}
