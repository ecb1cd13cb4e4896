package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/speakeasy-api/openapi/overlay/loader"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

const library = "../.."

// sent are the tests of what is sent, and of what comes of the answers, which
// show a changed contract. make adopt runs all.
var sent = []string{"go", "test", "-run", "^(Example|TestRequests|TestDocumentedExample|Test(Authorize|Exchange|UserInfo|Logout)Answers)", "."}

func operation(t *testing.T, doc *yaml.Node, id string) *yaml.Node {
	t.Helper()
	for _, item := range pairs(get(doc, "paths")) {
		for _, method := range methods {
			if op := get(item, method); text(get(op, "operationId")) == id {
				return op
			}
		}
	}
	require.Fail(t, "no operation "+id)
	return nil
}

func parameter(t *testing.T, doc *yaml.Node, name string) *yaml.Node {
	t.Helper()
	for _, p := range items(get(operation(t, doc, "authorize-auth0"), "parameters")) {
		if text(get(p, "name")) == name {
			return p
		}
	}
	require.Fail(t, "no parameter "+name)
	return nil
}

func in(doc *yaml.Node, path string) *yaml.Node {
	n := get(doc, append([]string{"components", "schemas"}, strings.Split(path, ".")...)...)
	if n == nil {
		panic("the contract has no " + path)
	}
	return n
}

// fromText reads a piece of YAML.
func fromText(text string) *yaml.Node {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		panic(err)
	}
	return n.Content[0]
}

func push(n *yaml.Node, values ...string) {
	for _, v := range values {
		n.Content = append(n.Content, scalar(v))
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("ADOPT") != "" || len(os.Args) > 1 && os.Args[1] == "-move" { // adopt calls itself
		main()
		return
	}
	m.Run()
}

func TestAdopt(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, doc *yaml.Node)
		says   []string // lines of the report
		not    []string // and none of these
		err    string   // the sentence a maintainer needs
		files  []string // what is changed
		full   bool     // run all tests of the package
	}{
		{
			name: "the same facts in other words and another order",
			says: []string{
				"Cut from 300 operations to 4, and from 312 schemas to 12.",
				"What has to rise: none.", "Nothing changed: the files say what this document says.",
			},
			not: []string{"- "},
		},
		{
			name: "scope is required",
			change: func(_ *testing.T, doc *yaml.Node) {
				push(in(doc, "OAuthToken.required"), "scope")
			},
			full:  true,
			says:  []string{"- OAuthToken.scope: required now, was optional", "All pass.", "What has to rise: patch."},
			files: []string{"client_gen.go", "openapi.yaml"},
		},
		{
			name: "enums with a further UNKNOWN",
			change: func(t *testing.T, doc *yaml.Node) {
				for _, at := range []string{"TokenizedPKCE.properties.grant_type.enum", "OAuthToken.properties.token_type.enum", "EmbeddedModelSchemaSemanticVersionEnum.enum"} {
					push(in(doc, at), "UNKNOWN")
				}
				push(get(parameter(t, doc, "response_mode"), "schema", "enum"), "UNKNOWN")
			},
			says: []string{
				"- TokenizedPKCE.grant_type: enum gained UNKNOWN", "- OAuthToken.token_type: enum gained UNKNOWN",
				"- schema EmbeddedModelSchemaSemanticVersionEnum: enum gained UNKNOWN",
				"- query parameter response_mode of authorize-auth0: enum gained UNKNOWN",
				"- compatible: GrantTypeUNKNOWN: added", "All pass.", "What has to rise: minor (within v0: patch).",
			},
			not:   []string{"breaking"},
			full:  true,
			files: []string{"client_gen.go", "openapi.yaml"},
		},
		{
			name: "a renamed parameter",
			change: func(t *testing.T, doc *yaml.Node) {
				set(parameter(t, doc, "redirect_uri"), "name", scalar("callback_uri"))
			},
			says: []string{"- query parameter redirect_uri of authorize-auth0: gone; callback_uri, new there, is alike in all else: renamed?", "RedirectURI undefined"},
			err:  "nothing was changed: hand-written code uses what the document no longer has: see Go and Contract above",
		},
		{
			name: "a renamed parameter that an action shapes",
			change: func(t *testing.T, doc *yaml.Node) {
				set(parameter(t, doc, "scope"), "name", scalar("scopes"))
			},
			says: []string{"nothing stands at $.paths.*[?@.operationId == 'authorize-auth0'].parameters[?@.name == 'scope'].schema.items.", "response_type, scopes, state"},
			err:  "nothing was changed: 2 of the overlay's actions no longer fit the document",
		},
		{
			name: "a removed field",
			change: func(_ *testing.T, doc *yaml.Node) {
				remove(in(doc, "Auth0User.properties"), "last_ip")
			},
			says:  []string{"- Auth0User.last_ip: gone", "- breaking: Auth0User.LastIP: removed", "All pass.", "What has to rise: major (within v0: minor)."},
			files: []string{"client_gen.go", "openapi.yaml"},
		},
		{
			name: "a removed field that a test sets",
			change: func(_ *testing.T, doc *yaml.Node) {
				remove(in(doc, "Auth0User.properties"), "blocked_for")
			},
			says: []string{"- Auth0User.blocked_for: gone", "- breaking: Auth0User.BlockedFor: removed", "unknown field BlockedFor in struct literal of type Auth0User"},
			err:  "nothing was changed: the tests fail with this document: see Tests above; Contract says what changed under them. To mend it in place, take the files over all the same with FORCE=1",
		},
		{
			name: "a removed field that an action shapes",
			change: func(_ *testing.T, doc *yaml.Node) {
				remove(in(doc, "Auth0User.properties"), "updated_at")
			},
			says: []string{"- Auth0User.updated_at: gone", "updated_at fits none of it. Look the fact up again, then move the target, or drop the action."},
			err:  "nothing was changed: 1 of the overlay's actions no longer fit the document",
		},
		{
			name: "a secret with a new name",
			change: func(_ *testing.T, doc *yaml.Node) {
				p := in(doc, "Auth0OpenAIUserMetadata.properties")
				set(p, "key", get(p, "api_key"))
				remove(p, "api_key")
			},
			says: []string{"no longer reaches Auth0OpenAIUserMetadata.api_key.", "- field Auth0OpenAIUserMetadata key is new and wants a description."},
			err:  "nothing was changed: the tests fail with this document",
		},
		{
			name: "a fifth operation with the tag",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "paths"), "/oauth/revoke", mapping(scalar("post"), mapping(
					scalar("operationId"), scalar("revoke-auth0-token"), scalar("tags"), sequence(scalar(tag)),
					scalar("responses"), mapping(scalar("200"), mapping(scalar("description"), scalar("OK"))),
				)))
			},
			says: []string{"further operations with the tag Auth0, which are not taken over: revoke-auth0-token (POST /oauth/revoke).", "What has to rise: none."},
		},
		{
			name: "an operation at another path",
			change: func(_ *testing.T, doc *yaml.Node) {
				paths := get(doc, "paths")
				set(paths, "/v3/logout", get(paths, "/v2/logout"))
				remove(paths, "/v2/logout")
			},
			says: []string{"- operation auth0-logout: request GET /v3/logout now, was GET /v2/logout", "--- FAIL: "},
			err:  "nothing was changed: the tests fail with this document: see Tests above; Contract says what changed under them. To mend it in place, take the files over all the same with FORCE=1",
		},
		{
			name: "an operation is gone",
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, "auth0-logout"), "operationId", scalar("logout"))
			},
			err: "the operation auth0-logout is not in the document (it has 300 operations; with the tag Auth0 there are also logout (GET /v2/logout))",
		},
		{
			name: "a parameter that the overlay adds too",
			change: func(t *testing.T, doc *yaml.Node) {
				p := get(operation(t, doc, "authorize-auth0"), "parameters")
				p.Content = append(p.Content, mapping(scalar("name"), scalar("nonce"), scalar("in"), scalar("query"), scalar("schema"), mapping(scalar("type"), scalar("string"))))
			},
			says: []string{"the document now has the parameter nonce, which the action adds too. Drop it from the action."},
			err:  "1 of the overlay's actions no longer fit the document",
		},
		{
			name: "a field that the overlay adds too",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties"), "sub", mapping(scalar("type"), scalar("string")))
			},
			says: []string{"- Auth0User.sub: new (string, optional)", "adds sub, which the document now has itself: the action may be dropped.", "All pass."},
		},
		{
			name: "a new field and a new schema",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "Auth0User.properties"), "badge", mapping(scalar("$ref"), scalar("#/components/schemas/Badge")))
				set(get(doc, "components", "schemas"), "Badge", mapping(scalar("type"), scalar("object"), scalar("description"), scalar("theirs"),
					scalar("properties"), mapping(scalar("colour"), mapping(scalar("type"), scalar("string"), scalar("example"), scalar("red")))))
			},
			says: []string{
				"- Auth0User.badge: new (Badge, optional)", "- schema Badge: new (object)", "- schema Badge is new and wants a description.",
				"- compatible: Auth0User.Badge: added", "What has to rise: minor (within v0: patch).",
			},
			not:   []string{"Badge.colour"},
			files: []string{"client_gen.go", "openapi.yaml"},
		},
		{
			name: "a new field that every example has to have",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "OAuthToken.properties"), "session", mapping(scalar("type"), scalar("string")))
				push(in(doc, "OAuthToken.required"), "session")
			},
			says: []string{"- OAuthToken.session: new (string, required)", "- The example of OAuthToken no longer fitted its schema and was dropped: write another."},
		},
		{
			name: "OpenAPI 3.1",
			change: func(t *testing.T, doc *yaml.Node) {
				set(doc, "openapi", scalar("3.1.0"))
				set(get(doc, "info"), "summary", scalar("theirs"))
				set(in(doc, "Auth0User.properties.locale"), "examples", sequence(scalar("en")))
				set(in(doc, "Auth0User.properties.picture"), "type", sequence(scalar("string")))
				for _, p := range []*yaml.Node{get(parameter(t, doc, "response_type"), "schema"), in(doc, "OAuthToken.properties.token_type")} {
					set(p, "const", get(p, "enum").Content[0])
					remove(p, "enum")
				}
				set(in(doc, "TokenizedPKCE.properties.schema"), "description", scalar("beside a reference"))
				user := in(doc, "Auth0User.properties")
				set(user, "user_metadata", mapping(scalar("anyOf"), sequence(get(user, "user_metadata"), mapping(scalar("type"), scalar("null")))))
			},
			says: []string{
				"OpenAPI 3.1.0", "- version of OpenAPI: 3.1.0 now, was 3.0.3",
				"- Auth0User.user_metadata: type Auth0UserMetadata or null now, was Auth0UserMetadata", "## Go API\n\nNothing changed.", "All pass.",
			},
			not: []string{"- Auth0User.picture", "- OAuthToken"},
		},
		{
			name: "OpenAPI 3.1 with a type that may be null",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(doc, "openapi", scalar("3.1.0"))
				set(in(doc, "Auth0User.properties.locale"), "type", sequence(scalar("string"), scalar("null")))
				set(in(doc, "Auth0User.properties.locale"), "if", mapping())
			},
			says: []string{"- Auth0User.locale: type string or null now, was string", "- Auth0User.locale: if new: {}"},
		},
		{
			name: "a reference out of the document",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(in(doc, "OAuthToken.properties"), "session", mapping(scalar("$ref"), scalar("other.yaml#/Session")))
			},
			err: "the reference other.yaml#/Session leads out of the document: bundle it first",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var change func(*yaml.Node)
			if tt.change != nil {
				change = func(doc *yaml.Node) { tt.change(t, doc) }
			}
			module := copyLibrary(t)
			var out bytes.Buffer
			a := adoption{module: module, test: sent, out: &out}
			if tt.full {
				a.test = []string{"go", "test", "."}
			}
			err := a.adopt(context.Background(), pieces(t, change))
			t.Log(out.String())

			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
			} else {
				require.NoError(t, err)
			}
			for _, s := range tt.says {
				assert.Contains(t, out.String(), s)
			}
			for _, s := range tt.not {
				assert.NotContains(t, "\n"+out.String(), "\n"+s)
			}
			files, err := different(module)
			require.NoError(t, err)
			if tt.err != "" || tt.files != nil {
				assert.Equal(t, tt.files, files)
			}
		})
	}
}

// TestUpdate holds what the report says of the contract, change by change. None
// may pass unseen, and what is only said elsewhere is no change.
func TestUpdate(t *testing.T) {
	const token, refers = "exchange-for-auth0-token", "#/components/"
	move := func(doc, n *yaml.Node, kind, name string) {
		if get(doc, "components", kind) == nil {
			set(get(doc, "components"), kind, mapping())
		}
		set(get(doc, "components", kind), name, clone(n))
		*n = *mapping(scalar("$ref"), scalar(refers+kind+"/"+name))
	}
	for name, tt := range map[string]struct {
		change func(doc *yaml.Node)
		says   []string
		breaks []string
		err    string
	}{
		"a parameter by reference": {change: func(doc *yaml.Node) { move(doc, parameter(t, doc, "state"), "parameters", "State") }},
		"bodies by reference": {change: func(doc *yaml.Node) {
			move(doc, get(operation(t, doc, token), "requestBody"), "requestBodies", "Grant")
			move(doc, get(operation(t, doc, token), "responses", "200"), "responses", "Granted")
		}},
		"fields in an allOf": {
			change: func(doc *yaml.Node) {
				user := in(doc, "Auth0Identity")
				part := mapping(scalar("type"), scalar("object"), scalar("properties"), get(user, "properties"))
				remove(user, "properties")
				set(user, "allOf", sequence(part))
			},
			says: []string{"something that this report has no words for: see the diff of openapi.yaml"},
		},
		"a field within an allOf": {
			change: func(doc *yaml.Node) {
				set(in(doc, "Auth0Identity"), "allOf", sequence(fromText("{type: object, properties: {brandnew: {type: string}}}")))
			},
			says: []string{"Auth0Identity.brandnew: new (string, optional)"},
		},
		"an enum by reference": {
			change: func(doc *yaml.Node) { move(doc, in(doc, "TokenizedPKCE.properties.grant_type"), "schemas", "Grant") },
			says: []string{
				"TokenizedPKCE.grant_type: enum gone, was authorization_code, refresh_token", "TokenizedPKCE.grant_type: type Grant now, was string",
				"schema Grant: new (string, authorization_code, refresh_token)",
			},
		},
		"servers of an operation": {
			change: func(doc *yaml.Node) { set(operation(t, doc, token), "servers", fromText("[{url: https://t.example}]")) },
			says:   []string{`operation exchange-for-auth0-token: servers new: [{"url":"https://t.example"}]`},
		},
		"servers of a path": {
			change: func(doc *yaml.Node) {
				set(get(doc, "paths", "/oauth/token"), "servers", fromText("[{url: https://t.example}]"))
			},
			says: []string{`operation exchange-for-auth0-token: servers new: [{"url":"https://t.example"}]`},
		},
		"another default server": {
			change: func(doc *yaml.Node) { slices.Reverse(get(doc, "servers").Content) },
			says:   []string{"the default server: URL https://pieces.us.auth0.com now, was http://localhost:1000"},
		},
		"another token URL": {
			change: func(doc *yaml.Node) {
				set(get(doc, "components", "securitySchemes", "auth0", "flows", "authorizationCode"), "tokenUrl", scalar("https://t.example"))
			},
			says: []string{"security scheme auth0: authorizationCode tokenUrl https://t.example now, was https://auth.pieces.services/oauth/token"},
		},
		"a scope that is demanded": {
			change: func(doc *yaml.Node) {
				set(operation(t, doc, "get-auth0-user-info"), "security", fromText("[{auth0: [profile]}]"))
			},
			says:   []string{"operation get-auth0-user-info: security auth0 (profile) now, was auth0"},
			breaks: []string{"get-auth0-user-info: the security scope `profile` was added to the endpoint's security scheme `auth0`"},
		},
		"a security scheme whose name begins with x-": {
			change: func(doc *yaml.Node) {
				set(get(doc, "components", "securitySchemes"), "x-application", fromText("{type: apiKey, in: header, name: X-Application-ID}"))
				set(operation(t, doc, "auth0-logout"), "security", fromText("[{x-application: []}]"))
			},
			says:   []string{"operation auth0-logout: security x-application now, was none", "security scheme x-application: new (apiKey)"},
			breaks: []string{"auth0-logout: the endpoint no longer allows anonymous access and now only accepts `x-application`"},
		},
		"a deprecated operation": {
			change: func(doc *yaml.Node) { set(operation(t, doc, "auth0-logout"), "deprecated", fromText("true")) },
			says:   []string{"operation auth0-logout: deprecated new: true"},
		},
		"a header of an answer": {
			change: func(doc *yaml.Node) {
				set(get(operation(t, doc, token), "responses", "200"), "headers", fromText("{Cache-Control: {schema: {type: string}, description: theirs}}"))
			},
			says: []string{`response 200 of exchange-for-auth0-token: headers new: {"Cache-Control":{"schema":{"type":"string"}}}`},
		},
		"a default that depends on the style": {
			change: func(doc *yaml.Node) { remove(parameter(t, doc, "scope"), "explode") },
		},
		"a required parameter": {
			change: func(doc *yaml.Node) {
				p := get(operation(t, doc, "authorize-auth0"), "parameters")
				p.Content = append(p.Content, fromText("{name: tenant, in: query, required: True, schema: {type: string}}"))
			},
			says:   []string{"query parameter tenant of authorize-auth0: new (string, required)"},
			breaks: []string{"authorize-auth0: added the new required `query` request parameter `tenant`"},
		},
		"a field of a request that is required now": {
			change: func(doc *yaml.Node) { push(in(doc, "TokenizedPKCE.required"), "audience") },
			says:   []string{"TokenizedPKCE.audience: required now, was optional"},
			breaks: []string{"exchange-for-auth0-token: the request property `audience` became required"},
		},
		"a field of an answer that is required now": {
			change: func(doc *yaml.Node) { push(in(doc, "OAuthToken.required"), "scope") },
			says:   []string{"OAuthToken.scope: required now, was optional"},
		},
		"a renamed schema": {
			change: func(doc *yaml.Node) {
				set(get(doc, "components", "schemas"), "Allocation", in(doc, "Auth0UserAllocationMetadata"))
				set(in(doc, "Auth0UserMetadata.properties.allocation"), "$ref", scalar(refers+"schemas/Allocation"))
			},
			says: []string{
				"Auth0UserMetadata.allocation: type Allocation now, was Auth0UserAllocationMetadata",
				"schema Auth0UserAllocationMetadata: gone; Allocation, new there, is alike in all else: renamed?",
			},
		},
		"another schema": {
			change: func(doc *yaml.Node) {
				set(get(doc, "components", "schemas"), "Allocation", fromText("{type: object, properties: {foo: {type: integer}}}"))
				set(in(doc, "Auth0UserMetadata.properties.allocation"), "$ref", scalar(refers+"schemas/Allocation"))
			},
			says: []string{
				"Auth0UserMetadata.allocation: type Allocation now, was Auth0UserAllocationMetadata",
				"schema Allocation: new (object)", "schema Auth0UserAllocationMetadata: gone",
			},
			breaks: []string{
				"get-auth0-user-info: removed the required property `user_metadata/allocation/project` from the response with the `200` status",
				"get-auth0-user-info: removed the required property `user_metadata/allocation/region` from the response with the `200` status",
			},
		},
		"a version that is a number": {
			change: func(doc *yaml.Node) { set(get(doc, "info"), "version", fromText("2.0")) },
			says:   []string{"version of the document: 2.0 now, was 1.0.0"},
		},
		"a reference to itself": {
			change: func(doc *yaml.Node) {
				set(get(doc, "components", "schemas"), "Loop", fromText("{$ref: '#/components/schemas/Loop'}"))
				set(in(doc, "Auth0Identity.properties"), "loop", fromText("{$ref: '#/components/schemas/Loop'}"))
			},
			err: "schemas Loop is a reference that leads to itself, or nowhere",
		},
		"a reference to nothing": {
			change: func(doc *yaml.Node) {
				*parameter(t, doc, "state") = *fromText("{$ref: '#/components/parameters/Nobody'}")
			},
			err: "the reference #/components/parameters/Nobody leads nowhere",
		},
	} {
		t.Run(name, func(t *testing.T) {
			current, err := load(filepath.Join(library, documentFile))
			require.NoError(t, err)
			doc := clone(current)
			tt.change(doc)
			bent, err := yaml.Marshal(doc)
			require.NoError(t, err)
			u, err := updateOf(t.Context(), current, bent)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.says, changes(current, u.merged))
			assert.Equal(t, len(tt.says) == 0, same(current, u.merged))
			a := adoption{module: absolute(t, library)}
			breaks, err := a.breaks(t.Context(), [][2]*yaml.Node{{current, u.merged}})
			require.NoError(t, err)
			assert.Equal(t, tt.breaks, breaks)
		})
	}
}

// An action that the document leaves without effect, or that would only add to
// what the document says itself, no longer fits.
func TestOverlayMisfits(t *testing.T) {
	for name, tt := range map[string]struct {
		overlay func(text string) string // what the action was before it was mended
		change  func(doc *yaml.Node)
		says    string
	}{
		"an enum by reference": {
			change: func(doc *yaml.Node) {
				p := in(doc, "TokenizedPKCE.properties.grant_type")
				set(get(doc, "components", "schemas"), "Grant", clone(p))
				*p = *mapping(scalar("$ref"), scalar("#/components/schemas/Grant"))
			},
			says: "would stand beside the reference to #/components/schemas/Grant, where it says nothing. Move the target to where that leads.",
		},
		"security that the document gives": {
			overlay: func(text string) string {
				return strings.ReplaceAll(text, "== 'auth0-logout'].security\n    remove: true", "== 'auth0-logout'].security\n    update: []")
			},
			change: func(doc *yaml.Node) {
				for _, id := range []string{"authorize-auth0", "auth0-logout"} {
					set(operation(t, doc, id), "security", sequence(mapping(scalar("auth0"), sequence())))
				}
			},
			says: "the document now says itself what security authorize-auth0, auth0-logout has, and the action would only add to that. Drop it from the action.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			current, err := load(filepath.Join(library, documentFile))
			require.NoError(t, err)
			doc := clone(current)
			tt.change(doc)
			path := filepath.Join(library, overlayFile)
			if tt.overlay != nil {
				text, err := os.ReadFile(path)
				require.NoError(t, err)
				path = filepath.Join(t.TempDir(), "overlay.yaml")
				require.NoError(t, os.WriteFile(path, []byte(tt.overlay(string(text))), 0o600))
			}
			f, err := lay(path, current, doc)
			require.NoError(t, err)
			require.Len(t, f.misfit, 1)
			assert.Contains(t, f.misfit[0], tt.says)
		})
	}
}

// An anchor in the overlay is refused; an earlier revision may have had one.
func TestAnchors(t *testing.T) {
	current, err := load(filepath.Join(library, documentFile))
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(library, overlayFile))
	require.NoError(t, err)
	bent := strings.Replace(string(text), "security:\n        - {}", "security: &both\n        - {}", 1)
	require.NotEqual(t, string(text), bent)
	path := filepath.Join(t.TempDir(), "overlay.yaml")
	require.NoError(t, os.WriteFile(path, []byte(bent), 0o600))
	_, err = lay(path, current, clone(current))
	require.ErrorContains(t, err, "a YAML anchor, which the generator doesn't read as this report would: spell it out")
	_, err = lay(path, current, current)
	require.NoError(t, err)
}

// What lies on the document is what the generator makes of it.
func TestLayAgreesWithTheGenerator(t *testing.T) {
	current, err := load(filepath.Join(library, documentFile))
	require.NoError(t, err)
	u, err := updateOf(t.Context(), current, []byte(edition(t)))
	require.NoError(t, err)
	f, err := lay(filepath.Join(library, overlayFile), current, u.merged)
	require.NoError(t, err)
	o, err := loader.LoadOverlay(filepath.Join(library, overlayFile))
	require.NoError(t, err)
	doc := &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{clone(u.merged)}}
	warnings, err := o.ApplyToStrict(doc)
	require.NoError(t, err)
	assert.Empty(t, warnings)
	assert.True(t, same(doc.Content[0], f.root))
}

func TestAdoptDry(t *testing.T) {
	module := copyLibrary(t)
	var out bytes.Buffer
	a := adoption{module: module, test: sent, out: &out, dry: true}
	require.NoError(t, a.adopt(context.Background(), pieces(t, func(doc *yaml.Node) { push(in(doc, "OAuthToken.required"), "scope") })))
	assert.Contains(t, out.String(), "Would change: client_gen.go, openapi.yaml")
	files, err := different(module)
	require.NoError(t, err)
	assert.Empty(t, files)
}

func TestAdoptByForce(t *testing.T) {
	module := copyLibrary(t)
	var out bytes.Buffer
	a := adoption{module: module, test: sent, out: &out, force: true}
	err := a.adopt(context.Background(), pieces(t, func(doc *yaml.Node) { remove(in(doc, "Auth0User.properties"), "updated_at") }))
	require.ErrorContains(t, err, "taken over by force (openapi.yaml), although 1 of the overlay's actions no longer fit the document")
	doc, err := load(filepath.Join(module, documentFile))
	require.NoError(t, err)
	assert.Nil(t, get(doc, "components", "schemas", "Auth0User", "properties", "updated_at"))
	assert.NotNil(t, get(doc, "components", "schemas", "Auth0User", "properties", "nickname", "description"), "our words stay")
}

// What adopt writes, it reads again as the same, and writes again as the same.
func TestFormat(t *testing.T) {
	doc, err := load(filepath.Join(library, documentFile))
	require.NoError(t, err)
	first, err := format(doc)
	require.NoError(t, err)
	back, _, err := parse(first)
	require.NoError(t, err)
	assert.True(t, same(doc, back))
	second, err := format(back)
	require.NoError(t, err)
	assert.Equal(t, string(first), string(second))
	current, err := os.ReadFile(filepath.Join(library, documentFile))
	require.NoError(t, err)
	assert.Equal(t, string(current), string(first))
	for line := range strings.Lines(string(first)) {
		assert.LessOrEqual(t, len(line), 140, line)
	}
}

func TestReport(t *testing.T) {
	module := copyLibrary(t)
	git := func(args ...string) {
		t.Helper()
		out, err := command(context.Background(), module, "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
		require.NoError(t, err, out)
	}
	git("init", "-q")
	own, err := command(context.Background(), module, "git", "rev-parse", "--absolute-git-dir")
	require.NoError(t, err)
	require.Contains(t, own, filepath.Base(filepath.Dir(module)), "not the repository of the library")
	git("add", "-A")
	git("commit", "-q", "-m", "base")

	var out bytes.Buffer
	a := adoption{module: module, out: &out}
	require.NoError(t, a.report(context.Background(), ""))
	assert.Contains(t, out.String(), "there is nothing to compare with")

	out.Reset()
	require.NoError(t, a.report(context.Background(), "HEAD"))
	assert.Contains(t, out.String(), "What has to rise: none.")
	assert.NotContains(t, out.String(), "\n- ")

	// A further parameter in the overlay, and a field less in the document.
	overlay := filepath.Join(module, overlayFile)
	data, err := os.ReadFile(overlay)
	require.NoError(t, err)
	bent := strings.Replace(string(data), "        - name: nonce\n", "        - {name: acr_values, in: query, schema: {type: string}}\n        - name: nonce\n", 1)
	require.NotEqual(t, string(data), bent)
	require.NoError(t, os.WriteFile(overlay, []byte(bent), 0o600))
	doc, err := load(filepath.Join(module, documentFile))
	require.NoError(t, err)
	remove(in(doc, "Auth0User.properties"), "blocked_for")
	data, err = format(doc)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(module, documentFile), data, 0o600))
	generated, err := command(context.Background(), module, "go", "generate", ".")
	require.NoError(t, err, generated)

	out.Reset()
	require.NoError(t, a.report(context.Background(), "HEAD"))
	t.Log(out.String())
	for _, s := range []string{
		"- Auth0User.blocked_for: gone", "- query parameter acr_values of authorize-auth0: new (string, optional)",
		"- breaking: Auth0User.BlockedFor: removed", "- compatible: AuthorizeAuth0Params.AcrValues: added", "What has to rise: major",
	} {
		assert.Contains(t, out.String(), s)
	}

	// An overlay that no longer fits fails.
	remove(in(doc, "OAuthToken.properties"), "token_type")
	data, err = format(doc)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(module, documentFile), data, 0o600))
	require.ErrorContains(t, a.report(context.Background(), "HEAD"), "1 of the overlay's actions do not fit the document")
}

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct{ data, err string }{
		"plain text with a tab":    {data: "openapi: 3.0.0\ninfo:\n  title: a\n\tb\n"},
		"a tab after a backslash":  {data: "openapi: \"3.0.0\"\ninfo:\n  title: \"a\\\tb\"\n"},
		"a tab in a block":         {data: "openapi: 3.0.0\ninfo:\n  title: |\n    a\n\tb\n"},
		"JSON with tabs":           {data: "{\n\t\"openapi\": \"3.0.0\"\n}"},
		"a byte order mark":        {data: "\ufeffopenapi: 3.0.0\n"},
		"anchors and merges":       {data: "openapi: 3.0.0\na: &x {b: 1}\nc: {<<: *x}\nd: *x\n"},
		"Swagger":                  {data: "swagger: '2.0'\n", err: "convert it to OpenAPI 3.0 first"},
		"another version":          {data: "openapi: 4.0.0\n", err: "3.0 and 3.1 are understood"},
		"a key twice":              {data: "openapi: 3.0.0\na: 1\na: 2\n", err: "mapping key \"a\" already defined at line 2: mend the document first"},
		"an alias within itself":   {data: "openapi: 3.0.0\na: &x [*x]\n", err: "contains itself"},
		"no document":              {data: "[1]", err: "its top is not a mapping"},
		"another document":         {data: "a: 1\n", err: "the key openapi is missing"},
		"two documents":            {data: "openapi: 3.0.0\n---\nopenapi: 3.0.0\n", err: "several documents"},
		"the end of the document":  {data: "---\nopenapi: 3.0.0\n...\n---\n"},
		"a broken document, a tab": {data: "a: [\t\n", err: "yaml: line"},
	} {
		t.Run(name, func(t *testing.T) {
			root, _, err := parse([]byte(tt.data))
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "3.0.0", text(get(root, "openapi")))
		})
	}
}

// different lists the files that a copy of the library has otherwise, or alone.
func different(module string) (files []string, err error) {
	err = each(module, func(f string) error {
		if !sameFile(filepath.Join(library, f), filepath.Join(module, f)) {
			files = append(files, f)
		}
		return nil
	})
	return files, err
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	return path
}

// copyLibrary returns a copy of the library that a test may spoil.
func copyLibrary(t *testing.T) string {
	t.Helper()
	module := t.TempDir()
	require.NoError(t, copyModule(t.Context(), library, module))
	return module
}
