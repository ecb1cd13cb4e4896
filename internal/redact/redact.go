// Package redact prints structs without their secrets, and removes known
// secrets from texts.
package redact

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const mark = "[redacted]"

// Value returns what [Write] writes, for a LogValue method.
func Value(v any) slog.Value {
	var b strings.Builder
	Write(&b, v)
	return slog.StringValue(b.String())
}

// Write writes the exported fields of the struct v that are set. Of fields with
// the tag secret, and of the raw parts of an HTTP response, it writes only the
// name.
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

// Cut returns the text without those secrets that are at least that many bytes
// long, whether they are plain or any of their characters are escaped as in
// URLs, HTML and JSON. A shorter one, as in a test, may well be part of a word.
func Cut(text string, least int, secrets []string) string {
	for _, secret := range secrets {
		if secret == "" || len(secret) < least {
			continue
		}
		text = cutEscaped(strings.ReplaceAll(text, secret, mark), secret)
	}
	return text
}

func cutEscaped(text, secret string) string {
	var b strings.Builder
	for rest := text; rest != ""; {
		if n := spelled(rest, secret); n > 0 {
			b.WriteString(mark)
			rest = rest[n:]
			continue
		}
		b.WriteByte(rest[0])
		rest = rest[1:]
	}
	return b.String()
}

// spelled returns the length of the beginning of the text that spells the
// secret, or 0 if it does not begin with it.
func spelled(text, secret string) int {
	at := 0
	for secret != "" {
		_, size := utf8.DecodeRuneInString(secret)
		n := escaped(text[at:], secret[:size])
		if n == 0 && strings.HasPrefix(text[at:], secret[:size]) {
			n = size
		}
		if n == 0 {
			return 0
		}
		at, secret = at+n, secret[size:]
	}
	return at
}

// escaped returns the length of the escape for the character at the beginning
// of the text, or 0 if there is none.
func escaped(text, char string) int {
	r, _ := utf8.DecodeRuneInString(char)
	switch {
	case text == "":
	case text[0] == '+' && char == " ":
		return 1
	case text[0] == '%':
		n := min(3*len(char), len(text))
		if c, err := url.PathUnescape(text[:n]); err == nil && c == char {
			return n
		}
	case text[0] == '&':
		if end := strings.IndexByte(text, ';') + 1; end > 0 && end <= 12 && reference(text[1:end-1], char) {
			return end
		}
	case text[0] == '\\' && len(text) >= 6 && text[1] == 'u':
		if n, err := strconv.ParseUint(text[2:6], 16, 16); err == nil && rune(n) == r {
			return 6
		}
	case text[0] == '\\' && strings.HasPrefix(text[1:], char):
		return 1 + len(char)
	}
	return 0
}

// reference reports whether the HTML character reference of that name stands for
// the character.
func reference(name, char string) bool {
	digits, numeric := strings.CutPrefix(name, "#")
	if !numeric {
		return slices.Contains(strings.Split(references, " "), char+name)
	}
	hex, base := strings.TrimPrefix(strings.ToLower(digits), "x"), 16
	if hex == digits {
		base = 10
	}
	n, err := strconv.ParseUint(hex, base, 21)
	return err == nil && string(rune(n)) == char
}

// references are the characters of ASCII and Latin-1 that HTML has names for,
// each before its name. Package html has two thousand more, which would add
// 70 KiB to every program; no token can have such characters (RFC 6749 appendix A).
const references = "!excl \"quot #num $dollar %percnt &amp 'apos (lpar )rpar *ast +plus ,comma .period /sol :colon ;semi <lt =equals >gt ?quest " +
	"@commat [lsqb \\bsol ]rsqb ^Hat _lowbar `grave {lcub |verbar }rcub \u00a0nbsp ¡iexcl ¢cent £pound ¤curren ¥yen ¦brvbar §sect " +
	"¨uml ©copy ªordf «laquo ¬not \u00adshy ®reg ¯macr °deg ±plusmn ²sup2 ³sup3 ´acute µmicro ¶para ·middot ¸cedil ¹sup1 ºordm " +
	"»raquo ¼frac14 ½frac12 ¾frac34 ¿iquest ÀAgrave ÁAacute ÂAcirc ÃAtilde ÄAuml ÅAring ÆAElig ÇCcedil ÈEgrave ÉEacute ÊEcirc ËEuml " +
	"ÌIgrave ÍIacute ÎIcirc ÏIuml ÐETH ÑNtilde ÒOgrave ÓOacute ÔOcirc ÕOtilde ÖOuml ×times ØOslash ÙUgrave ÚUacute ÛUcirc ÜUuml " +
	"ÝYacute ÞTHORN ßszlig àagrave áaacute âacirc ãatilde äauml åaring æaelig çccedil èegrave éeacute êecirc ëeuml ìigrave íiacute " +
	"îicirc ïiuml ðeth ñntilde òograve óoacute ôocirc õotilde öouml ÷divide øoslash ùugrave úuacute ûucirc üuuml ýyacute þthorn " +
	"ÿyuml"
