// Package redact prints structs without their secrets, and cuts known secrets
// out of texts.
package redact

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
)

const mark = "[redacted]"

// Value returns what [Write] writes, for a LogValue method.
func Value(v any) slog.Value {
	var b strings.Builder
	Write(&b, v)
	return slog.StringValue(b.String())
}

// Write writes the exported fields of the struct v that are set: those with the
// tag secret, and the raw parts of an HTTP response, by name alone.
func Write(w io.Writer, v any) {
	val := reflect.ValueOf(v)
	typ := val.Type()
	_, _ = fmt.Fprintf(w, "%s{", typ.Name())
	sep := ""
	for i := range typ.NumField() {
		f, x := typ.Field(i), val.Field(i)
		if !f.IsExported() || x.IsZero() {
			continue
		}
		switch {
		case f.Tag.Get("secret") != "" || f.Name == "Body" || f.Name == "HTTPResponse":
			_, _ = fmt.Fprintf(w, "%s%s:%s", sep, f.Name, mark)
		case x.Kind() == reflect.Pointer && x.Elem().Kind() != reflect.Struct:
			_, _ = fmt.Fprintf(w, "%s%s:%v", sep, f.Name, x.Elem().Interface())
		default:
			_, _ = fmt.Fprintf(w, "%s%s:%+v", sep, f.Name, x.Interface())
		}
		sep = " "
	}
	_, _ = io.WriteString(w, "}")
}

// Cut returns the text without those secrets that are at least so many bytes
// long: as they are, and escaped as in URLs, HTML and JSON. One of a few
// characters, as in a test, may well be part of a word.
func Cut(text string, least int, secrets []string) string {
	if text == "" {
		return ""
	}
	for _, secret := range secrets {
		if len(secret) < least {
			continue
		}
		for _, form := range forms(secret) {
			text = strings.ReplaceAll(text, form, mark)
		}
	}
	return text
}

// forms lists the ways in which a server may repeat a secret.
func forms(secret string) []string {
	query, path := url.QueryEscape(secret), url.PathEscape(secret)
	all := []string{secret, query, path, lowerEscapes(query), lowerEscapes(path), html.EscapeString(secret)}
	if b, err := json.Marshal(secret); err == nil {
		inner := string(b[1 : len(b)-1])
		all = append(all, inner, strings.ReplaceAll(inner, "/", `\/`))
	}
	return all
}

// lowerEscapes turns %2F into %2f.
func lowerEscapes(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			b.WriteString(strings.ToLower(s[i : i+3]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
