// Package form writes structs as application/x-www-form-urlencoded.
package form

import (
	"net/url"
	"reflect"
	"strings"

	"github.com/oapi-codegen/runtime"
)

// Encoder writes structs of one type.
type Encoder struct{ names []string }

// NewEncoder returns an encoder of structs of the type of v, whose fields have
// the names of their JSON tags.
func NewEncoder(v any) *Encoder {
	e := &Encoder{}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		e.names = append(e.names, name)
	}
	return e
}

// Encode returns the form of the struct that v points to, without its empty
// fields. Structs with string fields only take a fraction of the time that the
// runtime's encoder takes, which it uses for all others.
func (e *Encoder) Encode(v any) (string, error) {
	form := make([]byte, 0, 512)
	val := reflect.ValueOf(v).Elem()
	for i, name := range e.names {
		switch f := val.Field(i); {
		case f.IsZero():
		case f.Kind() != reflect.String:
			values, err := runtime.MarshalForm(v, nil)
			return values.Encode(), err
		default:
			if len(form) > 0 {
				form = append(form, '&')
			}
			form = append(form, name...)
			form = append(form, '=')
			form = append(form, url.QueryEscape(f.String())...)
		}
	}
	return string(form), nil
}
