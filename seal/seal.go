// Package seal encrypts what a program keeps outside itself: tokens in a
// database or a file, a session in a cookie. What it seals can't be read, changed,
// or used for another purpose without the key.
//
//	sealer, err := seal.New(key) // 32 random bytes
//	…
//	sealed := sealer.Seal(token, "person 4711")
//	token, err = sealer.Open(sealed, "person 4711")
//
// # Keys
//
// A key is 32 random bytes, for instance of openssl rand -base64 32, decoded.
// Keys are rotated in two steps: the new one is added behind the old one, on
// every machine; then it is put first. Once everything has been sealed anew, the
// old one is left out.
//
// # Format
//
// What is sealed is 45 bytes longer than the plaintext:
//
//	1 byte    the format, 1
//	4 bytes   the key's id: the first of HMAC-SHA-256(key, "piecesauth/seal key id")
//	24 bytes  the nonce, random
//	…         the ciphertext and its tag of 16 bytes
//
// The cipher is XAES-256-GCM as C2SP specifies it (https://c2sp.org/XAES-256-GCM):
// its random nonces stay safe for any number of messages, where those of AES-GCM
// alone end near 2^32. The first five bytes and the purpose are authenticated
// with the plaintext. Its length is not hidden.
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
	// keySize is that of AES-256, the one size that XAES-256-GCM has.
	keySize    = 32
	idSize     = 4
	headSize   = 1 + idSize
	subkeySize = 12 // of the nonce, what the subkey is derived from
	nonceSize  = 24
	overhead   = headSize + nonceSize + 16
)

// ErrCannotOpen is every error of [Sealer.Open]: there is no key for what was
// sealed, or it was sealed for another purpose, altered, or cut off.
var ErrCannotOpen = errors.New("seal: cannot be opened")

// Sealer seals and opens. Make one with [New]. Any number of goroutines may use
// it. However it is printed or logged, its keys are not.
type Sealer struct {
	// A function, since whatever prints by reflection follows everything else.
	keys func() []key
}

type key struct {
	id    [idSize]byte
	block cipher.Block
	mask  [aes.BlockSize]byte // K1 of the specification
}

// New returns a Sealer of keys of 32 bytes each: the first seals, all open.
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

// Seal returns plaintext encrypted under the first key, to be opened for the same
// purpose alone: a cookie's name, say, or the key of a row. No two results are alike.
func (s *Sealer) Seal(plaintext []byte, purpose string) []byte {
	k := s.keys()[0]
	sealed := make([]byte, headSize+subkeySize, overhead+len(plaintext))
	sealed[0] = format
	copy(sealed[1:], k.id[:])
	_, _ = rand.Read(sealed[headSize:]) // never fails
	aead := k.aead([subkeySize]byte(sealed[headSize:]))
	// It appends the second half of the nonce by itself.
	return aead.Seal(sealed, nil, plaintext, associated(sealed, purpose))
}

// Open returns what was sealed for this purpose under any of the keys. Every
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
		// The id saves trying every key. It proves nothing: two keys may share it.
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

// Format prints that this is a Sealer, and nothing of it.
func (Sealer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "seal.Sealer{}") }

// LogValue is what package slog logs.
func (Sealer) LogValue() slog.Value { return slog.StringValue("seal.Sealer{}") }

// associated is what is authenticated beside the plaintext: the head, whose
// length is fixed, and the purpose.
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

// aead is AES-256-GCM that draws and checks the second half of the nonce by
// itself: the one way that is allowed where Go runs in FIPS 140 mode only.
func (k *key) aead(nonce [subkeySize]byte) cipher.AEAD {
	aead, _ := cipher.NewGCMWithRandomNonce(k.subkey(nonce)) // fails for other ciphers alone
	return aead
}
