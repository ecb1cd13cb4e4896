package tokenkv

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/piecesauth/piecesauth"
)

const (
	documentVersion = 1
	// maxSize is far more than any token needs.
	maxSize = 1 << 20
)

// document is the value of a row: the token, and who is about to replace it.
type document struct {
	Version int `json:"version"`
	// Generation identifies the token: it changes whenever a token is stored,
	// and stays when only the lease changes.
	Generation string            `json:"generation"`
	Token      *piecesauth.Token `json:"token,omitempty"`
	// Spent means that the token of this generation was refused as spent and
	// removed; another process may still store its successor.
	Spent bool `json:"spent,omitempty"`
	// Takeovers counts how often a lease on this generation was taken over.
	Takeovers int `json:"takeovers,omitempty"`
	// Predecessor is the generation that this token replaced, and
	// PredecessorTakeovers its Takeovers at that time.
	Predecessor          string `json:"predecessor,omitempty"`
	PredecessorTakeovers int    `json:"predecessor_takeovers,omitempty"`

	Lease *leaseDocument `json:"lease,omitempty"`
}

type leaseDocument struct {
	Holder string        `json:"holder"` // identifies one attempt
	Length time.Duration `json:"length"`
}

func (d *document) heldBy(holder string) bool { return d.Lease != nil && d.Lease.Holder == holder }

// None of these quotes the value or wraps an error of encoding/json, which
// would: any part of it may be part of a secret.
var (
	errNotDocument = errors.New("tokenkv: what is stored is not a token of this package, or it is sealed and no Sealer is set; signing in or out mends it")
	errTooLarge    = errors.New("tokenkv: the token is larger than 1 MiB")
	errEmpty       = errors.New("tokenkv: a token needs an access token or a refresh token")
)

func (s *store) encode(d *document) ([]byte, error) {
	if d.Token != nil && d.Token.AccessToken == "" && d.Token.RefreshToken == "" {
		return nil, errEmpty
	}
	d.Version = documentVersion
	value, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("tokenkv: the token cannot be written: %w", err)
	}
	if len(value) > maxSize-1<<10 { // what sealing adds is less
		return nil, errTooLarge
	}
	if s.sealer != nil {
		value = s.sealer.Seal(value, s.purpose())
	}
	return value, nil
}

// purpose binds a row to its person: a row copied over another person's can't
// be opened.
func (s *store) purpose() string { return "tokenkv " + s.id }

func (s *store) decode(value []byte) (document, error) {
	if s.sealer != nil {
		var err error
		if value, err = s.sealer.Open(value, s.purpose()); err != nil {
			return document{}, fmt.Errorf("tokenkv: what is stored is not readable; signing in or out mends it: %w", err)
		}
	}
	var d document
	// encoding/json would turn invalid UTF-8 into another, valid string.
	if !utf8.Valid(value) || json.Unmarshal(value, &d) != nil || d.Version < 1 {
		return document{}, errNotDocument
	}
	if d.Version > documentVersion {
		return document{}, fmt.Errorf("tokenkv: what is stored has version %d, and this program reads version %d: a later one wrote it", d.Version, documentVersion)
	}
	return d, nil
}
