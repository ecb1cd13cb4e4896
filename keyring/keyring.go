// Package keyring keeps the key that seals a token in the system's credential
// store: the Keychain of macOS, the Credential Manager of Windows, or, on Linux
// and the BSDs, a Secret Service such as GNOME Keyring, KWallet or KeePassXC.
//
//	store, err := tokenfile.New(path, tokenfile.Sealed(keyring.Key("my-app", "default")))
//
// Only the key is in the credential store; the token is in the file. Whole
// tokens are longer than some stores allow, and a credential store can't
// prevent two processes from overwriting each other's token.
//
// # The entry
//
// The entry is text: "piecesauth-key-1", then one or more keys of 32 bytes in
// base64, each after a space. The first one seals, and all of them open. To
// rotate, put a new key before the old one, and remove the old one when the
// file has been written again.
package keyring

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/zalando/go-keyring"

	"github.com/piecesauth/piecesauth/internal/newkey"
	"github.com/piecesauth/piecesauth/seal"
)

// ErrUnavailable means that there is no credential store, or that it is locked,
// refuses access, or does not answer before the context ends.
var ErrUnavailable = errors.New("keyring: no credential store can be used; unlock or start one (on Linux a Secret Service, such as gnome-keyring), or pass tokenfile.Sealed a key that is kept elsewhere")

const (
	header  = "piecesauth-key-1"
	headers = "piecesauth-key-" // of any version
	keySize = 32
)

// Key returns a function for tokenfile.Sealed. The function reads the key that
// the credential store has for this service (for example the program's name)
// and account. If there is none, it makes one of 32 random bytes. It asks the
// store each time.
//
// A store may ask the person to unlock it, and can't be told that nobody is
// waiting any longer. If the context ends first, the function returns
// [ErrUnavailable]; the blocked call ends when the store answers, and its
// answer is dropped. On Linux the underlying library keeps its connection to
// the bus, and two goroutines for it, until the program ends.
func Key(service, account string) func(context.Context) (*seal.Sealer, error) {
	return key(service, account, credentials{get: keyring.Get, set: keyring.Set})
}

// credentials is a credential store; its calls may block for any length of
// time.
type credentials struct {
	get func(service, account string) (string, error)
	set func(service, account, entry string) error
}

func key(service, account string, store credentials) func(context.Context) (*seal.Sealer, error) {
	get := func() (string, error) { return store.get(service, account) }
	return func(ctx context.Context) (*seal.Sealer, error) {
		if service == "" || account == "" {
			return nil, errors.New("keyring: a key needs the name of a service and of an account")
		}
		entry, err := ask(ctx, get)
		if errors.Is(err, keyring.ErrNotFound) {
			if !newkey.Allowed(ctx) {
				return nil, fmt.Errorf("keyring: the credential store has no key for %q any more; sign in again: %w", service, seal.ErrCannotOpen)
			}
			_, err = ask(ctx, func() (string, error) { return "", store.set(service, account, newEntry()) })
			if err == nil {
				entry, err = ask(ctx, get) // what the store did not keep would seal for nobody
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return open(entry, service)
	}
}

// ask calls the store, and waits until it answers or the context ends.
func ask(ctx context.Context, call func() (string, error)) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	type answer struct {
		entry string
		err   error
	}
	answers := make(chan answer, 1) // nobody may be there to take it
	go func() {
		entry, err := call()
		answers <- answer{entry, err}
	}()
	select {
	case a := <-answers:
		return a.entry, a.err
	case <-ctx.Done():
		return "", fmt.Errorf("it has not answered, and may be waiting to be unlocked: %w", ctx.Err())
	}
}

func newEntry() string {
	secret := make([]byte, keySize)
	_, _ = rand.Read(secret) // never fails
	return header + " " + base64.StdEncoding.EncodeToString(secret)
}

// open makes a Sealer from an entry. Its errors quote neither the entry nor the
// account, which may identify a person.
func open(entry, service string) (*seal.Sealer, error) {
	fields := strings.Fields(entry)
	if len(fields) == 0 || !strings.HasPrefix(fields[0], headers) {
		return nil, fmt.Errorf("keyring: what the credential store has for %q is no key of this package; delete that entry, or use another name", service)
	}
	if fields[0] != header {
		return nil, fmt.Errorf("keyring: a later version of this program wrote the key for %q; update this one", service)
	}
	var keys [][]byte
	for _, field := range fields[1:] {
		secret, err := base64.StdEncoding.DecodeString(field)
		if err != nil || len(secret) != keySize {
			return nil, fmt.Errorf("keyring: key %d for %q is damaged; delete that entry of the credential store, and sign in again", len(keys)+1, service)
		}
		keys = append(keys, secret)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("keyring: the entry for %q has no key; delete that entry of the credential store, and sign in again", service)
	}
	return seal.New(keys...)
}
