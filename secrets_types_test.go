package piecesauth

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// packageStruct is a struct type of the package's source.
type packageStruct struct {
	name    string
	fields  *ast.FieldList
	methods map[string]bool // true: of the value, and so of the pointer
}

// jsonField is a field of such a type.
type jsonField struct {
	name, wire string // in Go and in JSON
	secret     bool
	text       bool // a string, or several
}

func (s *packageStruct) jsonFields() (fields []jsonField) {
	for _, field := range s.fields.List {
		var tag reflect.StructTag
		if field.Tag != nil {
			tag = reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
		}
		wire, _, _ := strings.Cut(tag.Get("json"), ",")
		for _, id := range field.Names {
			if ast.IsExported(id.Name) {
				fields = append(fields, jsonField{id.Name, cmp.Or(wire, id.Name), tag.Get("secret") != "", isText(field.Type)})
			}
		}
	}
	return fields
}

func isText(typ ast.Expr) bool {
	switch typ := typ.(type) {
	case *ast.StarExpr:
		return isText(typ.X)
	case *ast.ArrayType:
		return isText(typ.Elt)
	case *ast.MapType:
		return isText(typ.Value)
	case *ast.Ident:
		return typ.Name == "string"
	}
	return false
}

// packageStructs reads the package's source, without the tests.
func packageStructs(t *testing.T) map[string]*packageStruct {
	structs := map[string]*packageStruct{}
	files, err := fs.Glob(os.DirFS("."), "*.go")
	require.NoError(t, err)
	var decls []ast.Decl
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			decls = append(decls, file.Decls...)
		}
	}
	for _, decl := range decls {
		if gen, ok := decl.(*ast.GenDecl); ok {
			for _, spec := range gen.Specs {
				if spec, ok := spec.(*ast.TypeSpec); ok {
					if s, ok := spec.Type.(*ast.StructType); ok {
						structs[spec.Name.Name] = &packageStruct{spec.Name.Name, s.Fields, map[string]bool{}}
					}
				}
			}
		}
	}
	for _, decl := range decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv != nil {
			typ, byValue := fn.Recv.List[0].Type, true
			if star, ok := typ.(*ast.StarExpr); ok {
				typ, byValue = star.X, false
			}
			if id, ok := typ.(*ast.Ident); ok && structs[id.Name] != nil {
				structs[id.Name].methods[fn.Name.Name] = byValue
			}
		}
	}
	require.Contains(t, structs, "Token")
	require.Contains(t, structs, "OAuthToken")
	return structs
}

// documentedSecrets are secrets that Pieces documents; make adopt asks about each
// new text that may be another one.
var documentedSecrets = []string{
	"access_token", "refresh_token", "id_token", "code", "code_verifier", "state", "nonce", "api_key", "organization_key", "cloud_key",
}

// harmless lists texts that may be printed, of types that hold secrets too, by
// their names in JSON. They come from Go or from the overlay.
var harmless = []string{"base_url", "error", "error_description", "error_uri", "iss", "login_hint", "ui_locales"}

// TestSecretsOfGeneratedTypes fails when a type comes to hold a secret, by the
// generator or by hand, that nobody redacts.
func TestSecretsOfGeneratedTypes(t *testing.T) {
	document, err := os.ReadFile("openapi.yaml")
	require.NoError(t, err)
	isDocumented := func(name string) bool {
		return regexp.MustCompile(`(?m)^ +(- name: )?['"]?` + regexp.QuoteMeta(name) + `['"]?(:.*)?$`).Match(document)
	}
	found := 0
	var met []string
	for name, s := range packageStructs(t) {
		if !ast.IsExported(name) {
			continue
		}
		fields := s.jsonFields()
		holdsSecrets := slices.ContainsFunc(fields, func(f jsonField) bool { return f.secret })
		for _, field := range fields {
			if slices.Contains(documentedSecrets, field.wire) {
				assert.True(t, field.secret, "%s.%s is a secret, which its tag has to say", name, field.name)
			}
			if field.secret || field.name == "Body" || field.name == "HTTPResponse" {
				found++
				assert.True(t, s.methods["Format"], "%s has %s, and no method Format of the value", name, field.name)
				assert.True(t, s.methods["LogValue"], "%s has %s, and no method LogValue of the value", name, field.name)
			} else if holdsSecrets && field.text {
				met = append(met, field.wire)
				assert.Truef(t, isDocumented(field.wire) || slices.Contains(harmless, field.wire),
					"%s.%s: if it is a secret, tag it in api/overlay.yaml or, in Go, with secret:\"true\"; if not, add it to harmless", name, field.name)
			}
		}
	}
	assert.GreaterOrEqual(t, found, 20, "of the fields that hold secrets, most were not found")
	for _, wire := range harmless {
		assert.Contains(t, met, wire, "in harmless, and in no type that holds secrets")
	}
}

// What is no secret is printed, as far as it is set.
func TestRedacted(t *testing.T) {
	prompt := "none"
	for want, v := range map[string]any{
		"Token{AccessToken:[redacted] Scopes:openid email}": Token{AccessToken: "a", Scopes: Scopes{"openid", "email"}},
		"Attempt{Nonce:[redacted] MaxAge:1m0s}":             Attempt{Nonce: "n", MaxAge: time.Minute},
		"AuthorizeAuth0Params{Audience:a Prompt:none}":      AuthorizeAuth0Params{Audience: "a", Prompt: &prompt},
		"OAuthToken{}": OAuthToken{},
	} {
		require.Equal(t, want, fmt.Sprint(v))
	}
}
