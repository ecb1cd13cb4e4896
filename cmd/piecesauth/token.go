package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/piecesauth/piecesauth"
)

// withSource calls use with the source of the account's token, and returns once the
// program may end: also if it was interrupted in a refresh, or the token is still
// valid while one runs.
func (p *program) withSource(use func(a *account, source *piecesauth.TokenSource) error) error {
	a, err := p.openSignedIn()
	if err != nil {
		return err
	}
	if a.settings.Version == 0 || !a.hasToken() {
		return a.signInAgain(piecesauth.ErrNoToken)
	}
	auth, err := piecesauth.New(a.settings.config())
	if err != nil {
		return err
	}
	store, err := a.store(a.settings.Storage)
	if err != nil {
		return err
	}
	defer auth.Close()
	return a.signInAgain(use(a, auth.TokenSource(store)))
}

func (p *program) tokenCommand() *cobra.Command {
	var header bool
	c := &cobra.Command{
		Use:   "token",
		Short: "Print an access token, refreshed if need be",
		Long: `Print an access token, refreshed if need be, and nothing else. Pass it on by a
pipe: what stands on a command line can be read by every user of the machine.`,
		Example: "  piecesauth token --header | curl -sS -H @- " + piecesauth.LiveBaseURL + "/userinfo\n" +
			"  piecesauth token --json",
		Args: noArgs,
	}
	p.accountFlag(c)
	c.Flags().BoolVar(&header, "header", false, "print the line of the HTTP header, for curl -H @-")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if header && p.json {
			return usagef("--header and --json exclude each other")
		}
		return p.withSource(func(a *account, source *piecesauth.TokenSource) error {
			token, err := source.Token(c.Context())
			if err != nil {
				return err
			}
			switch {
			case p.json:
				return p.printJSON(struct {
					Account     string    `json:"account"`
					AccessToken string    `json:"access_token"`
					TokenType   string    `json:"token_type"`
					Expiry      time.Time `json:"expiry,omitzero"`
					Scope       string    `json:"scope,omitempty"`
				}{a.name, token.AccessToken, token.TokenType, token.Expiry, strings.Join(token.Scopes, " ")})
			case header:
				return p.print("Authorization: Bearer %s", token.AccessToken)
			}
			return p.print("%s", token.AccessToken)
		})
	}
	return c
}

func (p *program) whoamiCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "whoami",
		Short:   "Ask the server who is signed in",
		Long:    "Ask the server who is signed in. With --json: the profile, but for the keys and tokens of others in it.",
		Example: "  piecesauth whoami\n  piecesauth whoami --json",
		Args:    noArgs,
	}
	p.accountFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return p.withSource(func(_ *account, source *piecesauth.TokenSource) error {
			user, err := source.UserInfo(c.Context())
			if err != nil {
				return err
			}
			if !p.json {
				return p.print("%s", personLine(user.Name, user.Email, user.Sub))
			}
			var profile map[string]any
			if err := user.Claims(&profile); err != nil {
				return err
			}
			dropSecrets(profile)
			return p.printJSON(profile)
		})
	}
	return c
}

// dropSecrets deletes the secrets in a profile, at any depth.
func dropSecrets(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range []string{"access_token", "refresh_token", "id_token", "api_key", "cloud_key", "organization_key"} {
			delete(v, name)
		}
		for _, member := range v {
			dropSecrets(member)
		}
	case []any:
		for _, item := range v {
			dropSecrets(item)
		}
	}
}

// state is the output of status.
type state struct {
	Account   string    `json:"account"`
	SignedIn  bool      `json:"signed_in"`
	BaseURL   string    `json:"base_url,omitempty"`
	ClientID  string    `json:"client_id,omitempty"`
	Audience  string    `json:"audience,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	Scope     string    `json:"scope,omitempty"`
	Storage   string    `json:"storage,omitempty"`
	File      string    `json:"file"`
	Expiry    time.Time `json:"expiry,omitzero"`
	Renewable bool      `json:"renewable"`
}

func (p *program) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Say which account is signed in, where that is stored, and until when",
		Long: `Say which account is signed in, where that is stored, and until when. No server
is asked. Exit code 3: nobody is, or the token has expired and can't be renewed.`,
		Example: "  piecesauth status || piecesauth login",
		Args:    noArgs,
	}
	p.accountFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		a, err := p.openSignedIn()
		if err != nil {
			return err
		}
		s, err := a.state(c.Context())
		if err != nil {
			return err
		}
		if p.json {
			err = p.printJSON(s)
		} else {
			err = p.print("%s", s)
		}
		if err == nil && !s.SignedIn {
			err = errAlreadySaid
		}
		return err
	}
	return c
}

func (a *account) state(ctx context.Context) (state, error) {
	set := a.settings
	s := state{Account: a.name, File: a.tokenPath()}
	if set.Version == 0 {
		return s, nil
	}
	s.BaseURL, s.ClientID, s.Audience, s.Issuer, s.Storage = set.BaseURL, set.ClientID, set.Audience, set.Issuer, set.Storage
	if !a.hasToken() {
		return s, nil
	}
	store, err := a.store(set.Storage)
	if err != nil {
		return s, err
	}
	token, err := store.Load(ctx)
	if err != nil {
		return s, err
	}
	s.Scope, s.Expiry, s.Renewable = strings.Join(token.Scopes, " "), token.Expiry, token.RefreshToken != ""
	s.SignedIn = token.Valid() || s.Renewable
	return s, nil
}

func (s state) String() string {
	if s.BaseURL == "" || s.File == "" || !s.SignedIn && s.Expiry.IsZero() {
		return fmt.Sprintf("account:   %s\nsigned in: no", s.Account)
	}
	stored := s.File
	if s.Storage == inKeyring {
		stored += ", sealed with a key in the credential store"
	}
	until := "the server doesn't say"
	if !s.Expiry.IsZero() {
		until = s.Expiry.Local().Format(time.RFC1123)
		if !s.Expiry.After(time.Now()) {
			until += " (expired)"
		}
	}
	if s.Renewable {
		until += ", renewed when needed"
	}
	signedIn := "yes"
	if !s.SignedIn {
		signedIn = "no, the token has expired"
	}
	return fmt.Sprintf("account:   %s\nsigned in: %s\nserver:    %s\nclient:    %s\nstored:    %s\nuntil:     %s",
		s.Account, signedIn, s.BaseURL, s.ClientID, stored, until)
}
