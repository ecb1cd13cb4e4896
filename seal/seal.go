// Package seal encrypts what a program keeps outside itself, such as tokens in
// a database or a file, or a session in a cookie. Without the key, sealed data
// can't be read, changed, or used for another purpose.
//
//	sealer, err := seal.New(key) // 32 random bytes
//	…
//	sealed := sealer.Seal(token, "person 4711")
//	token, err = sealer.Open(sealed, "person 4711")
//
// # Keys
//
// A key is 32 random bytes, for example the output of openssl rand -base64 32,
// decoded. Rotate keys in two steps: add the new one after the old one on every
// machine; then move it to the front. Once everything has been sealed again,
// remove the old one.
//
// # Format
//
// Sealed data is 45 bytes longer than the plaintext:
//
//	1 byte    the format, 1
//	4 bytes   the key's id: the first bytes of HMAC-SHA-256(key, "piecesauth/seal key id")
//	24 bytes  the nonce, random
//	…         the ciphertext and its tag of 16 bytes
//
// The cipher is XAES-256-GCM as specified by C2SP
// (https://c2sp.org/XAES-256-GCM): its random nonces are safe for any number of
// messages, while those of plain AES-GCM are not beyond about 2^32. The first
// five bytes and the purpose are authenticated with the plaintext. The length
// of the plaintext is not hidden.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const (
	format = 1
	// keySize is the key size of AES-256, the only one that XAES-256-GCM has.
	keySize    = 32
	idSize     = 4
	headSize   = 1 + idSize
	subkeySize = 12 // of the nonce, from which the subkey is derived
	nonceSize  = 24
	overhead   = headSize + nonceSize + 16
)

// ErrCannotOpen is the error of [Sealer.Open]: no key matches, or the data was
// sealed for another purpose, altered, or cut off.
var ErrCannotOpen = errors.New("seal: cannot be opened")

// Sealer seals and opens data. Make one with [New]. It is safe for concurrent
// use. Printing or logging it does not show its keys.
type Sealer struct {
	// A function, because code that prints by reflection would follow anything
	// else.
	keys func() []key
}

type key struct {
	id    [idSize]byte
	block cipher.Block
	mask  [aes.BlockSize]byte // K1 of the specification
}

// New returns a Sealer. Each key has 32 bytes; the first one seals, and all of
// them open.
func New(keys ...[]byte) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("seal: there is no key: pass at least one, of 32 random bytes")
	}
	ring := make([]key, len(keys))
	for i, k := range keys {
		if len(k) != keySize {
			return nil, fmt.Errorf("seal: key %d of %d has %d bytes instead of 32; decode it, if it is hex or base64", i+1, len(keys), len(k))
		}
		var err error
		if ring[i], err = newKey(k); err != nil {
			return nil, fmt.Errorf("seal: key %d of %d: %w", i+1, len(keys), err)
		}
	}
	return &Sealer{keys: func() []key { return ring }}, nil
}

// Seal encrypts plaintext with the first key. The result can be opened for the
// same purpose only; a purpose is, for example, a cookie's name or the key of a
// row. No two results are equal.
func (s *Sealer) Seal(plaintext []byte, purpose string) []byte {
	k := s.keys()[0]
	sealed := make([]byte, headSize+subkeySize, overhead+len(plaintext))
	sealed[0] = format
	copy(sealed[1:], k.id[:])
	_, _ = rand.Read(sealed[headSize:]) // never fails
	aead := k.aead([subkeySize]byte(sealed[headSize:]))
	// It appends the second half of the nonce by itself.
	return aead.Seal(sealed, nil, plaintext, associated(sealed, purpose)) //nolint:gosec // no nonce, so that it draws one
}

// Open returns what was sealed for this purpose with any of the keys. Its only
// error is [ErrCannotOpen].
func (s *Sealer) Open(sealed []byte, purpose string) ([]byte, error) {
	switch {
	case len(sealed) > 0 && sealed[0] != format:
		return nil, fmt.Errorf("%w: its format is %d and this program reads format %d; it was not sealed, or by a later version", ErrCannotOpen, sealed[0], format)
	case len(sealed) < overhead:
		return nil, fmt.Errorf("%w: it has %d bytes, and what is sealed has %d or more; it was cut off", ErrCannotOpen, len(sealed), overhead)
	}
	known := false
	for _, k := range s.keys() {
		// The id avoids trying every key. It proves nothing: two keys may share
		// it.
		if [idSize]byte(sealed[1:]) != k.id {
			continue
		}
		known = true
		aead := k.aead([subkeySize]byte(sealed[headSize:]))
		plaintext, err := aead.Open(nil, nil, sealed[headSize+subkeySize:], associated(sealed, purpose))
		if err == nil {
			return plaintext, nil
		}
	}
	if !known {
		return nil, fmt.Errorf("%w: it was sealed with a key that is not among the %d here", ErrCannotOpen, len(s.keys()))
	}
	return nil, fmt.Errorf("%w: it was altered, or sealed for another purpose", ErrCannotOpen)
}

// Format prints that this is a Sealer, and nothing else.
func (Sealer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "seal.Sealer{}") }

// LogValue logs what Format prints.
func (Sealer) LogValue() slog.Value { return slog.StringValue("seal.Sealer{}") }

// associated returns the data that is authenticated with the plaintext: the
// head, whose length is fixed, and the purpose.
func associated(sealed []byte, purpose string) []byte {
	return append(sealed[:headSize:headSize], purpose...)
}

func newKey(secret []byte) (k key, err error) {
	if k.block, err = aes.NewCipher(secret); err != nil {
		return key{}, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("piecesauth/seal key id"))
	copy(k.id[:], mac.Sum(nil))

	// L shifted left by one bit, in constant time.
	var l [aes.BlockSize]byte
	k.block.Encrypt(l[:], l[:])
	carry := l[0] >> 7 * 0b10000111
	for i := len(l) - 1; i >= 0; i-- {
		k.mask[i] = l[i]<<1 ^ carry
		carry = l[i] >> 7
	}
	return k, nil
}

// subkey derives the key for one message from the first half of its nonce.
func (k *key) subkey(nonce [subkeySize]byte) cipher.Block {
	var derived [keySize]byte
	for i := range 2 {
		message := derived[i*aes.BlockSize:][:aes.BlockSize]
		message[1], message[2] = byte(i+1), 'X'
		copy(message[4:], nonce[:])
		for j := range message {
			message[j] ^= k.mask[j]
		}
		k.block.Encrypt(message, message)
	}
	block, _ := aes.NewCipher(derived[:]) // fails for other lengths alone
	return block
}

// aead returns AES-256-GCM that generates and checks the second half of the
// nonce by itself, which is the only way that Go allows in FIPS 140-only mode.
func (k *key) aead(nonce [subkeySize]byte) cipher.AEAD {
	aead, _ := cipher.NewGCMWithRandomNonce(k.subkey(nonce)) // fails for other ciphers alone
	return aead
}
