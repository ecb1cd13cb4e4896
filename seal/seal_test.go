package seal_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/seal"
)

const (
	text    = "a token"
	purpose = "person 4711"
)

// testKey is one whose bytes are known text, to be found in whatever prints them.
func testKey(n int) []byte { return fmt.Appendf(nil, "planted-key-%020d", n) }

func newSealer(t testing.TB, keys ...int) *seal.Sealer {
	t.Helper()
	var all [][]byte
	for _, n := range keys {
		all = append(all, testKey(n))
	}
	s, err := seal.New(all...)
	require.NoError(t, err)
	return s
}

func TestNewRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		keys [][]byte
		want string
	}{
		"no key":         {nil, "seal: there is no key: pass at least one, of 32 random bytes"},
		"nil":            {[][]byte{nil}, "seal: key 1 of 1 has 0 bytes instead of 32; decode it, if it is hex or base64"},
		"AES-128":        {[][]byte{testKey(1)[:16]}, "seal: key 1 of 1 has 16 bytes instead of 32; decode it, if it is hex or base64"},
		"hex, undecoded": {[][]byte{testKey(1), []byte(hex.EncodeToString(testKey(2))), testKey(3)}, "seal: key 2 of 3 has 64 bytes instead of 32; decode it, if it is hex or base64"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := seal.New(tt.keys...)
			require.EqualError(t, err, tt.want)
			require.Nil(t, s)
		})
	}
}

func TestSealAndOpen(t *testing.T) {
	s := newSealer(t, 1)
	for _, n := range []int{0, 1, 15, 16, 17, 4096, 1 << 20} {
		for _, purpose := range []string{"", "p", strings.Repeat("long ", 1000), "\x00\xff"} {
			plain := bytes.Repeat([]byte("x"), n)
			sealed := s.Seal(plain, purpose)
			require.Len(t, sealed, n+45)
			opened, err := s.Open(sealed, purpose)
			require.NoError(t, err)
			require.True(t, bytes.Equal(plain, opened))
		}
	}
	first, second := s.Seal([]byte(text), purpose), s.Seal([]byte(text), purpose)
	require.NotEqual(t, first, second, "no two are alike")
}

// The caller's memory stays the caller's.
func TestArgumentsAreLeftAlone(t *testing.T) {
	key := testKey(1)
	s, err := seal.New(key)
	require.NoError(t, err)
	plain := []byte(text)
	sealed := s.Seal(plain, purpose)
	require.Equal(t, testKey(1), key)
	require.Equal(t, text, string(plain))
	clear(key)
	before := bytes.Clone(sealed)
	opened, err := s.Open(sealed, purpose)
	require.NoError(t, err)
	require.Equal(t, before, sealed)
	clear(sealed)
	require.Equal(t, text, string(opened))
}

// A key is added, put first, and the old one left out: a machine that is one step
// behind or ahead opens what the others seal, and seals what they can open.
func TestRotation(t *testing.T) {
	steps := [][]int{{1}, {1, 2}, {2, 1}, {2}}
	for i, by := range steps {
		sealed := newSealer(t, by...).Seal([]byte(text), purpose)
		for j, at := range steps {
			opened, err := newSealer(t, at...).Open(sealed, purpose)
			if i < 2 && j == 3 || i > 1 && j == 0 {
				require.ErrorIs(t, err, seal.ErrCannotOpen, "sealed by %v, opened by %v", by, at)
				continue
			}
			require.NoError(t, err, "sealed by %v, opened by %v", by, at)
			require.Equal(t, text, string(opened))
		}
	}
}

// Whatever is wrong is ErrCannotOpen, said in one line, without a word of what
// was sealed, the key or the purpose.
func TestOpenRefuses(t *testing.T) {
	const altered, unknown, cutOff = "it was altered, or sealed for another purpose", "it was sealed with a key that is not among the 2 here", "it was cut off"
	s := newSealer(t, 1, 2)
	good := s.Seal([]byte(text), purpose)
	other := newSealer(t, 3).Seal([]byte(text), purpose)
	forged := append(bytes.Clone(good[:5]), other[5:]...) // another key's, with the id of ours
	tests := map[string]struct {
		sealed  []byte
		purpose string
		want    string
	}{
		"another purpose":      {good, "person 4712", altered},
		"no purpose":           {good, "", altered},
		"purpose cut off":      {good, purpose[:3], altered},
		"another key":          {other, purpose, unknown},
		"another key, our id":  {forged, purpose, altered},
		"the id of our second": {append(append([]byte{1}, s2id(t)...), good[5:]...), purpose, altered},
		"longer":               {append(bytes.Clone(good), 0), purpose, altered},
		"nil":                  {nil, purpose, "it has 0 bytes, and what is sealed has 45 or more; " + cutOff},
		"no ciphertext":        {good[:44], purpose, "it has 44 bytes, and what is sealed has 45 or more; " + cutOff},
		"a later format":       {append([]byte{2}, good[1:]...), purpose, "its format is 2 and this program reads format 1; it was not sealed, or by a later version"},
		"not sealed":           {[]byte(`{"version":1}`), purpose, "its format is 123 and this program reads format 1"},
	}
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1
		want := altered
		if i == 0 {
			want = "its format is 0"
		} else if i < 5 {
			want = unknown
		}
		tests[fmt.Sprintf("bit of byte %d", i)] = struct {
			sealed  []byte
			purpose string
			want    string
		}{flipped, purpose, want}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			opened, err := s.Open(tt.sealed, tt.purpose)
			require.ErrorIs(t, err, seal.ErrCannotOpen)
			require.ErrorContains(t, err, "seal: cannot be opened: "+tt.want)
			require.Nil(t, opened)
			for _, hidden := range []string{text, "person", "planted", "\n"} {
				require.NotContains(t, err.Error(), hidden)
			}
		})
	}
}

// s2id is the id of the second key.
func s2id(t *testing.T) []byte { return newSealer(t, 2).Seal(nil, "")[1:5] }

// Nothing that prints a Sealer, or what holds one, shows a key.
func TestPrintsNothing(t *testing.T) {
	s := newSealer(t, 1, 2)
	type holder struct {
		Public  *seal.Sealer
		private seal.Sealer
	}
	held := holder{Public: s, private: *s}
	var out strings.Builder
	for _, v := range []any{s, *s, held, &held, []*seal.Sealer{s}, map[string]seal.Sealer{"k": *s}, any(held.private)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%p", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("m", "sealer", v)
		}
		data, err := json.Marshal(v)
		require.NoError(t, err)
		out.Write(data)
		require.NotEqual(t, v, newSealer(t, 3)) // what testify prints of it goes by unsafe
	}
	require.Contains(t, out.String(), "seal.Sealer{}")
	for _, n := range []int{1, 2} {
		key := testKey(n)
		for _, form := range []string{string(key[:16]), hex.EncodeToString(key[:8]), strings.ToUpper(hex.EncodeToString(key[:8])), "112 108 97 110 116 101 100", "0x70, 0x6c, 0x61"} {
			require.NotContains(t, out.String(), form)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	s := newSealer(t, 1, 2)
	var wg sync.WaitGroup
	failed := make(chan error, 8)
	for i := range 8 {
		wg.Go(func() {
			purpose := strconv.Itoa(i)
			for range 200 {
				if opened, err := s.Open(s.Seal([]byte(text), purpose), purpose); err != nil || string(opened) != text {
					failed <- fmt.Errorf("%q, %w", opened, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	require.NoError(t, <-failed)
}

// FuzzOpen: what was not sealed never opens, and what was opens unchanged.
func FuzzOpen(f *testing.F) {
	s := newSealer(f, 1, 2)
	sealed := s.Seal([]byte(text), purpose)
	f.Add(sealed, purpose, 0, byte(0))
	f.Add(sealed[:45], "", 3, byte(1))
	f.Add(newSealer(f, 3).Seal(nil, ""), "", 7, byte(255))
	f.Add([]byte{}, "", -1, byte(2))
	f.Fuzz(func(t *testing.T, data []byte, purpose string, at int, flip byte) {
		opened, err := s.Open(data, purpose)
		if err == nil {
			// Only the seeds were made with the key.
			require.Equal(t, sealed, data)
			require.Equal(t, text, string(opened))
		} else {
			require.ErrorIs(t, err, seal.ErrCannotOpen)
			require.Nil(t, opened)
		}

		made := s.Seal(data, purpose)
		opened, err = s.Open(made, purpose)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, opened))
		if flip != 0 {
			made[uint(at)%uint(len(made))] ^= flip
			_, err = s.Open(made, purpose)
			require.ErrorIs(t, err, seal.ErrCannotOpen)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s, plain := newSealer(b, 1, 2), make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		s.Seal(plain, purpose)
	}
}

func BenchmarkOpen(b *testing.B) {
	s := newSealer(b, 1, 2)
	sealed := newSealer(b, 2).Seal(make([]byte, 1500), purpose)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open(sealed, purpose); err != nil {
			b.Fatal(err)
		}
	}
}
