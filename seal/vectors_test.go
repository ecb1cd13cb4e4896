package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha3"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// xaes seals with a nonce of the caller's, which the package itself never does.
func xaes(t *testing.T, k key, nonce [nonceSize]byte, plaintext, additional []byte) []byte {
	t.Helper()
	aead, err := cipher.NewGCM(k.subkey([subkeySize]byte(nonce[:])))
	require.NoError(t, err)
	return aead.Seal(nil, nonce[subkeySize:], plaintext, additional)
}

// unxaes opens the way that Open does.
func unxaes(t *testing.T, k key, nonce [nonceSize]byte, ciphertext, additional []byte) []byte {
	t.Helper()
	aead := k.aead([subkeySize]byte(nonce[:]))
	plaintext, err := aead.Open(nil, nil, append(bytes.Clone(nonce[subkeySize:]), ciphertext...), additional)
	require.NoError(t, err)
	return plaintext
}

// The two vectors that the specification spells out: the first bit of L is 0 in
// the one and 1 in the other.
func TestPublishedVectors(t *testing.T) {
	nonce := [nonceSize]byte([]byte("ABCDEFGHIJKLMNOPQRSTUVWX"))
	for name, tt := range map[string]struct {
		key        byte
		additional string
		mask       string // K1
		ciphertext string
	}{
		"MSB 0": {1, "", "e531954aca063d5b8d9c47a47d4cc6f0", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		"MSB 1": {3, "c2sp.org/XAES-256-GCM", "23810ec50edb99f374409466ed1f4b7b", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := newKey(bytes.Repeat([]byte{tt.key}, keySize))
			require.NoError(t, err)
			require.Equal(t, tt.mask, hex.EncodeToString(k.mask[:]))
			ciphertext := xaes(t, k, nonce, []byte("XAES-256-GCM"), []byte(tt.additional))
			require.Equal(t, tt.ciphertext, hex.EncodeToString(ciphertext))
			require.Equal(t, "XAES-256-GCM", string(unxaes(t, k, nonce, ciphertext, []byte(tt.additional))))
		})
	}
}

// The accumulated test of the specification: 10,000 rounds, or the million, which
// takes some seconds, if SEAL_TEST_LONG is set.
func TestAccumulatedVectors(t *testing.T) {
	const (
		short, shortSum = 10_000, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
		long, longSum   = 1_000_000, "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"
	)
	rounds, want := short, shortSum
	if os.Getenv("SEAL_TEST_LONG") != "" {
		rounds, want = long, longSum
	}
	source, sum := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	next := func(n int) []byte {
		data := make([]byte, n)
		_, err := source.Read(data)
		require.NoError(t, err)
		return data
	}
	for range rounds {
		k, err := newKey(next(keySize))
		require.NoError(t, err)
		nonce := [nonceSize]byte(next(nonceSize))
		plaintext := next(int(next(1)[0]))
		additional := next(int(next(1)[0]))
		ciphertext := xaes(t, k, nonce, plaintext, additional)
		if opened := unxaes(t, k, nonce, ciphertext, additional); !bytes.Equal(plaintext, opened) {
			t.Fatal("what was sealed opens as something else")
		}
		_, err = sum.Write(ciphertext)
		require.NoError(t, err)
	}
	got := make([]byte, 32)
	_, err := sum.Read(got)
	require.NoError(t, err)
	require.Equal(t, want, hex.EncodeToString(got))
}

// frozen is what this format has looked like since it was released: it must open
// for ever. The entries were computed without this package.
type frozen struct {
	Keys      []string `json:"keys"`
	Purpose   string   `json:"purpose"`
	Plaintext string   `json:"plaintext"`
	Sealed    string   `json:"sealed"`
}

func TestFrozenVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/format1.json")
	require.NoError(t, err)
	var vectors []frozen
	require.NoError(t, json.Unmarshal(data, &vectors))
	require.Len(t, vectors, 5)
	for _, v := range vectors {
		var keys [][]byte
		for _, k := range v.Keys {
			keys = append(keys, unhex(t, k))
		}
		sealer, err := New(keys...)
		require.NoError(t, err)
		opened, err := sealer.Open(unhex(t, v.Sealed), v.Purpose)
		require.NoError(t, err)
		require.Equal(t, v.Plaintext, hex.EncodeToString(opened))
	}
}

// Two keys may share an id: then both are tried.
func TestKeysWithOneID(t *testing.T) {
	a, err := newKey(bytes.Repeat([]byte{1}, keySize))
	require.NoError(t, err)
	b, err := newKey(bytes.Repeat([]byte{2}, keySize))
	require.NoError(t, err)
	b.id = a.id
	first, second := &Sealer{keys: func() []key { return []key{a, b} }}, &Sealer{keys: func() []key { return []key{b, a} }}
	for _, s := range []*Sealer{first, second} {
		opened, err := first.Open(s.Seal([]byte("text"), "purpose"), "purpose")
		require.NoError(t, err)
		require.Equal(t, "text", string(opened))
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	data, err := hex.DecodeString(s)
	require.NoError(t, err)
	return data
}
