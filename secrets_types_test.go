package piecesauth

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"reflect"
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

// TestSecretsOfGeneratedTypes fails when a type comes to hold a secret, by the
// generator or by hand, that nobody redacts.
func TestSecretsOfGeneratedTypes(t *testing.T) {
	secret := []string{
		"access_token", "refresh_token", "id_token", "code", "code_verifier", "state", "nonce", "api_key", "organization_key", "cloud_key",
	}
	found := 0
	for name, s := range packageStructs(t) {
		if !ast.IsExported(name) {
			continue
		}
		for _, field := range s.fields.List {
			var tag reflect.StructTag
			if field.Tag != nil {
				tag = reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
			}
			for _, id := range field.Names {
				wire, _, _ := strings.Cut(tag.Get("json"), ",")
				if slices.Contains(secret, wire) {
					assert.Equal(t, "true", tag.Get("secret"), "%s.%s is a secret, which its tag has to say", name, id.Name)
				}
				if tag.Get("secret") != "" || id.Name == "Body" || id.Name == "HTTPResponse" {
					found++
					assert.True(t, s.methods["Format"], "%s has %s, and no method Format of the value", name, id.Name)
					assert.True(t, s.methods["LogValue"], "%s has %s, and no method LogValue of the value", name, id.Name)
				}
			}
		}
	}
	assert.GreaterOrEqual(t, found, 20, "of the fields that hold secrets, most were not found")
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
