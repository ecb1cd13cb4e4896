package tokenfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/seal"
)

// version is the version of document; a change that an older program would
// misread raises it.
const version = 1

// purpose is the same for every path, so that a sealed file may be moved.
const purpose = "piecesauth/tokenfile: token"

// document is the content of the file: a token, plain or sealed, or, if the
// file cannot be removed, that there is none.
type document struct {
	Version int             `json:"version"`
	Token   json.RawMessage `json:"token,omitempty"`
	Sealed  []byte          `json:"sealed,omitempty"` // the JSON of the token
	Deleted bool            `json:"deleted,omitempty"`
}

// None of these quotes the file or wraps an error of encoding/json, which
// would: any part of it may be part of a secret.
var (
	errNotToken = errors.New("is cut off or not a token file; sign in again, or delete it")
	errTooLarge = errors.New("is too large for a token file")
	errEmpty    = errors.New("a token needs an access token or a refresh token")
	errNoKey    = fmt.Errorf("is sealed, and this program has no key for it; pass tokenfile.Sealed to New: %w", seal.ErrCannotOpen)
)

// laterError means that a later version of this package wrote the file.
type laterError int

func (e laterError) Error() string {
	return fmt.Sprintf("has version %d, and this program reads version %d: a later one wrote it", int(e), version)
}

// encodeToken returns the JSON of a token, or an error if the token is not
// worth keeping.
func encodeToken(token *piecesauth.Token) ([]byte, error) {
	if token.AccessToken == "" && token.RefreshToken == "" {
		return nil, errEmpty
	}
	data, err := json.Marshal(token) //nolint:gosec // to store the secrets is what it is for
	if err != nil {
		return nil, fmt.Errorf("the token cannot be written: %w", err)
	}
	return data, nil
}

// encode returns the content of a file with this token, sealed if there is a
// sealer.
func encode(token []byte, sealer *seal.Sealer) ([]byte, error) {
	doc := document{Version: version, Token: token}
	if sealer != nil {
		doc.Token, doc.Sealed = nil, sealer.Seal(token, purpose)
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("the token cannot be written: %w", err)
	}
	if len(data) >= maxSize {
		return nil, errTooLarge
	}
	return append(data, '\n'), nil
}

// decode returns the token of a file's content, or piecesauth.ErrNoToken if the
// content says that there is none. It asks for the key only if the content is
// sealed.
func decode(data []byte, key func() (*seal.Sealer, error)) (*piecesauth.Token, error) {
	if err := checkVersion(data); err != nil {
		return nil, err
	}
	var doc document
	if json.Unmarshal(data, &doc) != nil {
		return nil, errNotToken
	}
	if doc.Deleted {
		return nil, piecesauth.ErrNoToken
	}
	if doc.Sealed != nil {
		sealer, err := key()
		if err != nil {
			return nil, err
		}
		if sealer == nil {
			return nil, errNoKey
		}
		if doc.Token, err = sealer.Open(doc.Sealed, purpose); err != nil {
			return nil, fmt.Errorf("the key that this program has does not open it; if the right one is lost, sign in again: %w", err)
		}
	}
	var token *piecesauth.Token
	if json.Unmarshal(doc.Token, &token) != nil || token == nil || token.AccessToken == "" && token.RefreshToken == "" {
		return nil, errNotToken
	}
	return token, nil
}

// checkVersion returns an error for content that no version wrote, or a later
// one.
func checkVersion(data []byte) error {
	var head struct {
		Version int `json:"version"`
	}
	// encoding/json would turn invalid UTF-8 into another, valid string.
	if !utf8.Valid(data) || json.Unmarshal(data, &head) != nil || head.Version < 1 || !whole(data) {
		return errNotToken
	}
	if head.Version > version {
		return laterError(head.Version)
	}
	return nil
}

// Content that is written in place begins with a checksum of everything that
// follows, because a concurrent reader might see part of the old content and
// part of the new.
const (
	sumBefore = `{"sum":"`
	sumAfter  = `",`
)

func withSum(data []byte) []byte {
	rest := data[1:] // after the brace
	sum := sha256.Sum256(rest)
	return bytes.Join([][]byte{[]byte(sumBefore), []byte(hex.EncodeToString(sum[:])), []byte(sumAfter), rest}, nil)
}

// whole reports whether content that has a checksum matches it.
func whole(data []byte) bool {
	rest, found := bytes.CutPrefix(data, []byte(sumBefore))
	if !found {
		return true
	}
	_, rest, _ = bytes.Cut(rest, []byte(sumAfter))
	return bytes.Equal(withSum(append([]byte("{"), rest...)), data)
}
