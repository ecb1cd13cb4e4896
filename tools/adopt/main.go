// Command adopt takes a full Pieces OpenAPI document, cuts it to the contract,
// makes the Go code anew, tests it, and reports what that means to users.
//
//	adopt [-module folder] [-force] document
//	adopt [-module folder] -since revision
//
// The second form changes nothing: it reports what the working tree changes
// against a revision.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

const (
	documentFile = "openapi.yaml"
	overlayFile  = "api/overlay.yaml"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	a := adoption{out: os.Stdout, test: []string{"./..."}}
	flag.StringVar(&a.module, "module", "..", "`folder` of the library")
	flag.BoolVar(&a.force, "force", false, "take the files over although the overlay doesn't fit or the tests fail")
	flag.BoolVar(&a.dry, "n", false, "report, and change nothing")
	since := flag.String("since", "\x00", "report what the working tree changes against a `revision`")
	flag.Parse()

	var err error
	if *since != "\x00" && flag.NArg() == 0 {
		err = a.report(ctx, *since)
	} else if flag.NArg() == 1 {
		err = a.adopt(ctx, flag.Arg(0))
	} else {
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nadopt: %v\n", err)
		os.Exit(1)
	}
}

type adoption struct {
	module     string
	force, dry bool
	test       []string // what go test is to test
	out        io.Writer
}

func (a *adoption) adopt(ctx context.Context, path string) error {
	if err := a.absolute(); err != nil {
		return err
	}
	current, err := load(filepath.Join(a.module, documentFile))
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	u, err := updateOf(ctx, current, data)
	if err != nil {
		return unchanged("%s: %w", path, err)
	}
	merged := u.merged
	fmt.Fprintf(a.out, "# Adopting %s\n\nOpenAPI %s, %d lines.\n", filepath.Base(path), u.version, strings.Count(string(data), "\n"))
	for _, note := range u.notes {
		fmt.Fprintln(a.out, note)
	}
	list(a.out, "Contract", u.contract, "Nothing changed.")

	overlay, err := lay(filepath.Join(a.module, overlayFile), current, merged)
	if err != nil {
		return unchanged("%w", err)
	}
	list(a.out, "Overlay", append(overlay.misfit, overlay.notes...), "Every action fits.")
	laid, err := lay(filepath.Join(a.module, overlayFile), current, current)
	if err != nil {
		return unchanged("%w", err)
	}
	was, is := factsOf(laid.root), factsOf(overlay.root)
	if len(overlay.misfit) == 0 {
		list(a.out, "Contract with its overlay", compare(was, is), "Nothing changed.")
	}

	tmp, err := os.MkdirTemp("", "adopt-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := copyModule(a.module, tmp); err != nil {
		return err
	}
	// A document that says the same stays as it is, byte for byte.
	if !same(current, merged) {
		formatted, err := format(merged)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tmp, documentFile), formatted, 0o600); err != nil {
			return err
		}
	}
	if len(overlay.misfit) > 0 {
		return a.stop(tmp, "%d of the overlay's actions no longer fit the document: see Overlay above, and mend api/overlay.yaml", len(overlay.misfit))
	}

	if out, err := command(ctx, tmp, "go", "generate", "./..."); err != nil {
		list(a.out, "Go", complaints(out), "")
		return a.stop(tmp, "the generator refuses the document: see Go above")
	}
	files, err := changed(a.module, tmp)
	if err != nil {
		return err
	}

	// The Go API can be compared where the code compiles.
	if out, err := command(ctx, tmp, "go", "build", "./..."); err != nil {
		list(a.out, "Go", complaints(out), "")
		return a.stop(tmp, "hand-written code uses what the document no longer gives: see Go and Contract above")
	}
	diff, err := compareGo(ctx, a.module, a.module, tmp)
	if err != nil {
		return unchanged("the Go API cannot be compared: %w", err)
	}
	a.printGo(diff)

	tests := "Not run: no file changes."
	var failed error
	if len(files) > 0 {
		tests = "All pass."
		if out, err := command(ctx, tmp, "go", append([]string{"test"}, a.test...)...); err != nil {
			failed = err
			list(a.out, "Tests", complaints(out), "")
		}
	}
	if failed == nil {
		list(a.out, "Tests", nil, tests)
	}

	var todo []string
	for _, place := range u.unworded {
		todo = append(todo, place+" is new and wants a description.")
	}
	for _, place := range u.dropped {
		todo = append(todo, "The example of "+place+" no longer fitted its schema and was dropped: write another.")
	}
	list(a.out, "Words", todo, "Nothing is left to write.")
	list(a.out, "Version", nil, "What has to rise: "+diff.bump(demands(was, is), compiled(files))+".")
	if failed != nil {
		return a.stop(tmp, "the tests fail with this document: see Tests above; Contract says what changed under them")
	}

	switch {
	case len(files) == 0:
		fmt.Fprintln(a.out, "\nNothing changed: the files say what this document says.")
		return nil
	case a.dry:
		fmt.Fprintln(a.out, "\nNothing was changed, as was asked for. Would change:", strings.Join(files, ", "))
		return nil
	}
	if err := moveIn(a.module, tmp, files); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "\nChanged:", strings.Join(files, ", "))
	return nil
}

// update is what a full document makes of the current one.
type update struct {
	version  string     // of OpenAPI
	merged   *yaml.Node // the current document with its facts
	notes    []string   // of reading it
	contract []string   // what changed
	unworded []string   // places that want a description
	dropped  []string   // places whose example no longer fits
}

func updateOf(ctx context.Context, current *yaml.Node, data []byte) (*update, error) {
	full, notes, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	u := &update{version: text(get(full, "openapi"))}
	root, cutNotes, err := cut(full)
	if err != nil {
		return nil, err
	}
	lowered, err := simplify(root, strings.HasPrefix(u.version, "3.1"))
	if err != nil {
		return nil, err
	}
	u.notes = slices.Concat(notes, cutNotes, lowered)
	says := factsOf(root)
	var m merger
	u.merged = m.document(current, root)
	u.unworded = m.unworded
	if u.dropped, err = dropExamples(ctx, u.merged); err != nil {
		return nil, fmt.Errorf("cut to the contract, it is not valid: %w", err)
	}

	u.contract = compare(factsOf(current), factsOf(u.merged))
	equal := same(current, u.merged)
	if lost := compare(says, factsOf(u.merged)); len(lost) > 0 || len(u.contract) > 0 && equal {
		return nil, fmt.Errorf("the merge lost something, which is a mistake in tools/adopt: %s", strings.Join(append(lost, u.contract...), "; "))
	}
	if was, is := text(get(current, "info", "version")), text(get(u.merged, "info", "version")); was != is {
		u.contract = append(u.contract, fmt.Sprintf("version of the document: %s now, was %s", is, was))
	}
	if len(u.contract) == 0 && !equal {
		u.contract = []string{"something that this report has no words for: see the diff of " + documentFile}
	}
	return u, nil
}

// stop ends an adoption that doesn't work out; by force, what there is of it
// is taken over nonetheless.
func (a *adoption) stop(tmp, format string, args ...any) error {
	if !a.force {
		return unchanged(format+". To mend it in place, take the files over all the same with FORCE=1", args...)
	}
	files, err := changed(a.module, tmp)
	if err != nil {
		return err
	}
	if err := moveIn(a.module, tmp, files); err != nil {
		return err
	}
	return fmt.Errorf("taken over by force (%s), although "+format, slices.Insert(args, 0, any(strings.Join(files, ", ")))...)
}

func unchanged(format string, args ...any) error {
	return fmt.Errorf("nothing was changed: "+format, args...)
}

func (a *adoption) absolute() (err error) {
	a.module, err = filepath.Abs(a.module)
	return err
}

func load(path string) (*yaml.Node, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	root, _, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return root, nil
}

func (a *adoption) printGo(d *goAPI) {
	var lines []string
	for _, l := range d.incompatible {
		lines = append(lines, "breaking: "+l)
	}
	for _, l := range d.compatible {
		lines = append(lines, "compatible: "+l)
	}
	list(a.out, "Go API", lines, "Nothing changed.")
}

// report compares the working tree with a revision.
func (a *adoption) report(ctx context.Context, revision string) error {
	if err := a.absolute(); err != nil {
		return err
	}
	if revision == "" {
		fmt.Fprintln(a.out, "No tag and no origin/main: there is nothing to compare with.")
		return nil
	}
	tmp, err := os.MkdirTemp("", "adopt-base-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	archive := filepath.Join(tmp, "base.tar")
	base := filepath.Join(tmp, "base")
	if err := os.Mkdir(base, 0o750); err != nil {
		return err
	}
	if out, err := command(ctx, a.module, "git", "archive", "-o", archive, revision); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if out, err := command(ctx, base, "tar", "-xf", archive); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(base, documentFile)); err != nil {
		fmt.Fprintf(a.out, "%s has no %s yet: there is nothing to compare with.\n", revision, documentFile)
		return nil
	}

	fmt.Fprintf(a.out, "# The working tree against %s\n", revision)
	was, err := load(filepath.Join(base, documentFile))
	if err != nil {
		return err
	}
	is, err := load(filepath.Join(a.module, documentFile))
	if err != nil {
		return err
	}
	list(a.out, "Contract", compare(factsOf(was), factsOf(is)), "Nothing changed.")

	before, err := lay(filepath.Join(base, overlayFile), was, was)
	if err != nil {
		return err
	}
	after, err := lay(filepath.Join(a.module, overlayFile), was, is)
	if err != nil {
		return err
	}
	old, now := factsOf(before.root), factsOf(after.root)
	list(a.out, "Contract with its overlay", compare(old, now), "Nothing changed.")
	list(a.out, "Overlay", append(after.misfit, after.notes...), "Every action fits.")
	if len(after.misfit) > 0 {
		return fmt.Errorf("%d of the overlay's actions do not fit the document", len(after.misfit))
	}

	diff, err := compareGo(ctx, a.module, base, a.module)
	if err != nil {
		return err
	}
	a.printGo(diff)
	files, err := changedSince(ctx, a.module, revision)
	if err != nil {
		return err
	}
	list(a.out, "Version", nil, "What has to rise: "+diff.bump(demands(old, now), compiled(files))+".")
	return nil
}

// changedSince lists the files that differ from a revision, new ones included.
func changedSince(ctx context.Context, module, revision string) ([]string, error) {
	var files []string
	for _, args := range [][]string{
		{"diff", "--name-only", "--no-renames", "--relative", revision},
		{"ls-files", "--others", "--exclude-standard"},
	} {
		out, err := command(ctx, module, "git", args...)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
		files = append(files, strings.Fields(out)...)
	}
	return files, nil
}
