package main

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func furtherSchemas() []mutation {
	props := func(doc *yaml.Node, schema string) *yaml.Node { return in(doc, schema+".properties") }
	schema := func(doc *yaml.Node, name, text string) { set(get(doc, "components", "schemas"), name, fromText(text)) }
	chain := func(n int) func(t *testing.T, doc *yaml.Node) {
		return func(_ *testing.T, doc *yaml.Node) {
			for i := range n {
				schema(doc, "L"+strings.Repeat("x", i), "{$ref: '#/components/schemas/L"+strings.Repeat("x", i+1)+"'}")
			}
			schema(doc, "L"+strings.Repeat("x", n), "{type: string}")
			set(props(doc, "Auth0User"), "locale", fromText("{$ref: '#/components/schemas/L'}"))
		}
	}
	v31 := func(text string) string { return strings.Replace(text, "openapi: 3.0.0", "openapi: 3.1.0", 1) }
	field := func(text string) func(t *testing.T, doc *yaml.Node) {
		return func(_ *testing.T, doc *yaml.Node) { set(props(doc, "Auth0User"), "locale", fromText(text)) }
	}
	return []mutation{
		{
			name: "a discriminator",
			says: []string{
				"Auth0User.pet: new (oneOf(Cat, Dog), optional)",
				"schema Cat: new (object)",
				"schema Dog: new (object)",
			},
			change: func(_ *testing.T, doc *yaml.Node) {
				schema(doc, "Cat", "{type: object, required: [kind], properties: {kind: {type: string}, lives: {type: integer}}}")
				schema(doc, "Dog", "{type: object, required: [kind], properties: {kind: {type: string}}}")
				set(props(doc, "Auth0User"), "pet", fromText("{oneOf: [{$ref: '#/components/schemas/Cat'}, {$ref: '#/components/schemas/Dog'}], discriminator: {propertyName: kind, mapping: {cat: '#/components/schemas/Cat', dog: Dog}}}"))
			},
		},
		{
			name: "a discriminator that alone leads to a schema",
			says: []string{
				"Auth0User.pet: new (oneOf(Cat), optional)",
				"schema Cat: new (object)",
				"schema Dog: new (object)",
			},
			change: func(_ *testing.T, doc *yaml.Node) {
				schema(doc, "Cat", "{type: object, required: [kind], properties: {kind: {type: string}, lives: {type: integer}}}")
				schema(doc, "Dog", "{type: object, required: [kind], properties: {kind: {type: string}}}")
				set(props(doc, "Auth0User"), "pet", fromText("{oneOf: [{$ref: '#/components/schemas/Cat'}], discriminator: {propertyName: kind, mapping: {cat: '#/components/schemas/Cat', dog: '#/components/schemas/Dog'}}}"))
			},
		},
		{
			name: "a discriminator that leads nowhere",
			err:  "the reference #/components/schemas/Dog leads nowhere: ask for a document that is whole",
			change: func(_ *testing.T, doc *yaml.Node) {
				schema(doc, "Cat", "{type: object, required: [kind], properties: {kind: {type: string}, lives: {type: integer}}}")
				set(props(doc, "Auth0User"), "pet", fromText("{oneOf: [{$ref: '#/components/schemas/Cat'}], discriminator: {propertyName: kind, mapping: {cat: '#/components/schemas/Cat', dog: '#/components/schemas/Dog'}}}"))
			},
		},
		{
			name: "further fields of a kind",
			says: []string{"schema Auth0User: additionalProperties new: {\"$ref\":\"#/components/schemas/More\"}", "schema More: new (object)"},
			change: func(_ *testing.T, doc *yaml.Node) {
				schema(doc, "More", "{type: object, properties: {a: {type: string}}}")
				set(in(doc, "Auth0User"), "additionalProperties", fromText("{$ref: '#/components/schemas/More'}"))
			},
		},
		{
			name: "further fields again",
			says: []string{"schema TokenizedPKCE: additionalProperties gone, was false"},
			before: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "TokenizedPKCE"), "additionalProperties", fromText("false"))
			},
		},
		{
			name:   "several types",
			says:   []string{"Auth0User.locale: type string or integer now, was string", "version of OpenAPI: 3.1.0 now, was 3.0.3"},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` was widened from `string` to `string, integer` for status `200`"},
			text:   v31, change: field("{type: [string, integer]}"),
		},
		{
			name: "const",
			says: []string{"Auth0User.locale: enum new: en", "version of OpenAPI: 3.1.0 now, was 3.0.3"},
			text: v31, change: field("{type: string, const: en}"),
		},
		{
			name: "a numeric const",
			says: []string{
				"Auth0User.locale: enum new: 1",
				"Auth0User.locale: type anything now, was string",
				"version of OpenAPI: 3.1.0 now, was 3.0.3",
			},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `any` for status `200`"},
			text:   v31, change: field("{const: 1}"),
		},
		{
			name: "patternProperties",
			says: []string{"schema Auth0User: patternProperties new: {\"^x-\":{\"type\":\"string\"}}", "version of OpenAPI: 3.1.0 now, was 3.0.3"},
			text: v31, change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User"), "patternProperties", fromText("{'^x-': {type: string, description: theirs}}"))
			},
		},
		{
			name: "definitions within a schema",
			err:  "the reference #/components/schemas/Auth0User/$defs/locale does not lead to a component: say there what it leads to",
			text: v31, change: field("{$ref: '#/components/schemas/Auth0User/$defs/locale', $defs: {a: {type: string}}}"),
		},
		{
			name: "an anchor of JSON Schema",
			err:  "the reference #locale is no path within the document: write it as #/components/schemas/…",
			text: v31, change: field("{$ref: '#locale'}"),
		},
		{
			name:   "beside a reference",
			says:   []string{"Auth0User.locale: type Auth0Identity or null now, was string"},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `object` for status `200`"},
			change: field("{$ref: '#/components/schemas/Auth0Identity', nullable: true, description: theirs}"),
		},
		{
			name: "beside a reference in 3.1",
			says: []string{
				"Auth0User.locale: deprecated new: true",
				"Auth0User.locale: type Auth0Identity now, was string",
				"version of OpenAPI: 3.1.0 now, was 3.0.3",
			},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `object` for status `200`"},
			unseen: true,
			text:   v31, change: field("{$ref: '#/components/schemas/Auth0Identity', deprecated: true, description: theirs}"),
		},
		{
			name: "a chain of 5 references",
			says: []string{
				"Auth0User.locale: type L now, was string",
				"schema L: new (Lx)",
				"schema Lx: new (Lxx)",
				"schema Lxx: new (Lxxx)",
				"schema Lxxx: new (Lxxxx)",
				"schema Lxxxx: new (Lxxxxx)",
				"schema Lxxxxx: new (string)",
			},
			unseen: true,
			change: chain(5),
		},
		{
			name: "a chain of 40 references",
			says: []string{
				"Auth0User.locale: type L now, was string",
				"schema L: new (Lx)",
				"schema Lx: new (Lxx)",
				"schema Lxx: new (Lxxx)",
				"schema Lxxx: new (Lxxxx)",
				"schema Lxxxx: new (Lxxxxx)",
				"schema Lxxxxx: new (Lxxxxxx)",
				"schema Lxxxxxx: new (Lxxxxxxx)",
				"schema Lxxxxxxx: new (Lxxxxxxxx)",
				"schema Lxxxxxxxx: new (Lxxxxxxxxx)",
				"schema Lxxxxxxxxx: new (Lxxxxxxxxxx)",
				"schema Lxxxxxxxxxx: new (Lxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxx: new (Lxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxx: new (Lxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)",
				"schema Lxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: new (string)",
			},
			unseen: true,
			change: chain(40),
		},
		{
			name:   "a reference in per cent",
			unseen: true,
			change: func(_ *testing.T, doc *yaml.Node) {
				set(props(doc, "Auth0User"), "user_metadata", fromText("{$ref: '#/components/schemas/Auth0User%4detadata'}"))
			},
		},
		{
			name: "a name with a space",
			err:  "mend it in the document, or ask for one that is",
			change: func(t *testing.T, doc *yaml.Node) {
				schema(doc, "My Locale", "{type: string}")
				field("{$ref: '#/components/schemas/My%20Locale'}")(t, doc)
			},
		},
		{
			name:   "a name with dots",
			says:   []string{"Auth0User.locale: type my.Locale now, was string", "schema my.Locale: new (object)"},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `object` for status `200`"},
			change: func(t *testing.T, doc *yaml.Node) {
				schema(doc, "my.Locale", "{type: object, properties: {a.b: {type: string}}}")
				field("{$ref: '#/components/schemas/my.Locale'}")(t, doc)
			},
		},
		{
			name:   "a folder of Windows",
			err:    "the reference C:\\specs\\pieces.yaml#/components/schemas/Locale leads out of the document: bundle it first",
			change: field(`{$ref: 'C:\specs\pieces.yaml#/components/schemas/Locale'}`),
		},
		{
			name:   "another file of Windows",
			err:    "the reference .\\locale.yaml leads out of the document: bundle it first",
			change: field(`{$ref: '.\locale.yaml'}`),
		},
		{
			name:   "a URL",
			err:    "the reference https://specs.example/pieces.yaml#/components/schemas/Locale leads out of the document: bundle it first",
			change: field(`{$ref: 'https://specs.example/pieces.yaml#/components/schemas/Locale'}`),
		},
		{
			name: "keys that are no strings",
			says: []string{
				"Auth0User.1: new (string, optional)",
				"Auth0User.on: new (string, optional)",
				"Auth0User.true: new (string, optional)",
			},
			change: func(_ *testing.T, doc *yaml.Node) {
				p := props(doc, "Auth0User")
				p.Content = append(p.Content, fromText("1"), fromText("{type: string}"), fromText("true"), fromText("{type: string}"), fromText("on"), fromText("{type: string}"))
			},
		},
		{
			name: "a mapping as a key",
			err:  "invalid map key: map[string]interface {}{\"a\":\"b\"}: mend the document first",
			text: func(text string) string {
				return strings.Replace(text, "  schemas:\n", "  schemas:\n    ? {a: b}\n    : {type: string}\n", 1)
			},
		},
		{
			name: "a huge integer",
			says: []string{"Auth0User.locale: maxLength new: 9007199254740993", "Auth0User.logins_count: maximum new: 18446744073709551616"},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.logins_count"), "maximum", fromText("18446744073709551616"))
				set(in(doc, "Auth0User.properties.locale"), "maxLength", fromText("9007199254740993"))
			},
		},
		{
			name: "infinity",
			err:  ".inf has no JSON representation: mend it in the document, or ask for one that is",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.logins_count"), "maximum", fromText(".inf"))
			},
		},
		{
			name: "a number written otherwise",
			before: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.logins_count"), "maximum", fromText("1000"))
			},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.logins_count"), "maximum", fromText("1.0e+3"))
			},
		},
		{
			name: "a default of another type",
			err:  "invalid default: value must be an integer",
			before: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.logins_count"), "default", fromText("1"))
			}, change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.logins_count"), "default", fromText("'1'"))
			},
		},
		{
			name:   "values of an enum that are numbers",
			says:   []string{"Auth0User.locale: type integer now, was string"},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `integer` for status `200`"},
			before: field("{type: string, enum: ['1', '2']}"), change: field("{type: integer, enum: [1, 2]}"),
		},
		{
			name:   "null among the values of an enum",
			says:   []string{"Auth0User.locale: enum new: a", "Auth0User.locale: type string or null now, was string"},
			breaks: []string{"get-auth0-user-info: the response property `locale` became nullable for the status `200`"},
			change: field("{type: string, nullable: true, enum: [a, null]}"),
		},
		{
			name: "int64",
			says: []string{"Auth0User.logins_count: type integer (int64) now, was integer"},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.logins_count"), "format", scalar("int64"))
			},
		},
		{
			name:   "a format gone",
			says:   []string{"Auth0User.email: type string now, was string (email)"},
			breaks: []string{"get-auth0-user-info: the `email` response's property `format` changed from `email` to `none` for status `200`"},
			change: func(_ *testing.T, doc *yaml.Node) {
				remove(in(doc, "Auth0User.properties.email"), "format")
			},
		},
		{
			name: "writeOnly",
			says: []string{"TokenizedPKCE.code: writeOnly new: true"},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "TokenizedPKCE.properties.code"), "writeOnly", fromText("true"))
			},
		},
		{
			name:   "xml",
			says:   []string{"schema Auth0User: xml new: {\"name\":\"user\"}"},
			change: func(_ *testing.T, doc *yaml.Node) { set(in(doc, "Auth0User"), "xml", fromText("{name: user}")) },
		},
		{
			name: "bounds of a list",
			says: []string{
				"Auth0User.blocked_for: items' maxLength new: 9",
				"Auth0User.blocked_for: minItems new: 1",
				"Auth0User.blocked_for: uniqueItems new: true",
			},
			change: func(_ *testing.T, doc *yaml.Node) {
				l := in(doc, "Auth0User.properties.blocked_for")
				set(l, "minItems", fromText("1"))
				set(l, "uniqueItems", fromText("true"))
				set(get(l, "items"), "maxLength", fromText("9"))
			},
		},
		{
			name:   "a list of lists",
			says:   []string{"Auth0User.locale.a: new (string, optional)", "Auth0User.locale: type array of array of object now, was string"},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `array<array<object>>` for status `200`"},
			change: field("{type: array, items: {type: array, items: {type: object, properties: {a: {type: string}}}}}"),
		},
		{
			name: "an object within",
			says: []string{
				"Auth0User.locale.a.b: new (string, optional)",
				"Auth0User.locale.a: new (object, required)",
				"Auth0User.locale: type object now, was string",
			},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `object` for status `200`"},
			change: field("{type: object, required: [a], properties: {a: {type: object, properties: {b: {type: string}}}}}"),
		},
		{
			name:   "not",
			says:   []string{"Auth0User.locale: not new: {\"enum\":[\"xx\"]}"},
			change: field("{type: string, not: {enum: [xx]}}"),
		},
		{
			name: "allOf of two",
			says: []string{
				"Auth0User.locale.access_token: new (string, optional)",
				"Auth0User.locale.connection: new (string, optional)",
				"Auth0User.locale.expires_in: new (integer, optional)",
				"Auth0User.locale.isSocial: new (boolean, optional)",
				"Auth0User.locale.provider: new (string, optional)",
				"Auth0User.locale.readable: new (string, optional)",
				"Auth0User.locale.schema: new (EmbeddedModelSchema, optional)",
				"Auth0User.locale.user_id: new (string, optional)",
				"Auth0User.locale.value: new (string (date-time), required)",
				"Auth0User.locale: type object now, was string",
			},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `object` for status `200`"},
			secret: "Auth0User.locale.connection is a new string beside access_token: is it one?",
			change: func(t *testing.T, doc *yaml.Node) {
				field("{allOf: [{$ref: '#/components/schemas/Auth0Identity'}, {$ref: '#/components/schemas/GroupedTimestamp'}]}")(t, doc)
			},
		},
		{
			name:   "allOf that contradicts itself",
			err:    "all Type values must be identical: mend that in the document, or ask for another",
			change: field("{allOf: [{type: string}, {type: integer}]}"),
		},
		{
			name: "a cycle of bases",
			err:  "the schema A is built of itself: mend it in the document",
			change: func(t *testing.T, doc *yaml.Node) {
				schema(doc, "A", "{allOf: [{$ref: '#/components/schemas/B'}]}")
				schema(doc, "B", "{allOf: [{$ref: '#/components/schemas/A'}]}")
				field("{$ref: '#/components/schemas/A'}")(t, doc)
			},
		},
		{
			name: "a cycle of alternatives",
			says: []string{"Auth0User.locale: type A now, was string", "schema A: new (oneOf(A, string))"},
			breaks: []string{
				"get-auth0-user-info: added `#/components/schemas/A, subschema #2` to the `locale` response property `oneOf` list for the response status `200`",
				"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `any` for status `200`",
			},
			change: func(t *testing.T, doc *yaml.Node) {
				schema(doc, "A", "{oneOf: [{$ref: '#/components/schemas/A'}, {type: string}]}")
				field("{$ref: '#/components/schemas/A'}")(t, doc)
			},
		},
		{
			name: "a schema of a list of itself",
			err:  "the schema A is built of itself: mend it in the document",
			change: func(t *testing.T, doc *yaml.Node) {
				schema(doc, "A", "{type: array, items: {$ref: '#/components/schemas/A'}}")
				field("{$ref: '#/components/schemas/A'}")(t, doc)
			},
		},
		{
			name:   "an empty schema",
			says:   []string{"Auth0User.locale: type anything now, was string"},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `any` for status `200`"},
			change: field("{}"),
		},
		{
			name:   "null for a schema",
			err:    "value MUST be an object: mend it in the document, or ask for one that is",
			change: field("null"),
		},
		{
			name:   "true for a schema",
			says:   []string{"Auth0User.locale: type anything now, was string", "version of OpenAPI: 3.1.0 now, was 3.0.3"},
			breaks: []string{"get-auth0-user-info: the `locale` response's property `type` changed from `string` to `any` for status `200`"},
			text:   v31, change: field("true"),
		},
		{
			name: "false for a schema",
			says: []string{"Auth0User.locale: type nothing now, was string", "version of OpenAPI: 3.1.0 now, was 3.0.3"},
			text: v31, change: field("false"),
		},
		{
			name:   "required in the field",
			err:    "/components/schemas/Auth0User/properties/locale/required: mend it in the document, or ask for one that is",
			change: field("{type: string, required: true}"),
		},
		{
			name:   "a type that isn't one",
			err:    "unsupported 'type' value \"strnig\": mend it in the document, or ask for one that is",
			change: field("{type: strnig}"),
		},
		{
			name:   "a pattern that looks ahead",
			says:   []string{"Auth0User.locale: pattern new: ^(?!x)[a-z]+$"},
			change: field("{type: string, pattern: '^(?!x)[a-z]+$'}"),
		},
		{
			name: "a name in another case",
			says: []string{"Auth0UserMetadata.allocation: type auth0UserAllocationMetadata now, was Auth0UserAllocationMetadata", "schema Auth0UserAllocationMetadata: gone; auth0UserAllocationMetadata, new there, is alike in all else: renamed?"},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "components", "schemas"), "auth0UserAllocationMetadata", in(doc, "Auth0UserAllocationMetadata"))
				remove(get(doc, "components", "schemas"), "Auth0UserAllocationMetadata")
				set(in(doc, "Auth0UserMetadata.properties.allocation"), "$ref", scalar(refers+"schemas/auth0UserAllocationMetadata"))
			},
		},
		{
			name:   "a required field that isn't there",
			says:   []string{"OAuthToken.ghost: new (anything, required)"},
			change: func(_ *testing.T, doc *yaml.Node) { push(in(doc, "OAuthToken.required"), "ghost") },
		},
		{
			name:   "a secret's format",
			says:   []string{"OAuthToken.device_secrets: new (array of string (password), optional)"},
			secret: "OAuthToken.device_secrets is a new string beside access_token, id_token, refresh_token: is it one?",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(props(doc, "OAuthToken"), "device_secrets", fromText("{type: array, items: {type: string, format: password}}"))
			},
		},
	}
}

func furtherText() []mutation {
	replace := func(old, now string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, now, 1) }
	}
	return []mutation{
		{
			name: "merge keys in a list",
			text: replace("        required: true\n        schema:\n          type: string\n        style: form\n", "        required: true\n        <<: [{schema: {type: string}}, {style: form}]\n"),
		},
		{
			name: "a patch of 3.0",
			text: replace("openapi: 3.0.0", "openapi: 3.0.4"),
		},
		{
			name: "no patch",
			text: replace("openapi: 3.0.0", "openapi: '3.0'"),
		},
		{
			name: "3.10",
			err:  "it is OpenAPI 3.10.0; 3.0 and 3.1 are understood: ask for one of these",
			text: replace("openapi: 3.0.0", "openapi: 3.10.0"),
		},
		{
			name: "no version",
			text: replace("  version: \"1.0\"\n", ""),
		},
		{
			name: "yes for true",
			text: replace("        required: true\n", "        required: yes\n"),
		},
		{
			name: "a quoted true",
			err:  "/parameters/0/required: mend it in the document, or ask for one that is",
			text: replace("        required: true\n", "        required: 'true'\n"),
		},
		{
			name: "an inclusion",
			err:  "/parameters/0/schema: mend it in the document, or ask for one that is",
			text: replace("        required: true\n        schema:\n          type: string\n", "        required: true\n        schema: !include audience.yaml\n"),
		},
		{
			name: "a tag of YAML",
			text: replace("      operationId: authorize-auth0\n", "      operationId: !!str authorize-auth0\n"),
		},
		{
			name: "a key twice, of another kind",
			err:  "mapping key \"summary\" already defined at line 35: mend the document first",
			text: replace("      operationId: authorize-auth0\n", "      operationId: authorize-auth0\n      summary: !!binary aGVsbG8=\n"),
		},
		{
			name: "aliases by the million",
			err:  "document contains excessive aliasing: mend the document first",
			text: replace("tags:\n- name: Auth0\n", "x-a: &a [1,1,1,1,1,1,1,1,1]\nx-b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nx-c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nx-d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\nx-e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nx-f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\nx-g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nx-h: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\ntags:\n- name: Auth0\n"),
		},
		{
			name: "UTF-16",
			text: func(text string) string {
				var b strings.Builder
				b.WriteString("\xff\xfe")
				for _, r := range strings.ReplaceAll(text, "\t", " ") {
					b.WriteByte(byte(r))
					b.WriteByte(byte(r >> 8))
				}
				return b.String()
			},
		},
		{
			name: "a byte that is no UTF-8",
			err:  "invalid leading UTF-8 octet: mend the document first, or ask for another",
			text: replace("  title: Everything\n", "  title: Every\xffthing\n"),
		},
		{
			name: "a zero byte",
			err:  "control characters are not allowed: mend the document first, or ask for another",
			text: replace("  title: Everything\n", "  title: Every\x00thing\n"),
		},
		{
			name: "nothing at all",
			err:  "it is no OpenAPI document, for its top is not a mapping: ask for another",
			text: func(string) string { return "" },
		},
		{
			name: "a page of HTML",
			err:  "mend the document first, or ask for another",
			text: func(string) string { return "<!DOCTYPE html>\n<html><body>404: Not Found</body></html>\n" },
		},
	}
}
