package strictjson

import (
	"bytes"
	"errors"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Salvage reads the named members of a JSON object that [Unmarshal] refuses, for
// an answer that can't be requested again, and returns them as an object that
// Unmarshal accepts. A member that is repeated or malformed is left out; other
// names don't matter, nor does anything after the object. The error says what is
// lost: a name in decisive was repeated, the object ends early, or another object
// follows. Even then the members that can be read are returned.
func Salvage(b []byte, decisive []string, optional ...string) ([]byte, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	members, end, err := membersOf(b, slices.Concat(decisive, optional))
	if err == nil && bytes.IndexByte(b[end:], '{') >= 0 {
		err = errors.New("the answer has another JSON object behind the first")
	}
	sound := []byte{'{'}
	for name, values := range members {
		switch {
		case len(values) > 1 && slices.Contains(decisive, name):
			err = errors.New("the JSON has a name twice")
		case len(values) == 1 && values[0].IsValid():
			if len(sound) > 1 {
				sound = append(sound, ',')
			}
			sound, _ = jsontext.AppendQuote(sound, name) // of our own, so it can be
			sound = append(append(sound, ':'), values[0]...)
		}
	}
	return append(sound, '}'), err
}

// membersOf returns the values of the named members of the object that b begins
// with, and where it ends.
func membersOf(b []byte, names []string) (members map[string][]jsontext.Value, end int, err error) {
	members = map[string][]jsontext.Value{}
	malformed := errors.New("the JSON is malformed")
	dec := jsontext.NewDecoder(bytes.NewReader(b), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if begin, err := dec.ReadToken(); err != nil || begin.Kind() != '{' {
		return members, 0, errNoObject
	}
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return members, 0, malformed
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return members, 0, malformed
		}
		if slices.Contains(names, name) && len(members[name]) < 2 {
			members[name] = append(members[name], value.Clone())
		}
	}
	_, err = dec.ReadToken()
	return members, int(dec.InputOffset()), err
}
