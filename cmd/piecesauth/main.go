// Command piecesauth signs in to Pieces from a shell, and runs a Pieces auth
// server for tests. docs/command.md describes it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends the program at once
	p := &program{in: os.Stdin, out: os.Stdout, words: os.Stderr}
	root := p.command()
	root.SetArgs(args)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.words)
	err := root.ExecuteContext(ctx)
	if !p.json && err != nil {
		p.json = asksForJSON(args) // an error may end the reading of flags before --json
	}
	return p.report(ctx, err)
}

// program is one run of the command. Results go to out, messages for people to
// words.
type program struct {
	in         *os.File
	out, words io.Writer
	json       bool   // --json
	account    string // --account
	began      bool   // the command line was valid; any earlier error is a usage error
}

// command returns the root command. Each command has an example.
func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "piecesauth",
		Short: "Sign in to Pieces from a shell",
		Long: `Sign in to Pieces from a shell, once, and get a fresh token whenever a script
needs one. Results go to standard output, messages for people to standard error.

Exit codes: 0 success; 1 failure; 2 wrong usage; 3 sign-in required; 4 the
network or the server; 130 interrupted.

Environment: PIECES_ACCOUNT, PIECES_STORAGE, PIECES_BASE_URL, PIECES_CLIENT_ID,
PIECES_AUDIENCE, PIECES_ISSUER, PIECES_SCOPE and PIECES_REDIRECT_URL set the flags
of these names; BROWSER names the program that opens the sign-in page.`,
		Example:       "  piecesauth login --client-id YOUR_CLIENT_ID\n  piecesauth whoami",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return usagef("there is no such command%s; piecesauth --help lists them", suggestion(c, args[0])) // args may hold a secret
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentPreRun = func(*cobra.Command, []string) { p.began = true }
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.PersistentFlags().BoolVar(&p.json, "json", false, "print results and errors as JSON, one object a line")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w; %s --help lists the flags", err, c.CommandPath())
	})
	root.AddCommand(p.loginCommand(), p.tokenCommand(), p.whoamiCommand(), p.statusCommand(), p.logoutCommand(), p.serverCommand(), p.versionCommand())
	completeWithExamples(root)
	return root
}

// completeWithExamples adds cobra's own commands, with the examples that they lack.
func completeWithExamples(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Example = "  piecesauth help login"
		case "completion":
			c.Example = "  piecesauth completion bash"
			for _, shell := range c.Commands() {
				shell.Example = "  " + shell.CommandPath()
			}
		}
	}
}

func suggestion(c *cobra.Command, name string) string {
	if names := c.SuggestionsFor(name); len(names) > 0 {
		return " (is it " + strings.Join(names, " or ") + "?)"
	}
	return ""
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("%s takes no arguments, only flags", c.CommandPath()) // which may be a secret, so isn't repeated
}

// asksForJSON reports whether --json is among the arguments.
func asksForJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--":
			return false
		case "--json", "--json=true":
			return true
		}
	}
	return false
}

// say prints a message for people, unless the output is for programs.
func (p *program) say(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.words, format+"\n", args...)
	}
}

// print prints a result as text.
func (p *program) print(format string, args ...any) error {
	_, err := fmt.Fprintf(p.out, format+"\n", args...)
	return written(err)
}

// printJSON prints a result as one line of JSON.
func (p *program) printJSON(v any) error { return written(encodeLine(p.out, v)) }

func encodeLine(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

func written(err error) error {
	if err != nil {
		return fmt.Errorf("the result could not be written: %w", err)
	}
	return nil
}
