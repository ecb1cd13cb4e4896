package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

// serverFlags are the flags of server that are not an option of the test server.
type serverFlags struct {
	public, strict bool
	people         string
	faults         []string
}

func (p *program) serverCommand() *cobra.Command {
	var (
		options piecesauthtest.Options
		flags   serverFlags
	)
	c := &cobra.Command{
		Use:   "server",
		Short: "Run a Pieces auth server to try things with",
		Long: `Run a Pieces auth server to try things with, in any language, until Ctrl-C. It
keeps everything in memory. Nobody has to prove who they are: it is for tests.

A fault is OPERATION:WHAT, or OPERATION:WHAT:TIMES. The operations are authorize,
login, exchange, refresh, userinfo, logout, discovery and jwks. WHAT is a status
(503), drop (the connection), hang, or how long an answer takes (2s). TIMES is how
many requests in a row it happens to, or always; once by default.`,
		Example: "  piecesauth server\n  piecesauth server --addr 127.0.0.1:0 --token-lifetime 1m --fault refresh:503:2",
		Args:    noArgs,
	}
	f := c.Flags()
	f.StringVar(&options.Addr, "addr", "127.0.0.1:4460", "where to listen; port 0 takes a free one")
	f.BoolVar(&flags.public, "public", false, "allow an --addr that other machines reach: whoever does can sign in as anybody")
	f.StringVar(&flags.people, "people", "", "a JSON file of who can sign in: a list of profiles, each with a sub of its own (default: Ada Lovelace)")
	f.StringVar(&options.ClientID, "client-id", "piecesauthtest", "the one application that the server knows")
	f.StringVar(&options.Audience, "audience", "", "the API that access tokens are for (default the documented one)")
	f.StringSliceVar(&options.RedirectURLs, "redirect-url", nil, "may be redirected to, besides any on loopback; may be repeated")
	f.BoolVar(&flags.strict, "strict", false, "accept no redirect URL but those of --redirect-url (by default the documented one), and no other audience")
	f.DurationVar(&options.TokenLifetime, "token-lifetime", 24*time.Hour, "how long an access token is good for")
	f.DurationVar(&options.IDTokenLifetime, "id-token-lifetime", 10*time.Hour, "how long an ID token is good for")
	f.DurationVar(&options.RefreshTokenLifetime, "refresh-token-lifetime", 0, "how long a refresh token is good for (default for ever)")
	f.DurationVar(&options.CodeLifetime, "code-lifetime", time.Minute, "how long a code is good for")
	f.DurationVar(&options.RefreshLeeway, "refresh-leeway", 0, "how long after its first use a refresh token can still be used (default not at all)")
	f.BoolVar(&options.NoRotation, "no-rotation", false, "keep the refresh token of a sign-in the same")
	f.StringSliceVar(&flags.faults, "fault", nil, "what goes wrong, such as refresh:503:2; may be repeated")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkAddr(options.Addr, flags.public); err != nil {
			return err
		}
		for _, lifetime := range []time.Duration{options.TokenLifetime, options.IDTokenLifetime, options.CodeLifetime} {
			if lifetime < time.Second {
				return usagef("a lifetime is a second or more, such as 90s or 1h")
			}
		}
		if options.RefreshTokenLifetime < 0 || options.RefreshLeeway < 0 {
			return usagef("--refresh-token-lifetime and --refresh-leeway can't be negative")
		}
		options.StrictRedirects, options.StrictAudience = flags.strict, flags.strict
		options.RequestsKept = 1
		people, err := readPeople(flags.people)
		if err != nil {
			return err
		}
		options.People = people
		return p.serve(c.Context(), options, flags.faults)
	}
	return c
}

// checkAddr refuses an address that other machines can reach, unless --public is set.
func checkAddr(addr string, public bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return usagef("--addr is no host and port, such as 127.0.0.1:4460")
	}
	if public || onThisMachine(host) {
		return nil
	}
	return usagef("--addr is one that other machines reach, and whoever reaches it can sign in as anybody: add --public if that is wanted")
}

func readPeople(path string) ([]piecesauthtest.Person, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // the caller names it
	if err != nil {
		return nil, usagef("--people: %w", err)
	}
	var people []piecesauthtest.Person
	if err := json.Unmarshal(data, &people); err != nil {
		return nil, usagef("--people: %s is no list of profiles, such as [{\"sub\":\"auth0|1\",\"name\":\"Ada\"}]: %w", path, err)
	}
	seen := map[string]bool{}
	for i, person := range people {
		if person.Sub == "" || seen[person.Sub] {
			return nil, usagef("--people: entry %d of %s has no sub of its own", i+1, path)
		}
		seen[person.Sub] = true
	}
	if len(people) == 0 {
		return nil, usagef("--people: %s lists nobody", path)
	}
	return people, nil
}

// parseFault reads OPERATION:WHAT[:TIMES].
func parseFault(text string) (op piecesauthtest.Op, fault piecesauthtest.Fault, always bool, err error) {
	parts := strings.Split(text, ":")
	bad := func(what string) (piecesauthtest.Op, piecesauthtest.Fault, bool, error) {
		return "", piecesauthtest.Fault{}, false, usagef("--fault %q: %s; such as refresh:503:2", text, what)
	}
	if len(parts) != 2 && len(parts) != 3 {
		return bad("it is not OPERATION:WHAT or OPERATION:WHAT:TIMES")
	}
	op = piecesauthtest.Op(parts[0])
	if !slices.Contains([]piecesauthtest.Op{
		piecesauthtest.Authorize, piecesauthtest.Login, piecesauthtest.Exchange, piecesauthtest.Refresh,
		piecesauthtest.UserInfo, piecesauthtest.Logout, piecesauthtest.Discovery, piecesauthtest.JWKS,
	}, op) {
		return bad("there is no such operation")
	}
	delay, noDelay := time.ParseDuration(parts[1])
	status, noStatus := strconv.Atoi(parts[1])
	switch {
	case parts[1] == "drop":
		fault.Drop = true
	case parts[1] == "hang":
		fault.Hang = true
	case noStatus == nil && status >= 200 && status <= 599:
		fault.Status = status
	case noStatus != nil && noDelay == nil && delay > 0:
		fault.Delay = delay
	default:
		return bad("WHAT is a status, drop, hang, or a duration")
	}
	if len(parts) == 3 {
		if parts[2] == "always" {
			return op, fault, true, nil
		}
		if fault.Times, err = strconv.Atoi(parts[2]); err != nil || fault.Times < 1 {
			return bad("TIMES is a number, or always")
		}
	}
	return op, fault, false, nil
}

func (p *program) serve(ctx context.Context, options piecesauthtest.Options, faults []string) error {
	for _, text := range faults {
		if _, _, _, err := parseFault(text); err != nil {
			return err
		}
	}
	server, err := piecesauthtest.Start(options)
	if err != nil {
		return fmt.Errorf("%w; another --addr, or port 0, may do", err)
	}
	defer server.Close()
	for _, text := range faults {
		op, fault, always, _ := parseFault(text)
		if always {
			server.FailFunc(op, func(*piecesauthtest.Request) piecesauthtest.Fault { return fault })
		} else {
			server.Fail(op, fault)
		}
	}
	if err := p.printServer(server, options.StrictRedirects, options.RedirectURLs); err != nil {
		return err
	}
	<-ctx.Done() // the normal end of a server
	return nil
}

// printServer prints the flags for this server, and the commands to try it.
func (p *program) printServer(server *piecesauthtest.Server, strict bool, redirects []string) error {
	redirect := "http://127.0.0.1:0/callback"
	if strict {
		redirect = "http://localhost:3000/pkce/response/code"
		if len(redirects) > 0 {
			redirect = redirects[0]
		}
	}
	audience := server.Config().Audience
	if p.json {
		return p.printJSON(struct {
			BaseURL     string `json:"base_url"`
			ClientID    string `json:"client_id"`
			Issuer      string `json:"issuer"`
			Audience    string `json:"audience"`
			RedirectURL string `json:"redirect_url"`
		}{server.URL, server.ClientID, server.Issuer, audience, redirect})
	}
	const account = "--account test" // an existing sign-in is kept, and its token isn't sent here
	flags := fmt.Sprintf("%s --base-url %s --client-id %s --issuer %s --redirect-url %s",
		account, quote(server.URL), quote(server.ClientID), quote(server.Issuer), quote(redirect))
	if audience != (&settings{}).all()[2].preset {
		flags += " --audience " + quote(audience)
	}
	self := selfCommand()
	p.say("A Pieces auth server for tests listens at %s; Ctrl-C ends it.\nTo try it, in another terminal:\n", server.URL)
	return p.print("%[1]s login %[2]s\n%[1]s token %[3]s\n%[1]s token %[3]s --header | curl -sS -H @- %[4]s\n%[1]s logout %[3]s",
		self, flags, account, quote(server.URL+"/userinfo"))
}

// selfCommand returns the shell command that starts this program.
func selfCommand() string {
	self, err := os.Executable()
	if err != nil {
		return "piecesauth"
	}
	found, err := exec.LookPath("piecesauth")
	if err == nil {
		a, errA := os.Stat(found)
		b, errB := os.Stat(self)
		if errA == nil && errB == nil && os.SameFile(a, b) {
			return "piecesauth"
		}
	}
	return quote(filepath.Clean(self))
}

// quote quotes text as one word for a POSIX shell.
func quote(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+,=", r)
	}) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
