// Package strictjson reads one JSON object, as JSON v2 does: names are exact,
// no name is repeated, text is UTF-8. So every other parser reads the same values
// in an object as those that were checked.
//
//   - [Unmarshal] is for values that decide something.
//   - [UnmarshalLenient] is for what servers write in various ways: a member
//     that doesn't have its field's type is converted or left out.
//   - [UnmarshalCaller] is for types of callers, written for encoding/json.
//
// No error holds any text of the input: errors name fields of the Go type and
// kinds of JSON.
package strictjson

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxCommas limits memory: small values take much more room decoded than as
// text, and each value but the first of an object or a list follows a comma.
const maxCommas = 10_000

// ErrTooLarge means that an object has more values than any real one.
var ErrTooLarge = errors.New("answer too large")

var errNoObject = errors.New("the answer is not a JSON object")

// FixedError is an error of an UnmarshalJSON or UnmarshalText method whose text
// is a constant, and so can be shown. The text of any other error is hidden,
// since it may repeat the input; [errors.Is] finds both.
type FixedError string

// Error returns the text.
func (f FixedError) Error() string { return string(f) }

// Unmarshal reads the JSON object b into v.
func Unmarshal(b []byte, v any) error {
	b, err := object(b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return cause(err, b, v)
	}
	return nil
}

// object returns b without a byte order mark, if it begins like an object.
func object(b []byte) ([]byte, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	switch trimmed := bytes.TrimLeft(b, " \t\r\n"); {
	case len(trimmed) == 0 || trimmed[0] != '{':
		return nil, errNoObject
	case bytes.Count(b, []byte{','}) > maxCommas:
		return nil, ErrTooLarge
	}
	return b, nil
}

// cause returns err without text that may come from the input.
func cause(err error, b []byte, v any) error {
	var (
		syntax *jsontext.SyntacticError
		typ    *json.SemanticError
		fixed  FixedError
	)
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errors.New("the JSON has a name twice")
	case !utf8.Valid(b):
		return errors.New("the answer is not UTF-8")
	case errors.As(err, &fixed):
		return fixed
	case errors.As(err, &syntax):
		return errors.New("the JSON is malformed")
	case !errors.As(err, &typ) || typ.JSONPointer == "" && typ.JSONKind == 0:
		return &opaque{"the JSON cannot be read into the value", err}
	case typ.Err != nil && hasMethods(typ.GoType):
		return &opaque{"the JSON has a value that cannot be read", err}
	}
	kind := map[jsontext.Kind]string{'n': "a null", 't': "a bool", 'f': "a bool", '"': "a string", '0': "a number", '{': "an object", '[': "an array"}[typ.JSONKind]
	if kind == "" {
		kind = "a value"
	}
	return fmt.Errorf("the JSON has %s where %s cannot be one", kind, field(typ.JSONPointer, v))
}

// field returns the path of what p points to, using only those parts that are
// fields of v's type, because the others come from the input.
func field(p jsontext.Pointer, v any) string {
	var names []string
	t := reflect.TypeOf(v)
	for name := range p.Tokens() {
		switch t = base(t); t.Kind() { //nolint:exhaustive // the others have no parts
		case reflect.Struct:
			f, ok := fieldNamed(fieldsOf(t), name)
			if !ok {
				return strings.Join(append(names, "a member"), ".")
			}
			names, t = append(names, f.name), f.typ
		case reflect.Slice, reflect.Array, reflect.Map:
			t = t.Elem()
		}
	}
	if names == nil {
		return "the value"
	}
	return strings.Join(names, ".")
}

// jsonField is a field of a struct as JSON has it.
type jsonField struct {
	name   string
	tagged bool
	typ    reflect.Type
}

// fieldsOf returns the fields of a struct.
func fieldsOf(t reflect.Type) (fields []jsonField) {
	for _, f := range reflect.VisibleFields(t) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && (!f.Anonymous || tag != "") {
			fields = append(fields, jsonField{cmp.Or(tag, f.Name), tag != "", f.Type})
		}
	}
	return fields
}

// fieldNamed returns the field that a member of that name is read into: the one
// with the exact name, or else one that differs in case, preferably one with a
// tag.
func fieldNamed(fields []jsonField, name string) (found jsonField, ok bool) {
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
		if strings.EqualFold(f.name, name) && (f.tagged || !ok) {
			found, ok = f, true
		}
	}
	return found, ok
}

// base returns what t points to in the end.
func base(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// opaque is an error whose text may repeat the input.
type opaque struct {
	text  string
	cause error
}

func (o *opaque) Error() string        { return o.text }
func (o *opaque) GoString() string     { return o.text }
func (o *opaque) Is(target error) bool { return errors.Is(o.cause, target) }
func (o *opaque) As(target any) bool   { return errors.As(o.cause, target) }
