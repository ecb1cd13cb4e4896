package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

const (
	refers  = "#/components/"
	redeem  = "exchange-for-auth0-token"
	authori = "authorize-auth0"
)

type mutation struct {
	name   string
	before func(t *testing.T, doc *yaml.Node) // what the document was, if not the stand-in
	change func(t *testing.T, doc *yaml.Node)
	text   func(text string) string
	says   []string // the lines of Contract, all of them
	breaks []string // of what breaks on the wire, all of it
	notes  string   // of reading the document
	secret string   // the line of Secrets
	misfit string   // of the overlay
	err    string   // the sentence that refuses it
	unseen bool     // by the other parser, or it sees what isn't there
}

// edition is the stand-in for a document that Pieces published.
func edition(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("testdata/edition.yaml")
	require.NoError(t, err)
	return string(data)
}

func tree(t *testing.T, text string) *yaml.Node {
	t.Helper()
	root, _, err := parse([]byte(text))
	require.NoError(t, err)
	return root
}

func param(t *testing.T, doc *yaml.Node, yamlText string) {
	t.Helper()
	p := get(operation(t, doc, authori), "parameters")
	p.Content = append(p.Content, fromText(yamlText))
}

func at(t *testing.T, doc *yaml.Node, name, key, value string) {
	t.Helper()
	set(get(parameter(t, doc, name), "schema"), key, fromText(value))
}

// TestMutations bends the stand-in in every way that came to mind. Each is told
// truly, as other code sees it too, or refused in a sentence that says what to do.
func TestMutations(t *testing.T) {
	start, err := load(filepath.Join(library, documentFile))
	require.NoError(t, err)
	bend := func(t *testing.T, change func(t *testing.T, doc *yaml.Node)) string {
		text := edition(t)
		if change != nil {
			doc := tree(t, text)
			change(t, doc)
			data, err := yaml.Marshal(doc)
			require.NoError(t, err)
			text = string(data)
		}
		return text
	}
	table := slices.Concat(mutationsOfRequests(), mutationsOfSchemas(), mutationsOfText(),
		furtherRequests(), furtherAnswers(), furtherSchemas(), furtherText())
	require.GreaterOrEqual(t, len(table), 50)
	for _, m := range table {
		t.Run(m.name, func(t *testing.T) {
			first, err := updateOf(t.Context(), start, []byte(bend(t, m.before)))
			require.NoError(t, err)
			current, was := first.merged, observe(t, []byte(bend(t, m.before)))
			text := bend(t, m.change)
			if m.text != nil {
				bent := m.text(text)
				require.NotEqual(t, text, bent)
				text = bent
			}
			u, err := updateOf(t.Context(), current, []byte(text))
			var breaks []string
			if err == nil && !same(current, u.merged) {
				a := adoption{module: absolute(t, library)}
				breaks, err = a.breaks(t.Context(), [][2]*yaml.Node{{current, u.merged}})
			}
			if m.err != "" {
				require.ErrorContains(t, err, m.err)
				assert.NotContains(t, err.Error(), "\n")
				return
			}
			require.NoError(t, err)
			lines := changes(current, u.merged)
			assert.Equal(t, m.says, lines)
			if (len(lines) != 1 || !strings.HasPrefix(lines[0], "something that this report has no words for")) && !m.unseen {
				assert.Equal(t, differences(was, observe(t, []byte(text))), reported(lines), "the independent comparison")
			}
			assert.Contains(t, strings.Join(u.notes, "\n"), m.notes)

			assert.Equal(t, m.breaks, breaks)
			f, err := lay(filepath.Join(library, overlayFile), current, u.merged)
			require.NoError(t, err)
			assert.Equal(t, m.misfit == "", len(f.misfit) == 0, f.misfit)
			assert.Contains(t, strings.Join(f.misfit, "\n"), m.misfit)
			before, err := lay(filepath.Join(library, overlayFile), current, current)
			require.NoError(t, err)
			beside := secrets(contractOf(before.root), contractOf(f.root))
			assert.Equal(t, m.secret == "", len(beside) == 0, beside)
			assert.Contains(t, strings.Join(beside, "\n"), m.secret)
		})
	}
}

func mutationsOfRequests() []mutation {
	const spec = "query parameter "
	return []mutation{
		{name: "nothing"},
		{
			name: "an operationId renamed",
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, redeem), "operationId", scalar("redeem"))
			},
			err: "the operation exchange-for-auth0-token is not in the document (it has 4 operations; with the tag Auth0 there are also redeem (POST /oauth/token)). If it was renamed, say so in tools/adopt/cut.go and in the overlay",
		},
		{
			name: "an operationId twice",
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(doc, "paths"), "/again", mapping(scalar("get"), clone(operation(t, doc, authori))))
			},
			err: "the operation authorize-auth0 is in the document 2 times: say in tools/adopt/cut.go which is meant",
		},
		{
			name: "a path moved",
			change: func(_ *testing.T, doc *yaml.Node) {
				paths := get(doc, "paths")
				set(paths, "/oauth2/token", get(paths, "/oauth/token"))
				remove(paths, "/oauth/token")
			},
			says:   []string{"operation exchange-for-auth0-token: request POST /oauth2/token now, was POST /oauth/token"},
			breaks: []string{"exchange-for-auth0-token: API path removed without deprecation"},
		},
		{
			name: "a method changed",
			change: func(_ *testing.T, doc *yaml.Node) {
				item := get(doc, "paths", "/v2/logout")
				set(item, "delete", get(item, "get"))
				remove(item, "get")
			},
			says:   []string{"operation auth0-logout: request DELETE /v2/logout now, was GET /v2/logout"},
			breaks: []string{"auth0-logout: API removed without deprecation"},
		},
		{
			name: "a new required parameter",
			change: func(t *testing.T, doc *yaml.Node) {
				param(t, doc, "{name: tenant, in: query, required: true, schema: {type: string}}")
			},
			says:   []string{spec + "tenant of authorize-auth0: new (string, required)"},
			breaks: []string{"authorize-auth0: added the new required `query` request parameter `tenant`"},
			secret: "query parameter tenant of authorize-auth0 is a new string beside nonce, state: is it one?",
		},
		{
			name: "a new optional parameter",
			change: func(t *testing.T, doc *yaml.Node) {
				param(t, doc, "{name: depth, in: query, style: form, explode: true, schema: {type: integer}}")
			},
			says: []string{spec + "depth of authorize-auth0: new (integer, optional)"},
		},
		{
			name: "a parameter of the path",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "paths", "/authorize"), "parameters", fromText("[{name: depth, in: query, schema: {type: integer}}]"))
			},
			says: []string{spec + "depth of authorize-auth0: new (integer, optional)"},
		},
		{
			name: "a parameter that the overlay adds too",
			change: func(t *testing.T, doc *yaml.Node) {
				param(t, doc, "{name: max_age, in: query, schema: {type: integer}}")
			},
			says:   []string{spec + "max_age of authorize-auth0: new (integer, optional)"},
			misfit: "the document now has the parameter max_age, which the action adds too. Drop it from the action.",
		},
		{
			name:   "a parameter required now",
			change: func(t *testing.T, doc *yaml.Node) { set(parameter(t, doc, "state"), "required", fromText("true")) },
			says:   []string{spec + "state of authorize-auth0: required now, was optional"},
			breaks: []string{"authorize-auth0: the `query` request parameter `state` became required"},
		},
		{
			name: "a parameter gone",
			change: func(t *testing.T, doc *yaml.Node) {
				p := get(operation(t, doc, authori), "parameters")
				p.Content = slices.DeleteFunc(p.Content, func(n *yaml.Node) bool { return text(get(n, "name")) == "prompt" })
			},
			says: []string{spec + "prompt of authorize-auth0: gone"},
		},
		{
			name: "a parameter renamed, and two like it",
			change: func(t *testing.T, doc *yaml.Node) {
				set(parameter(t, doc, "connection"), "name", scalar("connector"))
				param(t, doc, "{name: realm, in: query, schema: {type: string}}")
			},
			says: []string{
				spec + "connection of authorize-auth0: gone; of what is new there, alike in all else: connector or realm: renamed?",
				spec + "connector of authorize-auth0: new (string, optional)", spec + "realm of authorize-auth0: new (string, optional)",
			},
			secret: "query parameter realm of authorize-auth0 is a new string beside nonce, state: is it one?",
		},
		{
			name:   "a parameter renamed that the overlay shapes",
			change: func(t *testing.T, doc *yaml.Node) { set(parameter(t, doc, "scope"), "name", scalar("scopes")) },
			says:   []string{spec + "scope of authorize-auth0: gone; scopes, new there, is alike in all else: renamed?"},
			breaks: []string{"authorize-auth0: added the new required `query` request parameter `scopes`"},
			secret: "query parameter scopes of authorize-auth0 is a new string beside nonce, state: is it one?",
			misfit: "Look the fact up again, then move the target, or drop the action.",
		},
		{
			name:   "a length that we exceed",
			change: func(t *testing.T, doc *yaml.Node) { at(t, doc, "state", "maxLength", "16") },
			says:   []string{spec + "state of authorize-auth0: maxLength new: 16"},
			breaks: []string{"authorize-auth0: for the `query` request parameter `state`, the maxLength was set to `16`"},
		},
		{
			name: "a pattern",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "TokenizedPKCE.properties.code_verifier"), "pattern", scalar("^[a-z]+$"))
			},
			says:   []string{"TokenizedPKCE.code_verifier: pattern new: ^[a-z]+$"},
			breaks: []string{"exchange-for-auth0-token: added the pattern `^[a-z]+$` to the request property `code_verifier`"},
		},
		{
			name:   "constraints that say nothing",
			change: func(t *testing.T, doc *yaml.Node) { at(t, doc, "state", "minLength", "0") },
		},
		{
			name: "an enum gained in a request",
			change: func(t *testing.T, doc *yaml.Node) {
				push(get(parameter(t, doc, "response_mode"), "schema", "enum"), "jwt")
			},
			says: []string{spec + "response_mode of authorize-auth0: enum gained jwt"},
		},
		{
			name: "an enum lost in a request",
			change: func(t *testing.T, doc *yaml.Node) {
				e := get(parameter(t, doc, "response_mode"), "schema", "enum")
				e.Content = e.Content[1:]
			},
			says:   []string{spec + "response_mode of authorize-auth0: enum lost form_post"},
			breaks: []string{"authorize-auth0: removed the enum value `form_post` from the `query` request parameter `response_mode`"},
		},
		{
			name:   "another array style",
			change: func(t *testing.T, doc *yaml.Node) { set(parameter(t, doc, "scope"), "style", scalar("pipeDelimited")) },
			says:   []string{spec + "scope of authorize-auth0: style pipeDelimited now, was spaceDelimited"},
		},
		{
			name: "a style and explode left out",
			change: func(t *testing.T, doc *yaml.Node) {
				remove(parameter(t, doc, "scope"), "explode")
				remove(parameter(t, doc, "state"), "style")
				remove(parameter(t, doc, "prompt"), "explode")
			},
		},
		{
			name: "a security scheme demanded",
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, "auth0-logout"), "security", fromText("[{auth0: []}]"))
			},
			says:   []string{"operation auth0-logout: security auth0 now, was application"},
			breaks: []string{"auth0-logout: the endpoint scheme security `application` was removed from the API"},
		},
		{
			name: "a scope demanded",
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, "get-auth0-user-info"), "security", fromText("[{auth0: [profile]}]"))
			},
			says:   []string{"operation get-auth0-user-info: security auth0 (profile) now, was auth0"},
			breaks: []string{"get-auth0-user-info: the security scope `profile` was added to the endpoint's security scheme `auth0`"},
		},
		{
			name:   "security for all gone",
			change: func(_ *testing.T, doc *yaml.Node) { remove(doc, "security") },
			says: []string{
				"operation auth0-logout: security none now, was application", "operation authorize-auth0: security none now, was application",
				"operation exchange-for-auth0-token: security none now, was application", "security scheme application: gone",
			},
		},
		{
			name: "a new security scheme with an empty URL",
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, "get-auth0-user-info"), "security", fromText("[{authorization: []}]"))
			},
			err: "the security scheme authorization is new and its ",
		},
		{
			name: "a URL that is not empty",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "components", "securitySchemes", "auth0", "flows", "implicit"), "authorizationUrl", scalar("https://a.example"))
			},
			says:  []string{"security scheme auth0: implicit authorizationUrl https://a.example now, was https://auth.pieces.services/authorize"},
			notes: "ours stay: authorizationCode authorizationUrl, ",
		},
		{
			name:   "another first server",
			change: func(_ *testing.T, doc *yaml.Node) { slices.Reverse(get(doc, "servers").Content) },
			says:   []string{"the default server: URL https://pieces.us.auth0.com now, was http://localhost:1000"},
		},
		{
			name: "a fifth operation",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "paths"), "/oauth/revoke", fromText("{post: {operationId: revoke, tags: [Auth0], responses: {'200': {description: OK}}}}"))
			},
			notes: "further operations with the tag Auth0, which are not taken over: revoke (POST /oauth/revoke). Who wants one adds it to tools/adopt/cut.go.",
		},
		{
			name: "a media type moved",
			change: func(t *testing.T, doc *yaml.Node) {
				content := get(operation(t, doc, redeem), "requestBody", "content")
				set(content, "application/json", content.Content[1])
				remove(content, "application/x-www-form-urlencoded")
			},
			says: []string{
				"request body of exchange-for-auth0-token: application/json new: TokenizedPKCE",
				"request body of exchange-for-auth0-token: application/x-www-form-urlencoded gone, was TokenizedPKCE",
			},
			breaks: []string{"exchange-for-auth0-token: removed the media type `application/x-www-form-urlencoded` from the request body"},
		},
		{
			name: "a body required now",
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(operation(t, doc, redeem), "requestBody"), "required", fromText("true"))
			},
			says:   []string{"request body of exchange-for-auth0-token: required now, was optional"},
			breaks: []string{"exchange-for-auth0-token: request body became required"},
		},
		{
			name: "a further answer",
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(operation(t, doc, redeem), "responses"), "202", fromText("{description: theirs}"))
			},
			says: []string{"response 202 of exchange-for-auth0-token: new"},
		},
		{
			name: "an operation that goes away",
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, "auth0-logout"), "deprecated", fromText("true"))
			},
			says: []string{"operation auth0-logout: deprecated new: true"},
		},
	}
}

func mutationsOfSchemas() []mutation {
	props := func(doc *yaml.Node, schema string) *yaml.Node { return in(doc, schema+".properties") }
	schema := func(doc *yaml.Node, name, text string) { set(get(doc, "components", "schemas"), name, fromText(text)) }
	return []mutation{
		{
			name: "a new required field",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(props(doc, "TokenizedPKCE"), "device", fromText("{type: string}"))
				push(in(doc, "TokenizedPKCE.required"), "device")
			},
			says:   []string{"TokenizedPKCE.device: new (string, required)"},
			breaks: []string{"exchange-for-auth0-token: added the new required request property `device`"},
			secret: "TokenizedPKCE.device is a new string beside code, code_verifier, refresh_token: is it one? Then say so in api/overlay.yaml.",
		},
		{
			name:   "a field required now",
			change: func(_ *testing.T, doc *yaml.Node) { push(in(doc, "TokenizedPKCE.required"), "audience") },
			says:   []string{"TokenizedPKCE.audience: required now, was optional"},
			breaks: []string{"exchange-for-auth0-token: the request property `audience` became required"},
		},
		{
			name: "a field optional now",
			change: func(_ *testing.T, doc *yaml.Node) {
				in(doc, "OAuthToken").Content = slices.Clone(in(doc, "OAuthToken").Content)
				r := in(doc, "OAuthToken.required")
				r.Content = slices.DeleteFunc(r.Content, func(n *yaml.Node) bool { return n.Value == "scope" })
			},
			says:   []string{"OAuthToken.scope: optional now, was required"},
			breaks: []string{"exchange-for-auth0-token: the response property `scope` became optional for the status `200`"},
		},
		{
			name:   "a field gone",
			change: func(_ *testing.T, doc *yaml.Node) { remove(props(doc, "Auth0User"), "last_ip") },
			says:   []string{"Auth0User.last_ip: gone"},
		},
		{
			name: "a field renamed",
			change: func(_ *testing.T, doc *yaml.Node) {
				p := props(doc, "Auth0OpenAIUserMetadata")
				set(p, "key", get(p, "api_key_name"))
				remove(p, "api_key_name")
			},
			says:   []string{"Auth0OpenAIUserMetadata.api_key_name: gone; key, new there, is alike in all else: renamed?"},
			secret: "Auth0OpenAIUserMetadata.key is a new string beside api_key, organization_key: is it one?",
		},
		{
			name: "two fields renamed alike",
			change: func(_ *testing.T, doc *yaml.Node) {
				p := props(doc, "Auth0Identity")
				for _, n := range []string{"provider", "user_id"} {
					set(p, n+"_2", get(p, n))
					remove(p, n)
				}
			},
			says: []string{
				"Auth0Identity.provider: gone; of what is new there, alike in all else: provider_2 or user_id_2: renamed?", "Auth0Identity.provider_2: new (string, optional)",
				"Auth0Identity.user_id: gone; of what is new there, alike in all else: provider_2 or user_id_2: renamed?", "Auth0Identity.user_id_2: new (string, optional)",
			},
			secret: "Auth0Identity.provider_2 is a new string beside access_token: is it one?",
		},
		{
			name:   "an enum gained in an answer",
			change: func(_ *testing.T, doc *yaml.Node) { push(in(doc, "OAuthToken.properties.token_type.enum"), "DPoP") },
			says:   []string{"OAuthToken.token_type: enum gained DPoP"},
		},
		{
			name: "nullable",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.locale"), "nullable", fromText("true"))
			},
			says:   []string{"Auth0User.locale: type string or null now, was string"},
			breaks: []string{"get-auth0-user-info: the response property `locale` became nullable for the status `200`"},
		},
		{
			name: "oneOf",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(props(doc, "Auth0User"), "locale", fromText("{oneOf: [{type: string}, {type: integer}]}"))
			},
			says:   []string{"Auth0User.locale: type oneOf(string, integer) now, was string"},
			breaks: []string{"get-auth0-user-info: response property `locale` list-of-types was widened by adding types `integer` to media type `application/json` of response `200`"},
		},
		{
			name: "allOf with a base",
			change: func(_ *testing.T, doc *yaml.Node) {
				schema(doc, "Base", "{type: object}")
				set(in(doc, "Base"), "properties", props(doc, "Auth0Identity"))
				schema(doc, "Auth0Identity", "{allOf: [{$ref: '#/components/schemas/Base'}]}")
			},
			says:   []string{"schema Base: new (object)"},
			secret: "Base.connection is a new string beside access_token: is it one?",
		},
		{
			name: "a field behind an allOf of one reference",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(props(doc, "Auth0User"), "user_metadata", fromText("{description: theirs, allOf: [{$ref: '#/components/schemas/Auth0UserMetadata'}]}"))
			},
			says: []string{"something that this report has no words for: see the diff of openapi.yaml"},
		},
		{
			name: "a base that changes",
			change: func(_ *testing.T, doc *yaml.Node) {
				schema(doc, "Base", "{type: object, properties: {region: {type: integer}}}")
				remove(props(doc, "Auth0UserAllocationMetadata"), "region")
				set(in(doc, "Auth0UserAllocationMetadata"), "allOf", fromText("[{$ref: '#/components/schemas/Base'}]"))
			},
			says:   []string{"Auth0UserAllocationMetadata.region: type integer now, was string", "schema Base: new (object)"},
			breaks: []string{"get-auth0-user-info: the `user_metadata/allocation/region` response's property `type` changed from `string` to `integer` for status `200`"},
		},
		{
			name: "a schema renamed",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "components", "schemas"), "Allocation", in(doc, "Auth0UserAllocationMetadata"))
				set(in(doc, "Auth0UserMetadata.properties.allocation"), "$ref", scalar(refers+"schemas/Allocation"))
			},
			says: []string{
				"Auth0UserMetadata.allocation: type Allocation now, was Auth0UserAllocationMetadata",
				"schema Auth0UserAllocationMetadata: gone; Allocation, new there, is alike in all else: renamed?",
			},
		},
		{
			name: "a type changed",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.logins_count"), "type", scalar("string"))
			},
			says:   []string{"Auth0User.logins_count: type string now, was integer"},
			breaks: []string{"get-auth0-user-info: the `logins_count` response's property `type` changed from `integer` to `string` for status `200`"},
		},
		{
			name: "readOnly",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "OAuthToken.properties.scope"), "readOnly", fromText("true"))
			},
			says: []string{"OAuthToken.scope: readOnly new: true"},
		},
		{
			name: "no further fields",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "TokenizedPKCE"), "additionalProperties", fromText("false"))
			},
			says: []string{"schema TokenizedPKCE: additionalProperties new: false"},
		},
		{
			name: "further fields, which is the default",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "TokenizedPKCE"), "additionalProperties", fromText("true"))
			},
		},
		{
			name: "a schema that contains itself",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(props(doc, "Auth0Identity"), "linked", fromText("{type: array, items: {$ref: '#/components/schemas/Auth0Identity'}}"))
			},
			says: []string{"Auth0Identity.linked: new (array of Auth0Identity, optional)"},
		},
		{
			name: "a base that is its own",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0Identity"), "allOf", fromText("[{$ref: '#/components/schemas/Auth0Identity'}]"))
			},
			err: "the schema Auth0Identity is built of itself: mend it in the document",
		},
		{
			name: "a reference to itself",
			change: func(_ *testing.T, doc *yaml.Node) {
				schema(doc, "Loop", "{$ref: '#/components/schemas/Loop'}")
				set(props(doc, "Auth0Identity"), "loop", fromText("{$ref: '#/components/schemas/Loop'}"))
			},
			err: "schemas Loop is a reference that leads to itself, or nowhere: mend it in the document",
		},
		{
			name: "a reference out of the document",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(props(doc, "OAuthToken"), "more", fromText("{$ref: 'other.yaml#/More'}"))
			},
			err: "the reference other.yaml#/More leads out of the document: bundle it first",
		},
		{
			name: "a reference to nothing",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(props(doc, "OAuthToken"), "more", fromText("{$ref: '#/components/schemas/More'}"))
			},
			err: "the reference #/components/schemas/More leads nowhere: ask for a document that is whole",
		},
		{
			name: "a reference into a schema",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(props(doc, "OAuthToken"), "more", fromText("{$ref: '#/components/schemas/Auth0User/properties/name'}"))
			},
			err: "the reference #/components/schemas/Auth0User/properties/name does not lead to a component: say there what it leads to",
		},
	}
}

func mutationsOfText() []mutation {
	replace := func(old, now string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, now, 1) }
	}
	return []mutation{
		{name: "CRLF with a BOM", text: func(text string) string { return "\ufeff" + strings.ReplaceAll(text, "\n", "\r\n") }},
		{
			name: "JSON",
			text: func(text string) string {
				var v any
				if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "\t", " ")), &v); err != nil {
					panic(err)
				}
				b, err := json.MarshalIndent(v, "", "\t")
				if err != nil {
					panic(err)
				}
				return string(b)
			},
		},
		{name: "anchors", text: func(text string) string {
			return strings.Replace(strings.Replace(text, "name: state\n        required: false\n        schema:", "name: state\n        required: false\n        schema: &s", 1), "name: prompt\n        required: false\n        schema:\n          type: string", "name: prompt\n        required: false\n        schema: *s", 1)
		}},
		{name: "a merge key", text: replace("        required: true\n        schema:\n          type: string\n        style: form\n", "        required: true\n        <<: {schema: {type: string}, style: form}\n")},
		{name: "a key twice", text: replace("  title: Everything\n", "  title: Everything\n  title: Again\n"), err: "already defined at line 10: mend the document first"},
		{name: "an anchor within itself", text: replace("tags:\n- name: Auth0\n", "tags: &t\n- *t\n"), err: "mend the document first"},
		{name: "two documents", text: func(text string) string { return text + "---\nopenapi: 3.0.0\n" }, err: "the file holds several documents"},
		{name: "Swagger 2.0", text: replace("openapi: 3.0.0", "swagger: '2.0'"), err: "it is Swagger 2.0: convert it to OpenAPI 3.0 first"},
		{name: "OpenAPI 3.2", text: replace("openapi: 3.0.0", "openapi: 3.2.0"), err: "it is OpenAPI 3.2.0; 3.0 and 3.1 are understood"},
		{name: "cut off", text: func(text string) string { return text[:len(text)/2] }, err: "leads nowhere: ask for a document that is whole"},
		{name: "another version", text: replace(`version: "1.0"`, "version: 2.0"), says: []string{"version of the document: 2.0 now, was 1.0"}},
		{name: "OpenAPI 3.1", text: replace("openapi: 3.0.0", "openapi: 3.1.0"), says: []string{"version of OpenAPI: 3.1.0 now, was 3.0.3"}},
		{
			name: "OpenAPI 3.1 with null, const and a bound",
			text: replace("openapi: 3.0.0", "openapi: 3.1.0"),
			change: func(t *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties.locale"), "type", fromText("[string, 'null']"))
				set(in(doc, "Auth0User.properties.logins_count"), "exclusiveMinimum", fromText("0"))
				remove(in(doc, "OAuthToken.properties.token_type"), "enum")
				set(in(doc, "OAuthToken.properties.token_type"), "const", scalar("Bearer"))
			},
			says: []string{
				"Auth0User.locale: type string or null now, was string", "Auth0User.logins_count: exclusiveMinimum new: 0",
				"version of OpenAPI: 3.1.0 now, was 3.0.3",
			},
			breaks: []string{"get-auth0-user-info: the response property `locale` became nullable for the status `200`"},
		},
		{name: "other words", text: replace("Which API it is for", "Something else altogether")},
		{name: "unknown extensions", text: replace("      operationId: authorize-auth0\n", "      operationId: authorize-auth0\n      x-internal: {deep: [1]}\n")},
	}
}
