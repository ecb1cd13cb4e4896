package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/tokenfile"
)

const (
	// loginTimeout ends a sign-in that nobody completes, so that no script hangs.
	loginTimeout = 15 * time.Minute
	saveTimeout  = 30 * time.Second
)

func (p *program) loginCommand() *cobra.Command {
	var noBrowser bool
	c := &cobra.Command{
		Use:   "login",
		Short: "Sign in, with a browser",
		Long: `Sign in, with a browser. What login is told is kept beside the token, so that
the other commands, and the next login, need no flags.`,
		Example: "  piecesauth login --client-id YOUR_CLIENT_ID\n" +
			"  piecesauth login --account work --storage=file --client-id YOUR_CLIENT_ID",
		Args: noArgs,
	}
	p.accountFlag(c)
	c.Flags().BoolVar(&noBrowser, "no-browser", false, "open no browser; read the address that one ends at, wherever it runs, from standard input")
	for _, s := range new(settings).all() {
		c.Flags().String(s.flag, "", s.usage+presetOf(s))
	}
	_ = c.RegisterFlagCompletionFunc("storage", cobra.FixedCompletions([]string{inKeyring, inFile}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, _ []string) error {
		a, err := p.open()
		if err != nil {
			return err
		}
		chosen, err := choose(c.Flags(), &a.settings)
		if err != nil {
			return err
		}
		return p.login(c.Context(), a, chosen, noBrowser)
	}
	return c
}

func presetOf(s setting) string {
	if s.preset == "" {
		return ""
	}
	return fmt.Sprintf(" (default %q)", s.preset)
}

func (p *program) login(ctx context.Context, a *account, chosen *settings, noBrowser bool) error {
	auth, err := piecesauth.New(chosen.config())
	if err != nil {
		return err
	}
	if a.settings.Version != 0 && a.hasToken() && !chosen.sameServer(&a.settings) {
		return usagef("the account %q is signed in to %s as the client %q: log out first, or name another by --account", a.name, a.settings.BaseURL, a.settings.ClientID)
	}
	store, err := p.pickStorage(ctx, a, chosen)
	if err != nil {
		return err
	}
	commit, discard, err := a.prepare(chosen)
	if err != nil {
		return fmt.Errorf("the settings can't be stored, so nobody was signed in: %w", err)
	}
	defer discard()

	token, err := p.signIn(ctx, auth, chosen, noBrowser)
	if err != nil {
		return err
	}
	if err := save(ctx, auth, store, token, commit); err != nil {
		return fmt.Errorf("the sign-in went well, but can't be stored: %w", err)
	}
	return p.greet(a, chosen, token)
}

// save stores the token, even if ctx ends just then.
func save(ctx context.Context, auth *piecesauth.Authenticator, store *tokenfile.Store, token *piecesauth.Token, commit func() error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := auth.TokenSource(store).Save(ctx, token); err != nil {
		return err
	}
	return commit()
}

func (p *program) signIn(ctx context.Context, auth *piecesauth.Authenticator, chosen *settings, noBrowser bool) (*piecesauth.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	shown := &invitation{to: p.words, live: !p.json && rewritable(p.words)}
	defer shown.count()()
	options := loopback.Options{RedirectURLs: strings.Fields(chosen.RedirectURL), Remote: noBrowser, Output: shown}
	if noBrowser || term.IsTerminal(int(p.in.Fd())) {
		options.Input = p.in
	}
	token, err := loopback.SignIn(ctx, auth, options)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return nil, fmt.Errorf("nobody signed in within %v", loginTimeout)
	}
	return token, err
}

// greet prints who signed in.
func (p *program) greet(a *account, chosen *settings, token *piecesauth.Token) error {
	person := struct {
		Sub   string `json:"sub,omitempty"`
		Name  string `json:"name,omitempty"`
		Email string `json:"email,omitempty"`
	}{}
	_ = token.Claims(&person) // fails without an ID token; then the name is unknown
	if p.json {
		return p.printJSON(struct {
			Account string    `json:"account"`
			BaseURL string    `json:"base_url"`
			Storage string    `json:"storage"`
			File    string    `json:"file"`
			Expiry  time.Time `json:"expiry,omitzero"`
			Person  any       `json:"person"`
		}{a.name, chosen.BaseURL, chosen.Storage, a.tokenPath(), token.Expiry, person})
	}
	who := personLine(person.Name, person.Email, person.Sub)
	if who == "" {
		who = "somebody whom the server doesn't name"
	}
	p.say("Signed in as %s, as the account %q.", who, a.name)
	if token.RefreshToken == "" {
		p.say("The server granted no refresh token: sign in again when this one expires.")
	}
	return nil
}

func personLine(name, email, sub string) string {
	switch {
	case name != "" && email != "":
		return name + " <" + email + ">"
	case name+email != "":
		return name + email
	}
	return sub
}

func (p *program) logoutCommand() *cobra.Command {
	var browser bool
	c := &cobra.Command{
		Use:   "logout",
		Short: "Delete the token from this machine",
		Long: `Delete the token from this machine. The server may take an access token that is
out until it expires. With --browser the browser's session at the server ends, too.`,
		Example: "  piecesauth logout --browser",
		Args:    noArgs,
	}
	p.accountFlag(c)
	c.Flags().BoolVar(&browser, "browser", false, "also sign out in the browser")
	c.RunE = func(c *cobra.Command, _ []string) error {
		a, err := p.openSignedIn()
		if err != nil {
			return err
		}
		return p.logout(c.Context(), a, browser)
	}
	return c
}

func (p *program) logout(ctx context.Context, a *account, browser bool) error {
	was := a.hasToken()
	if was {
		store, err := a.store(a.settings.Storage)
		if err != nil {
			return err
		}
		if err := store.Replace(ctx, nil); err != nil {
			return err
		}
		p.say("Signed out: the token of the account %q is deleted.", a.name)
	} else {
		p.say("Nobody was signed in as the account %q.", a.name)
	}
	page := ""
	if browser && a.settings.Version != 0 {
		auth, err := piecesauth.New(a.settings.config())
		if err != nil {
			return err
		}
		page = auth.LogoutURL("")
		if err := loopback.OpenBrowser(page); err != nil {
			fmt.Fprintf(p.words, "No browser could be opened here; to sign out there, too, open this address:\n\n%s\n", page)
		}
	}
	if p.json {
		return p.printJSON(struct {
			Account   string `json:"account"`
			SignedOut bool   `json:"signed_out"`
			Page      string `json:"logout_url,omitempty"`
		}{a.name, was, page})
	}
	return nil
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  piecesauth version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if p.json {
				return p.printJSON(map[string]string{"version": piecesauth.Version})
			}
			return p.print("piecesauth %s", version())
		},
	}
}

func version() string { return piecesauth.Version }
