package strictjson

import (
	stdjson "encoding/json"
	"errors"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// UnmarshalCaller reads the JSON object b into a value of a caller. It works
// like encoding/json, with differences that prevent it from reading something
// other than what was checked: a field with a tag is found by that exact name
// only, and it refuses two members for one field, a repeated name, and text
// that isn't UTF-8.
func UnmarshalCaller(b []byte, v any) error {
	b, err := object(b)
	if err != nil {
		return err
	}
	e := exactTags{fields: map[reflect.Type][]jsonField{}}
	err = json.Unmarshal(b, v, jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false),
		jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false),
		json.WithUnmarshalers(json.UnmarshalFromFunc(e.unmarshal)))
	if err != nil {
		return cause(err, b, v)
	}
	return nil
}

// exactTags skips members that match the tag of a field except for case.
type exactTags struct {
	fields map[reflect.Type][]jsonField
	levels []reflect.Type // what each level of nesting is read into
}

func (e *exactTags) unmarshal(dec *jsontext.Decoder, v any) error {
	depth := dec.StackDepth()
	if depth > 0 && depth <= len(e.levels) {
		if parent := e.levels[depth-1]; parent.Kind() == reflect.Struct {
			fields, ok := e.fields[parent]
			if !ok {
				fields = fieldsOf(parent)
				e.fields[parent] = fields
			}
			name := dec.StackPointer().LastToken()
			if f, ok := fieldNamed(fields, name); ok && f.tagged && f.name != name {
				return dec.SkipValue()
			}
		}
	}
	if number, ok := v.(*stdjson.Number); ok { // which JSON v2 takes for any other string
		raw, err := dec.ReadValue()
		if err == nil && stdjson.Unmarshal(raw, number) != nil {
			err = &json.SemanticError{JSONKind: raw.Kind()}
		}
		return err
	}
	e.levels = append(e.levels[:min(depth, len(e.levels))], base(reflect.TypeOf(v)))
	return errors.ErrUnsupported
}
