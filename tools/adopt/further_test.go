package main

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// What the first tables lack.

func furtherRequests() []mutation {
	paths := func(doc *yaml.Node) *yaml.Node { return get(doc, "paths") }
	info := "get-auth0-user-info"
	return []mutation{
		{
			name: "a parameter moved to a header",
			says: []string{"header parameter prompt of authorize-auth0: new (string, optional)", "query parameter prompt of authorize-auth0: gone"},
			change: func(t *testing.T, doc *yaml.Node) {
				p := parameter(t, doc, "prompt")
				set(p, "in", scalar("header"))
				set(p, "style", scalar("simple"))
				remove(p, "explode")
			},
		},
		{
			name: "a cookie",
			says: []string{"cookie parameter sid of authorize-auth0: new (string, optional)"},
			change: func(t *testing.T, doc *yaml.Node) {
				param(t, doc, "{name: sid, in: cookie, schema: {type: string}}")
			},
		},
		{
			name: "a parameter with content",
			says: []string{"query parameter prompt of authorize-auth0: content new: {\"application/json\":{\"schema\":{\"type\":\"string\"}}}", "query parameter prompt of authorize-auth0: type anything now, was string"},
			change: func(t *testing.T, doc *yaml.Node) {
				p := parameter(t, doc, "prompt")
				remove(p, "schema")
				remove(p, "style")
				remove(p, "explode")
				set(p, "content", fromText("{application/json: {schema: {type: string}}}"))
			},
		},
		{
			name:   "a deprecated parameter",
			says:   []string{"query parameter prompt of authorize-auth0: deprecated new: true"},
			change: func(t *testing.T, doc *yaml.Node) { set(parameter(t, doc, "prompt"), "deprecated", fromText("true")) },
		},
		{
			name: "a parameter no longer deprecated",
			says: []string{"query parameter prompt of authorize-auth0: deprecated gone, was true"},
			before: func(t *testing.T, doc *yaml.Node) {
				set(parameter(t, doc, "prompt"), "deprecated", fromText("true"))
			},
		},
		{
			name: "examples and titles",
			change: func(t *testing.T, doc *yaml.Node) {
				set(parameter(t, doc, "prompt"), "examples", fromText("{one: {value: none, summary: theirs}}"))
				set(in(doc, "Auth0User.properties.locale"), "example", fromText("de"))
				set(in(doc, "Auth0User"), "title", scalar("Other"))
				set(in(doc, "Auth0User"), "externalDocs", fromText("{url: https://docs.example}"))
			},
		},
		{
			name: "webhooks",
			says: []string{"version of OpenAPI: 3.1.0 now, was 3.0.3"},
			text: func(text string) string {
				return strings.Replace(text, "openapi: 3.0.0", "openapi: 3.1.0\nwebhooks: {signedIn: {post: {operationId: hook, responses: {'200': {description: OK}}}}}", 1)
			},
		},
		{
			name: "callbacks",
			says: []string{"operation exchange-for-auth0-token: callbacks new: {\"granted\":{\"{$request.body#/redirect_uri}\":{\"post\":{\"operationId\":\"granted\",\"requestBody\":{\"content\":{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/OAuthToken\"}}}},\"responses\":{\"200\":{}}}}}}"},
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, redeem), "callbacks", fromText("{granted: {'{$request.body#/redirect_uri}': {post: {operationId: granted, requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/OAuthToken'}}}}, responses: {'200': {description: OK}}}}}}"))
			},
		},
		{
			name: "server variables",
			says: []string{
				"server http://localhost:1000: gone",
				"server http://localhost:{port}: new",
				"the default server: URL http://localhost:{port} now, was http://localhost:1000",
			},
			change: func(_ *testing.T, doc *yaml.Node) {
				s := get(doc, "servers").Content[0]
				set(s, "url", scalar("http://localhost:{port}"))
				set(s, "variables", fromText("{port: {default: '1000', enum: ['1000', '5323'], description: theirs}}"))
			},
		},
		{
			name: "a server variable's default",
			says: []string{"server http://localhost:{port}: variables {\"port\":{\"default\":\"5323\"}} now, was {\"port\":{\"default\":\"1000\"}}"},
			before: func(_ *testing.T, doc *yaml.Node) {
				s := get(doc, "servers").Content[0]
				set(s, "url", scalar("http://localhost:{port}"))
				set(s, "variables", fromText("{port: {default: '1000', description: theirs}}"))
			},
			change: func(_ *testing.T, doc *yaml.Node) {
				s := get(doc, "servers").Content[0]
				set(s, "url", scalar("http://localhost:{port}"))
				set(s, "variables", fromText("{port: {default: '5323', description: others}}"))
			},
		},
		{
			name: "no servers",
			says: []string{
				"server http://localhost:1000: gone",
				"server https://api.example: gone",
				"server https://auth.pieces.services: gone",
				"server https://mock.example/document: gone",
				"server https://pieces.us.auth0.com: gone",
				"the default server: gone",
			},
			change: func(_ *testing.T, doc *yaml.Node) { remove(doc, "servers") },
		},
		{
			name: "a server described otherwise",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "servers").Content[0], "description", scalar("Elsewhere"))
			},
		},
		{
			name: "a tag renamed",
			change: func(t *testing.T, doc *yaml.Node) {
				set(doc, "tags", fromText("[{name: Sign-in}]"))
				for _, id := range operations {
					set(operation(t, doc, id), "tags", fromText("[Sign-in]"))
				}
			},
		},
		{
			name: "empty path items",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(paths(doc), "/nothing", fromText("{}"))
				set(paths(doc), "/null", fromText("null"))
			},
		},
		{
			name:   "a path template",
			says:   []string{"operation authorize-auth0: request GET /{tenant}/authorize now, was GET /authorize", "path parameter tenant of authorize-auth0: new (string, required)"},
			breaks: []string{"authorize-auth0: API path removed without deprecation"},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(paths(doc), "/{tenant}/authorize", get(paths(doc), "/authorize"))
				remove(paths(doc), "/authorize")
				set(get(paths(doc), "/{tenant}/authorize"), "parameters", fromText("[{name: tenant, in: path, required: true, schema: {type: string}}]"))
			},
		},
		{
			name: "a path template renamed",
			says: []string{"operation authorize-auth0: request GET /{realm}/authorize now, was GET /{tenant}/authorize", "path parameter tenant of authorize-auth0: gone; realm, new there, is alike in all else: renamed?"},
			before: func(_ *testing.T, doc *yaml.Node) {
				set(paths(doc), "/{tenant}/authorize", get(paths(doc), "/authorize"))
				remove(paths(doc), "/authorize")
				set(get(paths(doc), "/{tenant}/authorize"), "parameters", fromText("[{name: tenant, in: path, required: true, schema: {type: string}}]"))
			},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(paths(doc), "/{realm}/authorize", get(paths(doc), "/authorize"))
				remove(paths(doc), "/authorize")
				set(get(paths(doc), "/{realm}/authorize"), "parameters", fromText("[{name: realm, in: path, required: true, schema: {type: string}}]"))
			},
		},
		{
			name:   "a slash at the end",
			says:   []string{"operation get-auth0-user-info: request GET /userinfo/ now, was GET /userinfo"},
			breaks: []string{"get-auth0-user-info: API path removed without deprecation"},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(paths(doc), "/userinfo/", get(paths(doc), "/userinfo"))
				remove(paths(doc), "/userinfo")
			},
		},
		{
			name: "a path by reference",
			says: []string{"version of OpenAPI: 3.1.0 now, was 3.0.3"},
			text: func(text string) string {
				return strings.Replace(text, "openapi: 3.0.0", "openapi: 3.1.0", 1)
			}, change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "components"), "pathItems", mapping(scalar("Out"), get(paths(doc), "/v2/logout")))
				set(paths(doc), "/v2/logout", fromText("{$ref: '#/components/pathItems/Out'}"))
			},
		},
		{
			name: "a path by reference to another",
			err:  "the path /other: the reference more.yaml#/paths/~1other leads out of the document: bundle it first",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(paths(doc), "/other", fromText("{$ref: 'more.yaml#/paths/~1other'}"))
			},
		},
		{
			name: "a parameter of the path that the operation overrides",
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(paths(doc), "/authorize"), "parameters", fromText("[{name: prompt, in: query, required: true, schema: {type: integer}}]"))
			},
		},
		{
			name:   "a parameter twice",
			err:    "authorize-auth0: the parameter prompt stands there twice: mend it in the document",
			change: func(t *testing.T, doc *yaml.Node) { param(t, doc, "{name: prompt, in: query, schema: {type: string}}") },
		},
		{
			name: "a parameter that is the body",
			err:  "parameter can't have 'in' value \"body\": mend it in the document, or ask for one that is",
			change: func(t *testing.T, doc *yaml.Node) {
				param(t, doc, "{name: whole, in: body, schema: {type: string}}")
			},
		},
		{
			name:   "a parameter without a schema",
			err:    "parameter must contain exactly one of content and schema: mend it in the document, or ask for one that is",
			change: func(t *testing.T, doc *yaml.Node) { remove(parameter(t, doc, "prompt"), "schema") },
		},
		{
			name: "a deep object",
			says: []string{"query parameter filter of authorize-auth0.region: new (string, optional)", "query parameter filter of authorize-auth0: new (object, optional)"},
			change: func(t *testing.T, doc *yaml.Node) {
				param(t, doc, "{name: filter, in: query, style: deepObject, explode: true, schema: {type: object, properties: {region: {type: string}}}}")
			},
		},
		{
			name: "reserved characters",
			says: []string{"query parameter redirect_uri of authorize-auth0: allowReserved new: true"},
			change: func(t *testing.T, doc *yaml.Node) {
				set(parameter(t, doc, "redirect_uri"), "allowReserved", fromText("true"))
			},
		},
		{
			name:   "a default",
			says:   []string{"query parameter response_mode of authorize-auth0: default new: query"},
			change: func(t *testing.T, doc *yaml.Node) { at(t, doc, "response_mode", "default", "query") },
		},
		{
			name:   "a body gone",
			says:   []string{"request body of exchange-for-auth0-token: gone", "schema TokenizedPKCE: gone"},
			breaks: []string{"exchange-for-auth0-token: removed the request body"},
			misfit: "nothing stands at $.components.schemas.TokenizedPKCE.required",
			change: func(t *testing.T, doc *yaml.Node) { remove(operation(t, doc, redeem), "requestBody") },
		},
		{
			name: "an encoding of a form's field",
			says: []string{"request body of exchange-for-auth0-token: application/x-www-form-urlencoded encoding new: {\"schema\":{\"explode\":true,\"style\":\"deepObject\"}}"},
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(operation(t, doc, redeem), "requestBody", "content", "application/x-www-form-urlencoded"), "encoding", fromText("{schema: {style: deepObject, explode: true}}"))
			},
		},
		{
			name: "an encoding that is the default",
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(operation(t, doc, redeem), "requestBody", "content", "application/x-www-form-urlencoded"), "encoding", fromText("{schema: {style: form, explode: true}}"))
			},
		},
		{
			name:   "no security",
			says:   []string{"operation exchange-for-auth0-token: security none now, was application"},
			change: func(t *testing.T, doc *yaml.Node) { set(operation(t, doc, redeem), "security", fromText("[]")) },
		},
		{
			name: "security or none",
			says: []string{"operation get-auth0-user-info: security auth0 or none now, was auth0"},
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, info), "security", fromText("[{auth0: []}, {}]"))
			},
		},
		{
			name:   "both schemes",
			says:   []string{"operation get-auth0-user-info: security application and auth0 now, was auth0"},
			breaks: []string{"get-auth0-user-info: the endpoint scheme security `auth0` was removed from the API"},
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, info), "security", fromText("[{auth0: [], application: []}]"))
			},
		},
		{
			name:   "security null",
			change: func(t *testing.T, doc *yaml.Node) { set(operation(t, doc, redeem), "security", fromText("null")) },
		},
		{
			name: "scopes of a flow",
			says: []string{"security scheme auth0: implicit scopes new: openid, profile"},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "components", "securitySchemes", "auth0", "flows", "implicit"), "scopes", fromText("{openid: theirs, profile: theirs}"))
			},
		},
		{
			name: "a scope renamed",
			says: []string{"security scheme auth0: implicit scopes openid, read:profile now, was openid, profile"},
			before: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "components", "securitySchemes", "auth0", "flows", "implicit"), "scopes", fromText("{openid: theirs, profile: theirs}"))
			},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "components", "securitySchemes", "auth0", "flows", "implicit"), "scopes", fromText("{openid: theirs, 'read:profile': theirs}"))
			},
		},
		{
			name:   "another kind of security",
			unseen: true, // the URLs that go are ours
			says: []string{
				"security scheme auth0: authorizationCode authorizationUrl gone, was https://auth.pieces.services/authorize",
				"security scheme auth0: authorizationCode tokenUrl gone, was https://auth.pieces.services/oauth/token",
				"security scheme auth0: bearerFormat new: JWT",
				"security scheme auth0: clientCredentials tokenUrl gone, was https://auth.pieces.services/oauth/token",
				"security scheme auth0: implicit authorizationUrl gone, was https://auth.pieces.services/authorize",
				"security scheme auth0: scheme new: bearer",
				"security scheme auth0: type http now, was oauth2",
			},
			breaks: []string{"the component security scheme `auth0` type changed from `oauth2` to `http`"},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "components", "securitySchemes"), "auth0", fromText("{type: http, scheme: bearer, bearerFormat: JWT}"))
			},
		},
		{
			name:   "a header's name in security",
			says:   []string{"security scheme application: name X-App now, was X-Application-ID"},
			breaks: []string{"the component security scheme `application` API key name changed from `x-application-id` to `x-app`"},
			change: func(_ *testing.T, doc *yaml.Node) {
				set(get(doc, "components", "securitySchemes", "application"), "name", scalar("X-App"))
			},
		},
		{
			name: "security by an unknown scheme",
			err:  "get-auth0-user-info: the security scheme nobody is not in the document: ask for a document that is whole",
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, info), "security", fromText("[{nobody: []}]"))
			},
		},
		{
			name: "a method in capitals",
			err:  "the operation get-auth0-user-info is not in the document (it has 3 operations). If it was renamed, say so in tools/adopt/cut.go and in the overlay",
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(paths(doc), "/userinfo"), "GET", operation(t, doc, info))
				remove(get(paths(doc), "/userinfo"), "get")
			},
		},
		{
			name: "an operationId in capitals",
			err:  "there are also Get-Auth0-User-Info (GET /userinfo)). If it was renamed, say so in tools/adopt/cut.go and in the overlay",
			change: func(t *testing.T, doc *yaml.Node) {
				set(operation(t, doc, info), "operationId", scalar("Get-Auth0-User-Info"))
			},
		},
	}
}

func furtherAnswers() []mutation {
	answers := func(t *testing.T, doc *yaml.Node, id string) *yaml.Node {
		return get(operation(t, doc, id), "responses")
	}
	user := "get-auth0-user-info"
	header := func(t *testing.T, doc *yaml.Node) {
		set(get(answers(t, doc, user), "200"), "headers", fromText("{X-Limit: {required: true, schema: {type: integer}}}"))
	}
	rename := func(to string) func(t *testing.T, doc *yaml.Node) {
		return func(t *testing.T, doc *yaml.Node) {
			content := get(answers(t, doc, user), "200", "content")
			content.Content[0] = scalar(to)
		}
	}
	return []mutation{
		{
			name: "links",
			says: []string{"response 200 of exchange-for-auth0-token: links new: {\"who\":{\"operationId\":\"get-auth0-user-info\"}}"},
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(answers(t, doc, redeem), "200"), "links", fromText("{who: {operationId: get-auth0-user-info, description: theirs}}"))
			},
		},
		{
			name:   "a range of statuses",
			says:   []string{"response 200 of get-auth0-user-info: gone", "response 2XX of get-auth0-user-info: new"},
			breaks: []string{"get-auth0-user-info: removed the success response with the status `200`"},
			change: func(t *testing.T, doc *yaml.Node) {
				a := answers(t, doc, user)
				set(a, "2XX", get(a, "200"))
				remove(a, "200")
			},
		},
		{
			name: "an answer to all else",
			says: []string{"response default of get-auth0-user-info: new"},
			change: func(t *testing.T, doc *yaml.Node) {
				set(answers(t, doc, user), "default", fromText("{description: theirs, content: {application/json: {schema: {type: object}}}}"))
			},
		},
		{
			name: "statuses as numbers",
			text: func(text string) string {
				return strings.ReplaceAll(text, "'200':", "200:")
			},
		},
		{
			name: "a new status as a number",
			says: []string{"response 418 of get-auth0-user-info: new"},
			change: func(t *testing.T, doc *yaml.Node) {
				a := answers(t, doc, user)
				a.Content = append(a.Content, fromText("418"), fromText("{description: theirs}"))
			},
		},
		{
			name:   "a header new",
			says:   []string{"response 200 of get-auth0-user-info: headers new: {\"X-Limit\":{\"required\":true,\"schema\":{\"type\":\"integer\"}}}"},
			change: header,
		},
		{
			name:   "a header gone",
			says:   []string{"response 200 of get-auth0-user-info: headers gone, was {\"X-Limit\":{\"required\":true,\"schema\":{\"type\":\"integer\"}}}"},
			breaks: []string{"get-auth0-user-info: the mandatory response header `x-limit` removed for the status `200`"},
			before: header,
		},
		{
			name:   "a header by reference",
			before: header, change: func(t *testing.T, doc *yaml.Node) {
				set(get(doc, "components"), "headers", fromText("{Limit: {required: true, schema: {type: integer}}}"))
				set(get(answers(t, doc, user), "200"), "headers", fromText("{X-Limit: {$ref: '#/components/headers/Limit'}}"))
			},
		},
		{
			name:   "a charset",
			says:   []string{"response 200 of get-auth0-user-info: application/json gone, was Auth0User", "response 200 of get-auth0-user-info: application/json; charset=utf-8 new: Auth0User"},
			change: rename("application/json; charset=utf-8"),
		},
		{
			name:   "a media type in capitals",
			change: rename("Application/JSON"),
		},
		{
			name:   "any media type",
			says:   []string{"response 200 of get-auth0-user-info: */* new: Auth0User", "response 200 of get-auth0-user-info: application/json gone, was Auth0User"},
			breaks: []string{"get-auth0-user-info: removed the media type `application/json` for the response with the status `200`"},
			change: rename("*/*"),
		},
		{
			name: "a media type besides",
			says: []string{"response 200 of get-auth0-user-info: application/jwt new: string"},
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(answers(t, doc, user), "200", "content"), "application/jwt", fromText("{schema: {type: string}}"))
			},
		},
		{
			name: "a body inline",
			says: []string{
				"response 200 of exchange-for-auth0-token.access_token: new (string, required)",
				"response 200 of exchange-for-auth0-token.expires_in: new (integer, required)",
				"response 200 of exchange-for-auth0-token.id_token: new (string, optional)",
				"response 200 of exchange-for-auth0-token.refresh_token: new (string, optional)",
				"response 200 of exchange-for-auth0-token.schema: new (EmbeddedModelSchema, optional)",
				"response 200 of exchange-for-auth0-token.scope: new (string, required)",
				"response 200 of exchange-for-auth0-token.token_type: new (string, required, Bearer)",
				"response 200 of exchange-for-auth0-token: application/json object now, was OAuthToken",
				"schema OAuthToken: gone",
			},
			misfit: "nothing stands at $.components.schemas.OAuthToken.properties.token_type",
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(answers(t, doc, redeem), "200", "content", "application/json"), "schema", clone(in(doc, "OAuthToken")))
			},
		},
		{
			name:   "a body gone from an answer",
			says:   []string{"response 200 of auth0-logout: text/html gone, was string"},
			breaks: []string{"auth0-logout: removed the media type `text/html` for the response with the status `200`"},
			change: func(t *testing.T, doc *yaml.Node) {
				remove(get(answers(t, doc, "auth0-logout"), "200"), "content")
			},
		},
		{
			name:   "a body without a schema",
			says:   []string{"response 200 of auth0-logout: text/html anything now, was string"},
			breaks: []string{"auth0-logout: removed the schema from the media type `text/html` for the response with the status `200`"},
			change: func(t *testing.T, doc *yaml.Node) {
				remove(get(answers(t, doc, "auth0-logout"), "200", "content", "text/html"), "schema")
			},
		},
		{
			name:   "an answer gone",
			says:   []string{"response 200 of auth0-logout: gone", "response 302 of auth0-logout: new"},
			breaks: []string{"auth0-logout: removed the success response with the status `200`"},
			change: func(t *testing.T, doc *yaml.Node) {
				a := answers(t, doc, "auth0-logout")
				set(a, "302", fromText("{description: theirs}"))
				remove(a, "200")
			},
		},
		{
			name:   "no answers",
			err:    "value of responses must be an object: mend it in the document, or ask for one that is",
			change: func(t *testing.T, doc *yaml.Node) { remove(operation(t, doc, "auth0-logout"), "responses") },
		},
		{
			name: "an answer by a chain of references",
			change: func(t *testing.T, doc *yaml.Node) {
				set(get(doc, "components"), "responses", mapping(scalar("A"), fromText("{$ref: '#/components/responses/B'}"), scalar("B"), get(answers(t, doc, user), "200")))
				set(answers(t, doc, user), "200", fromText("{$ref: '#/components/responses/A'}"))
			},
		},
	}
}
