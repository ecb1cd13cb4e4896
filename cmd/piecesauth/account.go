package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/keyring"
	"github.com/piecesauth/piecesauth/tokenfile"
)

const (
	defaultAccount = "default"
	inFile         = "file"
	inKeyring      = "keyring" // in a file, sealed with a key in the credential store
)

// settings are the values that login was run with. They hold no secret.
type settings struct {
	Version     int    `json:"version"`
	BaseURL     string `json:"base_url"`
	ClientID    string `json:"client_id"`
	Audience    string `json:"audience"`
	Issuer      string `json:"issuer,omitempty"`
	Scope       string `json:"scope"`
	RedirectURL string `json:"redirect_url"`
	Storage     string `json:"storage"`
}

const settingsVersion = 1

// setting is one of them, with the flag that it comes from.
type setting struct {
	flag, usage string
	preset      string
	value       *string
	ofGrant     bool // a token belongs to one value of it only
}

func (s *settings) all() []setting {
	return []setting{
		{"base-url", "the authorization server", piecesauth.LiveBaseURL, &s.BaseURL, true},
		{"client-id", "the application, as registered at the server", "", &s.ClientID, true},
		{"audience", "the API that the token is for", "https://pieces.us.auth0.com/api/v2/", &s.Audience, true},
		{"issuer", "verify ID tokens in full, as this issuer's", "", &s.Issuer, true},
		{"scope", "what to ask for, separated by spaces", "openid profile email offline_access", &s.Scope, true},
		{"redirect-url", "where the browser comes back to, as registered; several, separated by spaces, are tried in turn", "http://localhost:3000/pkce/response/code", &s.RedirectURL, false},
		{"storage", "keyring (a file that is sealed with a key in the system's credential store) or file (one that only you can read); by default the first that works here", "", &s.Storage, false},
	}
}

func (s setting) env() string {
	return "PIECES_" + strings.ToUpper(strings.ReplaceAll(s.flag, "-", "_"))
}

// same reports whether two values mean the same.
func (s setting) same(a, b string) bool {
	if s.flag == "base-url" {
		a, b = strings.TrimRight(a, "/"), strings.TrimRight(b, "/")
	}
	return a == b
}

func (s *settings) config() piecesauth.Config {
	return piecesauth.Config{
		BaseURL: s.BaseURL, ClientID: s.ClientID, Audience: s.Audience, Issuer: s.Issuer, Scopes: strings.Fields(s.Scope),
		UserAgent: "piecesauth-command/" + piecesauth.Version,
		// No later call of this process could use a token that is refreshed ahead of
		// time, so it is refreshed when a caller would wait for that.
		RefreshBefore: 30 * time.Second,
	}
}

// sameServer reports whether both have the same server and client.
func (s *settings) sameServer(other *settings) bool {
	return strings.TrimRight(s.BaseURL, "/") == strings.TrimRight(other.BaseURL, "/") && s.ClientID == other.ClientID
}

// choose returns the settings for a sign-in: from the flags, or else the
// environment, or else the previous sign-in at the same server, or else the
// defaults.
func choose(flags *pflag.FlagSet, before *settings) (*settings, error) {
	chosen := &settings{Version: settingsVersion}
	given := func(s setting) (string, bool) {
		if flags.Changed(s.flag) {
			value, _ := flags.GetString(s.flag)
			return value, true
		}
		value := os.Getenv(s.env())
		return value, value != ""
	}
	all, old := chosen.all(), before.all()
	for i, s := range all {
		value, ok := given(s)
		if !ok && before.Version != 0 && (i < 2 || chosen.sameServer(before)) { // the first two are the server and the client
			value, ok = *old[i].value, true
		}
		if !ok {
			value = s.preset
		}
		*s.value = value
	}
	switch {
	case chosen.ClientID == "":
		return nil, usagef("--client-id is missing: the client ID of your application, as registered at %s (or set PIECES_CLIENT_ID)", chosen.BaseURL)
	case len(strings.Fields(chosen.Scope)) == 0:
		return nil, usagef("--scope is empty")
	case len(strings.Fields(chosen.RedirectURL)) == 0:
		return nil, usagef("--redirect-url is empty")
	case chosen.Storage != "" && chosen.Storage != inFile && chosen.Storage != inKeyring:
		return nil, usagef("--storage is neither %s nor %s", inKeyring, inFile)
	}
	for _, redirect := range strings.Fields(chosen.RedirectURL) {
		if u, err := url.Parse(redirect); err != nil || u.Scheme != "http" || !onThisMachine(u.Hostname()) {
			return nil, usagef("--redirect-url has one that nothing can be received at: it begins with http://localhost, http://127.0.0.1 or http://[::1]")
		}
	}
	return chosen, nil
}

func onThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// account is one of the sign-ins of this user, in a folder of its own.
type account struct {
	name, folder string
	settings     settings // Version is 0 if nobody has signed in yet
}

func (p *program) accountFlag(c *cobra.Command) {
	preset := os.Getenv("PIECES_ACCOUNT")
	if preset == "" {
		preset = defaultAccount
	}
	c.Flags().StringVar(&p.account, "account", preset, "which of several sign-ins")
	_ = c.RegisterFlagCompletionFunc("account", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return accounts(), cobra.ShellCompDirectiveNoFileComp
	})
}

// home returns the folder of all accounts.
func home() (string, error) {
	folder, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("there is no folder for settings: %w", err)
	}
	return filepath.Join(folder, "piecesauth"), nil
}

// accounts returns the names of those that have signed in.
func accounts() []string {
	folder, err := home()
	if err != nil {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(folder, "*", "token.json"))
	names := make([]string, len(found))
	for i, path := range found {
		names[i] = filepath.Base(filepath.Dir(path))
	}
	return names
}

// open reads the settings of the account named by --account.
func (p *program) open() (*account, error) {
	if !regexp.MustCompile(`^[A-Za-z0-9_@+][A-Za-z0-9._@+-]{0,63}$`).MatchString(p.account) || !filepath.IsLocal(p.account) {
		return nil, usagef("--account may have letters, digits and any of . _ @ + -, 64 at most")
	}
	folder, err := home()
	if err != nil {
		return nil, err
	}
	a := &account{name: p.account, folder: filepath.Join(folder, p.account)}
	if who := os.Getenv("SUDO_USER"); who != "" {
		p.say("Under sudo this is %s's account %q, in %s, and not %s's.", userName(), a.name, a.folder, who)
	}
	data, err := os.ReadFile(a.settingsPath())
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &a.settings)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("the settings in %s can't be read: remove the file, and sign in again: %w", a.settingsPath(), err)
	case a.settings.Version != settingsVersion:
		return nil, fmt.Errorf("%s was written by a later version of this command: update this one", a.settingsPath())
	}
	return a, nil
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "this user"
}

// openSignedIn is like open, for commands that use a token. If the environment
// names another server or client, that is an error, because a token is sent only
// to where it came from.
func (p *program) openSignedIn() (*account, error) {
	a, err := p.open()
	if err != nil || a.settings.Version == 0 {
		return a, err
	}
	for _, s := range a.settings.all() {
		if value := os.Getenv(s.env()); s.ofGrant && value != "" && !s.same(value, *s.value) {
			return nil, usagef("%s is %q, and the account %q signed in with %q: unset it, or sign in again", s.env(), value, a.name, *s.value)
		}
	}
	return a, nil
}

func (a *account) settingsPath() string { return filepath.Join(a.folder, "settings.json") }
func (a *account) tokenPath() string    { return filepath.Join(a.folder, "token.json") }

// store returns where the token is kept.
func (a *account) store(storage string) (*tokenfile.Store, error) {
	if storage != inKeyring {
		return tokenfile.New(a.tokenPath())
	}
	return tokenfile.New(a.tokenPath(), tokenfile.Sealed(keyring.Key("piecesauth", a.name)))
}

// hasToken reports whether a token is stored; it needs no key for that.
func (a *account) hasToken() bool {
	_, err := os.Lstat(a.tokenPath())
	return err == nil
}

// loginCommand returns the command that signs in to this account.
func (a *account) loginCommand() string {
	if a.name == defaultAccount {
		return "piecesauth login"
	}
	return "piecesauth login --account " + a.name
}

// signInAgain adds the command to run to an error that means to sign in again.
func (a *account) signInAgain(err error) error {
	if !errors.Is(err, piecesauth.ErrSignInRequired) && !errors.Is(err, piecesauth.ErrNoToken) {
		return err
	}
	e := &signInError{err: err, command: a.loginCommand()}
	if names := accounts(); len(names) > 0 {
		e.others = "; --account can be " + strings.Join(names, ", ")
	}
	return e
}

// pickStorage returns where the token will be kept, after a test that storing
// works: otherwise no token must be requested.
func (p *program) pickStorage(ctx context.Context, a *account, chosen *settings) (*tokenfile.Store, error) {
	auto := chosen.Storage == ""
	if auto {
		chosen.Storage = inKeyring
	}
	store, err := a.store(chosen.Storage)
	if err != nil {
		return nil, err
	}
	if chosen.Storage == inKeyring {
		err = keyring.ErrUnavailable
		if busReachable() {
			err = try(ctx, store)
		}
		switch {
		case !errors.Is(err, keyring.ErrUnavailable) || ctx.Err() != nil:
			return store, err
		case !auto:
			return nil, fmt.Errorf("%w; or sign in with --storage=file", keyring.ErrUnavailable)
		}
		p.say("No credential store can be used here, so the token will be kept unsealed in %s, which only you can read.", a.tokenPath())
		chosen.Storage = inFile
		if store, err = a.store(inFile); err != nil {
			return nil, err
		}
	}
	return store, try(ctx, store)
}

// try updates the token without changing it. A file that can't be read is no
// obstacle, since signing in replaces it.
func try(ctx context.Context, store *tokenfile.Store) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := store.Update(ctx, func(_ context.Context, t *piecesauth.Token) (*piecesauth.Token, error) { return t, nil })
	if err == nil || errors.Is(err, keyring.ErrUnavailable) {
		return err
	}
	if _, unreadable := store.Load(ctx); unreadable != nil && !errors.Is(unreadable, piecesauth.ErrNoToken) && ctx.Err() == nil {
		return nil
	}
	return err
}

// busReachable reports whether the credential store can be asked without side
// effects: on Linux and the BSDs, asking without a bus would start one, which
// stays.
func busReachable() bool {
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" || os.Getenv("DBUS_SESSION_BUS_ADDRESS") != "" {
		return true
	}
	folder := os.Getenv("XDG_RUNTIME_DIR")
	if folder == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(folder, "bus")) //nolint:gosec // where the system says that its bus is
	return err == nil
}

// prepare writes the settings to a temporary file; commit renames it.
func (a *account) prepare(s *settings) (commit func() error, discard func(), err error) {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, nil, err
	}
	file, err := os.CreateTemp(a.folder, "settings.json.tmp-*") // of mode 0600
	if err != nil {
		return nil, nil, err
	}
	discard = func() { _ = os.Remove(file.Name()) } // does nothing after commit
	_, err = file.Write(append(data, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		discard()
		return nil, nil, err
	}
	return func() error { return os.Rename(file.Name(), a.settingsPath()) }, discard, nil
}
