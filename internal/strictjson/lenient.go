package strictjson

import (
	"encoding"
	stdjson "encoding/json"
	"errors"
	"reflect"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// UnmarshalLenient is like [Unmarshal], but a member that can't be read as its
// field's type is converted (a number in a string to a number, a number to a
// string, "true" and "false" to a bool) or else left at zero, at any depth;
// such an element of a list or a map is left out. Members whose names are in
// strict are read as Unmarshal does. Malformed JSON is always an error.
func UnmarshalLenient(b []byte, v any, strict ...string) error {
	b, err := object(b)
	if err != nil {
		return err
	}
	err = json.Unmarshal(b, v)
	if err == nil {
		return nil
	}
	return retry(b, v, strict, err)
}

// retry reads b leniently after strict reading has failed with err, if the
// reason was a type.
func retry(b []byte, v any, strict lenient, err error) error {
	var typ *json.SemanticError
	target := reflect.ValueOf(v)
	if !errors.As(err, &typ) || target.Kind() != reflect.Pointer || target.IsNil() {
		return cause(err, b, v)
	}
	target.Elem().SetZero() // of what the first try left in it
	if err := json.Unmarshal(b, v, json.WithUnmarshalers(json.UnmarshalFromFunc(strict.unmarshal))); err != nil {
		target.Elem().SetZero()
		return cause(err, b, v)
	}
	return nil
}

// lenient holds the names of the members that are read strictly.
type lenient []string

// unmarshal reads the next value into what v points to. It leaves finding the
// fields of a struct to JSON v2.
func (l lenient) unmarshal(dec *jsontext.Decoder, v any) error {
	for name := range dec.StackPointer().Tokens() {
		if slices.Contains(l, name) {
			return errors.ErrUnsupported
		}
		break
	}
	val := reflect.ValueOf(v).Elem()
	kind, known := container(val.Type())
	switch next := dec.PeekKind(); {
	case val.Kind() == reflect.Interface || next == 'n':
		return errors.ErrUnsupported
	case known && next != kind:
		return dec.SkipValue()
	case known && val.Kind() == reflect.Slice:
		return l.list(dec, val)
	case known && val.Kind() == reflect.Map:
		return l.table(dec, val)
	case known:
		return errors.ErrUnsupported
	}
	_, err := l.element(dec, val)
	return err
}

// list reads a list into val, without the elements that can't be read.
func (l lenient) list(dec *jsontext.Decoder, val reflect.Value) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	all := reflect.MakeSlice(val.Type(), 0, 0)
	for dec.PeekKind() != ']' {
		e := reflect.New(val.Type().Elem()).Elem()
		ok, err := l.element(dec, e)
		if err != nil {
			return err
		}
		if ok {
			all = reflect.Append(all, e)
		}
	}
	val.Set(all)
	_, err := dec.ReadToken()
	return err
}

// table reads an object into the map val, without the members that can't be
// read.
func (l lenient) table(dec *jsontext.Decoder, val reflect.Value) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	val.Set(reflect.MakeMap(val.Type()))
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		key := reflect.ValueOf(name.String()).Convert(val.Type().Key())
		e := reflect.New(val.Type().Elem()).Elem()
		ok, err := l.element(dec, e)
		if err != nil {
			return err
		}
		if ok {
			val.SetMapIndex(key, e)
		}
	}
	_, err := dec.ReadToken()
	return err
}

// element reads the next value into val, and reports whether it could be read.
func (l lenient) element(dec *jsontext.Decoder, val reflect.Value) (ok bool, err error) {
	next := dec.PeekKind()
	kind, known := container(val.Type())
	switch {
	case known && next != 'n' && next != kind:
		return false, dec.SkipValue()
	case known || val.Kind() == reflect.Interface:
		return true, json.UnmarshalDecode(dec, val.Addr().Interface())
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return false, err
	}
	if json.Unmarshal(raw, val.Addr().Interface()) == nil || convert(raw, val) {
		return true, nil
	}
	val.SetZero()
	return false, nil
}

// container returns the kind of JSON that a composite type is read from; ok is
// false for all other types, and for those that read JSON themselves.
func container(t reflect.Type) (kind jsontext.Kind, ok bool) {
	t = base(t)
	switch k := t.Kind(); {
	case hasMethods(t):
	case k == reflect.Struct, k == reflect.Map && t.Key().Kind() == reflect.String && !hasMethods(t.Key()):
		return '{', true
	case k == reflect.Slice && t.Elem().Kind() != reflect.Uint8: // a list of bytes is text
		return '[', true
	}
	return 0, false
}

// hasMethods reports whether values of the type read JSON themselves.
func hasMethods(t reflect.Type) bool {
	if t == nil {
		return false
	}
	t = reflect.PointerTo(base(t))
	return t.Implements(reflect.TypeFor[stdjson.Unmarshaler]()) || t.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// convert reads a scalar that was written as another kind.
func convert(raw jsontext.Value, val reflect.Value) bool {
	t := base(val.Type())
	if hasMethods(t) {
		return false
	}
	switch k := t.Kind(); raw.Kind() { //nolint:exhaustive // the others are not converted
	case '0':
		if k != reflect.String {
			return false
		}
		text, err := jsontext.AppendQuote(nil, raw)
		return err == nil && json.Unmarshal(text, val.Addr().Interface()) == nil
	case '"':
		text, err := jsontext.AppendUnquote(nil, raw)
		return err == nil && (k == reflect.Bool || k >= reflect.Int && k <= reflect.Float64) &&
			string(text) != "null" && json.Unmarshal(text, val.Addr().Interface()) == nil
	}
	return false
}
