// Command adopt takes a full Pieces OpenAPI document, cuts it to the contract,
// regenerates the Go code, tests it, and reports what that means to users.
//
//	adopt [-module folder] [-force] [-n] [-test command] document
//	adopt [-module folder] -since revision
//
// The second form changes nothing: it reports what the working tree changes
// against a revision.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"gopkg.in/yaml.v3"
)

const (
	documentFile = "openapi.yaml"
	overlayFile  = "api/overlay.yaml"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	a := adoption{out: os.Stdout}
	flag.StringVar(&a.module, "module", "..", "`folder` of the library")
	flag.BoolVar(&a.force, "force", false, "take the files over although the overlay doesn't fit or the tests fail")
	flag.BoolVar(&a.dry, "n", false, "report, and change nothing")
	test := flag.String("test", "go test ./...", "the `command` that tests the library")
	since := flag.String("since", "\x00", "report what the working tree changes against a `revision`")
	moving := flag.String("move", "", "for adopt itself: move files in from this `folder`")
	flag.Parse()
	a.test = strings.Fields(*test)

	module, err := filepath.Abs(a.module)
	a.module = module
	switch {
	case err != nil:
	case *moving != "":
		err = moveIn(a.module, *moving, flag.Args())
	case *since != "\x00" && flag.NArg() == 0:
		err = a.report(ctx, *since)
	case flag.NArg() == 1:
		err = a.adopt(ctx, flag.Arg(0))
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nadopt: %v\n", err)
		stop()
		os.Exit(1)
	}
}

type adoption struct {
	module     string
	force, dry bool
	test       []string // the command that tests the library
	out        io.Writer
}

func (a *adoption) adopt(ctx context.Context, path string) error {
	err := a.try(ctx, path)
	if ctx.Err() != nil && err != nil && !errors.Is(err, errMoved) {
		return unchanged("it was interrupted")
	}
	return err
}

func (a *adoption) try(ctx context.Context, path string) error {
	if err := recoverMove(a.module); err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return unchanged("%w", err)
	}
	tmp, err := os.MkdirTemp("", "adopt-")
	if err != nil {
		return unchanged("%w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	before, after := filepath.Join(tmp, "before"), filepath.Join(tmp, "after")
	if err := copyModule(ctx, a.module, before); err != nil {
		return unchanged("%w", err)
	}
	if err := copyModule(ctx, before, after); err != nil {
		return unchanged("%w", err)
	}

	fresh, err := a.rewrite(ctx, before, after, path, data)
	if err != nil {
		return unchanged("%w", err)
	}
	d, err := a.contract(ctx, before, after)
	if err != nil {
		return unchanged("%w", err)
	}
	if d.misfits > 0 {
		return a.stop(ctx, tmp, "%d of the overlay's actions no longer fit the document: see Overlay above, and mend api/overlay.yaml", d.misfits)
	}
	if out, err := command(ctx, after, "go", "generate", "./..."); err != nil {
		return a.failed(ctx, tmp, "Go", out, "the generator refuses the document: see Go above")
	}
	files, err := generated(before, after)
	if err != nil {
		return unchanged("%w", err)
	}
	if out, err := command(ctx, after, "go", "build", "./..."); err != nil {
		if !compileError.MatchString(out) {
			return a.failed(ctx, tmp, "Go", out, "the Go command fails, and not for the code: see Go above")
		}
		return a.failed(ctx, tmp, "Go", out, "hand-written code uses what the document no longer has: see Go and Contract above")
	}
	api, err := a.compareGo(ctx, before, after)
	if err != nil {
		return unchanged("the Go API cannot be compared: %w", err)
	}
	tests, err := a.runTests(ctx, after, files)
	list(a.out, "Words", append(d.unworded, fresh...), "Nothing is left to write.")
	list(a.out, "Version", nil, "What has to rise: "+bump(api, d.breaking, compiled(files))+".")
	if err != nil {
		return a.failed(ctx, tmp, "Tests", tests, "the tests fail with this document: see Tests above; Contract says what changed under them")
	}
	return a.take(ctx, tmp, files)
}

// runTests runs the tests of the copy, if a file changes, and reports that they
// pass. It returns their output.
func (a *adoption) runTests(ctx context.Context, after string, files []string) (output string, err error) {
	if len(files) == 0 {
		list(a.out, "Tests", nil, "Not run: no file changes.")
		return "", nil
	}
	output, err = command(ctx, after, a.test[0], a.test[1:]...)
	if err == nil {
		list(a.out, "Tests", nil, "All pass.")
	}
	return output, err
}

// rewrite brings the facts of a full document into the copy that is to change,
// and returns what is left to write there.
func (a *adoption) rewrite(ctx context.Context, before, after, path string, data []byte) (todo []string, err error) {
	current, err := load(filepath.Join(before, documentFile))
	if err != nil {
		return nil, err
	}
	u, err := updateOf(ctx, current, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	fmt.Fprintf(a.out, "# Adopting %s\n\nOpenAPI %s, %d lines.\n", filepath.Base(path), u.version, strings.Count(string(data), "\n"))
	for _, note := range u.notes {
		fmt.Fprintln(a.out, note)
	}
	for _, place := range u.dropped {
		todo = append(todo, "The example of "+place+" no longer fitted its schema and was dropped: write another.")
	}
	if same(current, u.merged) { // it stays as it is, byte for byte
		return todo, nil
	}
	formatted, err := format(u.merged)
	if err != nil {
		return nil, err
	}
	return todo, os.WriteFile(filepath.Join(after, documentFile), formatted, 0o600)
}

// update is what a full document makes of the current one.
type update struct {
	version string     // of OpenAPI
	merged  *yaml.Node // the current document with its facts
	notes   []string   // of reading it
	dropped []string   // places whose example no longer fits
}

func updateOf(ctx context.Context, current *yaml.Node, data []byte) (*update, error) {
	full, notes, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	u := &update{version: text(get(full, "openapi"))}
	simplify(full)
	root, cutNotes, err := cut(full)
	if err != nil {
		return nil, err
	}
	if v := get(current, "openapi"); strings.HasPrefix(u.version, v.Value[:3]) { // 3.0.0 says what 3.0.3 says
		set(root, "openapi", v)
	}
	// What the document says of itself is ours too, but for its version.
	info := clone(get(current, "info"))
	if v := text(get(full, "info", "version")); v != "" && v != text(get(info, "version")) {
		set(info, "version", scalar(v)) // which may come as a number
	}
	set(root, "info", info)
	filled, err := fillURLs(current, root)
	if err != nil {
		return nil, err
	}
	u.notes = slices.Concat(notes, cutNotes, filled)
	says := factsOf(root)
	u.merged = merge(current, root)
	if u.dropped, err = dropExamples(ctx, u.merged); err != nil {
		return nil, fmt.Errorf("cut to the contract, it is not valid: %s: mend it in the document, or ask for one that is", strings.Join(strings.Fields(err.Error()), " "))
	}
	if lost := compare(says, factsOf(u.merged)); len(lost) > 0 {
		return nil, fmt.Errorf("the merge lost something, which is a mistake in tools/adopt: %s", strings.Join(lost, "; "))
	}
	return u, nil
}

// difference is what changed between two trees of the library.
type difference struct {
	misfits            int // actions of the overlay
	breaking, unworded []string
}

// contract compares the documents of two trees, alone and with their overlays,
// and prints what it finds.
func (a *adoption) contract(ctx context.Context, before, after string) (*difference, error) {
	was, err := load(filepath.Join(before, documentFile))
	if err != nil {
		return nil, err
	}
	is, err := load(filepath.Join(after, documentFile))
	if err != nil {
		return nil, err
	}
	lines := changes(was, is)
	list(a.out, "Contract", lines, "Nothing changed.")
	old, err := lay(filepath.Join(before, overlayFile), was, was)
	if err != nil {
		return nil, err
	}
	now, err := lay(filepath.Join(after, overlayFile), was, is)
	if err != nil {
		return nil, err
	}
	list(a.out, "Overlay", append(now.misfit, now.notes...), "Every action fits.")
	d := &difference{misfits: len(now.misfit)}
	if d.misfits == 0 {
		laid := slices.DeleteFunc(changes(old.root, now.root), func(l string) bool { return slices.Contains(lines, l) })
		if len(laid) > 0 {
			list(a.out, "Contract with its overlay, besides", laid, "")
		}
		list(a.out, "Secrets", secrets(contractOf(old.root), contractOf(now.root)), "No new string stands beside a secret.")
		d.unworded = unworded(contractOf(was), contractOf(is), contractOf(now.root))
	}
	if d.breaking, err = a.breaks(ctx, [][2]*yaml.Node{{was, is}, {old.root, now.root}}); err != nil {
		return nil, err
	}
	list(a.out, "Breaking on the wire", d.breaking, "Nothing.")
	return d, nil
}

// stop ends an adoption that doesn't work out; by force, what there is of it
// is taken over nonetheless.
func (a *adoption) stop(ctx context.Context, tmp, format string, args ...any) error {
	why := fmt.Sprintf(format, args...)
	if !a.force {
		return unchanged("%s. To mend it in place, take the files over all the same with FORCE=1", why)
	}
	files, err := generated(filepath.Join(tmp, "before"), filepath.Join(tmp, "after"))
	if err != nil {
		return unchanged("%w", err)
	}
	if err := a.move(ctx, tmp, files); err != nil {
		return err
	}
	return fmt.Errorf("%w by force (%s), although %s", errMoved, strings.Join(files, ", "), why)
}

// failed ends an adoption for what a command printed. A full disk is no fault
// of the document, and nothing to take over by force.
func (a *adoption) failed(ctx context.Context, tmp, title, out, why string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	list(a.out, title, complaints(out), "")
	if s := machine.FindString(out); s != "" {
		return unchanged("this machine gave out (%s): see %s above", s, title)
	}
	return a.stop(ctx, tmp, "%s", why)
}

func (a *adoption) take(ctx context.Context, tmp string, files []string) error {
	switch {
	case len(files) == 0:
		fmt.Fprintln(a.out, "\nNothing changed: the files say what this document says.")
		return nil
	case a.dry:
		fmt.Fprintln(a.out, "\nNothing was changed, as was asked for. Would change:", strings.Join(files, ", "))
		return nil
	}
	if err := a.move(ctx, tmp, files); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "\nChanged:", strings.Join(files, ", "))
	return nil
}

func unchanged(format string, args ...any) error {
	return fmt.Errorf("nothing was changed: "+format, args...)
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

// report compares the working tree with a revision.
func (a *adoption) report(ctx context.Context, revision string) error {
	if revision == "" {
		fmt.Fprintln(a.out, "No tag and no origin/main: there is nothing to compare with.")
		return nil
	}
	tmp, err := os.MkdirTemp("", "adopt-base-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	base := filepath.Join(tmp, "base")
	if out, err := command(ctx, a.module, "bash", "-c", `set -o pipefail; mkdir "$1" && git archive "$0" | tar -x -C "$1"`, revision, base); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(base, documentFile)); err != nil {
		fmt.Fprintf(a.out, "%s has no %s yet: there is nothing to compare with.\n", revision, documentFile)
		return nil
	}

	fmt.Fprintf(a.out, "# The working tree against %s\n", revision)
	d, err := a.contract(ctx, base, a.module)
	if err != nil {
		return err
	}
	if d.misfits > 0 {
		return fmt.Errorf("%d of the overlay's actions do not fit the document", d.misfits)
	}
	api, err := a.compareGo(ctx, base, a.module)
	if err != nil {
		return err
	}
	files, err := command(ctx, a.module, "bash", "-c", `git diff --name-only --no-renames --relative "$0"; git ls-files --others --exclude-standard`, revision)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, files)
	}
	list(a.out, "Version", nil, "What has to rise: "+bump(api, d.breaking, compiled(strings.Fields(files)))+".")
	return nil
}
