// Command weight shows what the library adds to a program that signs people
// in, and fails where that is more than was promised: bytes of a stripped
// binary, and third-party modules linked. It looks at the module graph of such
// a program too, which must not show what the library is made with.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	maxModules = 6
	maxGraph   = 30
)

// growth of a binary, in MiB, by the Go release: JSON v2 comes with Go 1.27, and
// is linked before that.
type growth struct {
	toolchain string
	bar       float64 // what is aimed at
	most      float64 // what fails
}

var releases = []growth{{"local", 1.45, 1.65}, {"go1.27.0", 0.80, 1.10}}

const library = "github.com/piecesauth/piecesauth"

// program is what any program that calls a JSON API has anyway.
const program = `package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func main() {
	res, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	var v map[string]any
	fmt.Println(json.NewDecoder(res.Body).Decode(&v), v)
	fmt.Println(signIn(context.Background()))
}
`

// plain doesn't sign in.
const plain = `package main

import "context"

func signIn(context.Context) error { return nil }
`

// importer signs in, with an ID token that is verified in full.
const importer = `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/piecesauth/piecesauth"
)

func signIn(ctx context.Context) error {
	auth, err := piecesauth.New(piecesauth.Config{ClientID: os.Args[2], RedirectURL: os.Args[3], Issuer: os.Args[4]})
	if err != nil {
		return err
	}
	attempt, err := auth.Begin(nil)
	if err != nil {
		return err
	}
	fmt.Println(attempt.URL)
	callback, err := piecesauth.ParseCallback(os.Args[5])
	if err != nil {
		return err
	}
	token, err := auth.Complete(ctx, attempt, callback)
	if err != nil {
		return err
	}
	tokens := auth.TokenSource(&piecesauth.MemoryStore{})
	if err := tokens.Save(ctx, token); err != nil {
		return err
	}
	if token, err = tokens.Token(ctx); err != nil {
		return err
	}
	user, err := auth.UserInfo(ctx, token)
	if err != nil {
		return err
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return err
	}
	fmt.Println(user.Name, claims)
	_, err = auth.Logout(ctx, "")
	return err
}
`

// makers are modules that make or check the library, and that no importer may see.
var makers = []string{"oapi-codegen/oapi-codegen", "kin-openapi", "speakeasy-api", "oasdiff", "golangci", "gremlins", "x/perf", "/tools"}

func main() {
	module := flag.String("module", "..", "`folder` of the library")
	flag.Parse()
	if err := run(*module); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "weight:", err)
		os.Exit(1)
	}
}

func run(module string) error {
	module, err := filepath.Abs(module)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "weight-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()

	return errors.Join(weigh(tmp, module, releases[0]), weigh(tmp, module, releases[1]))
}

// weigh builds both programs with a toolchain, and compares them.
func weigh(tmp, module string, release growth) error {
	if err := os.Setenv("GOTOOLCHAIN", release.toolchain); err != nil {
		return err
	}
	tmp = filepath.Join(tmp, release.toolchain)
	if err := os.Mkdir(tmp, 0o750); err != nil {
		return err
	}
	version, err := goOutput(tmp, "env", "GOVERSION")
	if err != nil {
		fmt.Printf("%s is not available here, so nothing was measured for it: %v\n", release.toolchain, err)
		return nil
	}
	before, _, err := build(filepath.Join(tmp, "plain"), plain, "")
	if err != nil {
		return err
	}
	dir := filepath.Join(tmp, "importer")
	after, linked, err := build(dir, importer, module)
	if err != nil {
		return err
	}
	// An importer's graph has what the library's go.mod has, tools included.
	graph, err := goOutput(dir, "list", "-m", "all")
	if err != nil {
		return err
	}

	growth, maxGrowth := float64(after-before)/(1<<20), release.most
	fmt.Printf("with %s", version)
	fmt.Printf("a program that speaks JSON over HTTP   %.2f MiB\n", float64(before)/(1<<20))
	fmt.Printf("the same with sign-in                  %.2f MiB\n", float64(after)/(1<<20))
	fmt.Printf("growth                                 %.2f MiB (bar %.2f%s; fails over %.2f)\n", growth, release.bar, missed(growth > release.bar), maxGrowth)
	fmt.Printf("third-party modules linked             %d (at most %d)\n", len(linked), maxModules)
	for _, m := range linked {
		fmt.Println("   ", m)
	}

	var errs []error
	if growth > maxGrowth {
		errs = append(errs, fmt.Errorf("the binary grows by %.2f MiB, more than %.2f", growth, maxGrowth))
	}
	if len(linked) > maxModules {
		errs = append(errs, fmt.Errorf("%d modules are linked, more than %d", len(linked), maxModules))
	}
	n := 0
	for m := range strings.Lines(graph) {
		n++
		for _, maker := range makers {
			if strings.Contains(strings.Fields(m)[0], maker) {
				errs = append(errs, fmt.Errorf("an importer's module graph shows %s", strings.TrimSpace(m)))
			}
		}
	}
	if n > maxGraph {
		errs = append(errs, fmt.Errorf("an importer's module graph has %d modules, more than %d", n, maxGraph))
	}
	fmt.Printf("modules in an importer's graph         %d (at most %d)\n", n, maxGraph)
	return errors.Join(errs...)
}

func missed(yes bool) string {
	if yes {
		return ": missed"
	}
	return ""
}

// build builds a program in dir, and returns the size of its binary and the
// modules linked into it, the library itself left out.
func build(dir, source, module string) (int64, []string, error) {
	if err := os.Mkdir(dir, 0o750); err != nil {
		return 0, nil, err
	}
	mod := "module example.com/weight\n\ngo 1.26.0\n"
	if module != "" {
		mod += fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %s => %s\n", library, library, module)
	}
	for name, text := range map[string]string{"main.go": program, "signin.go": source, "go.mod": mod} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return 0, nil, err
		}
	}
	if module != "" {
		if _, err := goOutput(dir, "mod", "tidy"); err != nil {
			return 0, nil, err
		}
	}
	// Stripped, and without cgo, which would make sizes a matter of the machine.
	if _, err := goOutput(dir, "build", "-trimpath", "-ldflags=-s -w", "-o", "program", "."); err != nil {
		return 0, nil, err
	}
	info, err := os.Stat(filepath.Join(dir, "program"))
	if err != nil {
		return 0, nil, err
	}
	text, err := goOutput(dir, "version", "-m", "program")
	if err != nil {
		return 0, nil, err
	}
	var linked []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "dep" && f[1] != library {
			linked = append(linked, f[1]+" "+f[2])
		}
	}
	return info.Size(), linked, nil
}

func goOutput(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...) //nolint:noctx // The caller has nothing else to do.
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out), nil
}
