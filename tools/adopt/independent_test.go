package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// An observer reads what a whole document says of the four operations, by
// another parser and other code than the report's: for each place its facts.
type observer struct {
	doc  *openapi3.T
	says map[string]map[string]string
}

// observe reads a document as it was published.
func observe(t *testing.T, data []byte) map[string]map[string]string {
	t.Helper()
	loader := openapi3.NewLoader()
	text := strings.NewReplacer("\ufeff", "", "\t", "  ", "version: 2.0\n", "version: '2.0'\n").Replace(string(data))
	doc, err := loader.LoadFromData([]byte(text))
	require.NoError(t, err)
	o := &observer{doc: doc, says: map[string]map[string]string{}}
	o.set("version of OpenAPI", "", doc.OpenAPI)
	if strings.HasPrefix(doc.OpenAPI, "3.0") {
		o.set("version of OpenAPI", "", "3.0.3")
	}
	if doc.Info.Version != "" {
		o.set("version of the document", "", doc.Info.Version)
	}
	for i, s := range doc.Servers {
		o.set("server "+s.URL, "present", "yes")
		for name, v := range s.Variables {
			o.set("server "+s.URL, "variables", fmt.Sprint(name, v.Default, v.Enum))
		}
		if i == 0 {
			o.set("the default server", "URL", s.URL)
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if slices.Contains(operations, op.OperationID) {
				o.operation(path, method, item, op)
			}
		}
	}
	return o.says
}

func (o *observer) set(place, key, value string) {
	if o.says[place] == nil {
		o.says[place] = map[string]string{}
	}
	o.says[place][key] = value
}

func (o *observer) operation(path, method string, item *openapi3.PathItem, op *openapi3.Operation) {
	at := "operation " + op.OperationID
	o.set(at, "request", method+" "+path)
	o.set(at, "deprecated", truth(op.Deprecated))
	demanded := o.doc.Security
	if op.Security != nil {
		demanded = *op.Security
	}
	o.set(at, "security", o.security(demanded))
	servers := item.Servers
	if op.Servers != nil {
		servers = *op.Servers
	}
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.URL)
	}
	o.set(at, "servers", strings.Join(urls, " "))
	o.set(at, "callbacks", strings.Join(slices.Sorted(maps.Keys(op.Callbacks)), " "))
	for _, ref := range slices.Concat(op.Parameters, item.Parameters) {
		p := ref.Value
		at := fmt.Sprintf("%s parameter %s of %s", p.In, p.Name, op.OperationID)
		if o.says[at] != nil {
			continue // the operation's own comes before the path's
		}
		o.schema(at, "", p.Schema)
		for mediaType, m := range p.Content {
			o.set(at, "content", mediaType+" "+o.kind(m.Schema))
		}
		o.set(at, "required", need(p.Required))
		o.set(at, "allowReserved", truth(p.AllowReserved))
		style, explode := p.Style, p.Style == "" || p.Style == "form"
		if style == "" {
			style = "form"
		}
		if p.Explode != nil {
			explode = *p.Explode
		}
		o.set(at, "style", style)
		o.set(at, "explode", strconv.FormatBool(explode))
		o.set(at, "deprecated", truth(p.Deprecated))
	}
	if op.RequestBody != nil {
		at := "request body of " + op.OperationID
		o.set(at, "required", need(op.RequestBody.Value.Required))
		o.content(at, op.RequestBody.Value.Content)
	}
	for status, r := range op.Responses.Map() {
		at := fmt.Sprintf("response %s of %s", status, op.OperationID)
		o.set(at, "present", "yes")
		o.content(at, r.Value.Content)
		for name := range r.Value.Headers {
			o.set(at, "headers", name)
		}
		for name := range r.Value.Links {
			o.set(at, "links", name)
		}
	}
}

func (o *observer) content(at string, content openapi3.Content) {
	for mediaType, m := range content {
		if !strings.Contains(mediaType, ";") {
			mediaType = strings.ToLower(mediaType)
		}
		o.schema(at, mediaType, m.Schema)
		for field, e := range m.Encoding {
			if (e.Style == "" || e.Style == "form") && (e.Explode == nil || *e.Explode) && e.ContentType == "" {
				continue // the defaults
			}
			o.set(at, mediaType+" encoding", field+" "+e.Style)
		}
	}
}

func (o *observer) security(requirements openapi3.SecurityRequirements) string {
	var either []string
	for _, r := range requirements {
		var all []string
		for name, scopes := range r {
			o.scheme(name)
			if len(scopes) > 0 {
				name += " (" + strings.Join(slices.Sorted(slices.Values(scopes)), ", ") + ")"
			}
			all = append(all, name)
		}
		if len(all) == 0 {
			all = []string{"none"}
		}
		either = append(either, strings.Join(slices.Sorted(slices.Values(all)), " and "))
	}
	if len(either) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(slices.Values(either)), " or ")
}

func (o *observer) scheme(name string) {
	s := o.doc.Components.SecuritySchemes[name].Value
	at := "security scheme " + name
	o.set(at, "type", s.Type)
	o.set(at, "in", s.In)
	o.set(at, "name", s.Name)
	o.set(at, "scheme", s.Scheme)
	o.set(at, "bearerFormat", s.BearerFormat)
	if s.Flows == nil {
		return
	}
	for flow, f := range map[string]*openapi3.OAuthFlow{"authorizationCode": s.Flows.AuthorizationCode, "clientCredentials": s.Flows.ClientCredentials, "implicit": s.Flows.Implicit} {
		if f == nil {
			continue
		}
		for k, v := range map[string]string{"authorizationUrl": f.AuthorizationURL, "tokenUrl": f.TokenURL} {
			if v != "" { // an empty one says nothing
				o.set(at, flow+" "+k, v)
			}
		}
		o.set(at, flow+" scopes", strings.Join(slices.Sorted(maps.Keys(f.Scopes)), " "))
	}
}

// schema notes a schema under a key of a place, and those that it refers to.
func (o *observer) schema(at, key string, ref *openapi3.SchemaRef) {
	prefix := key
	if prefix != "" {
		prefix += " "
	}
	typeKey := strings.TrimSpace(prefix + "type")
	if key != "" && key != "items'" {
		typeKey = key
	}
	if key != "items'" {
		o.set(at, typeKey, o.kind(ref))
	}
	if ref == nil || ref.Ref != "" || wraps(ref) {
		return
	}
	merged := o.flatten(ref.Value)
	data, _ := json.Marshal(merged)
	var all map[string]any
	_ = json.Unmarshal(data, &all)
	for _, handled := range []string{"type", "format", "nullable", "properties", "required", "enum", "const", "items", "allOf", "anyOf", "oneOf", "title", "description", "example", "examples", "externalDocs"} {
		delete(all, handled)
	}
	for k, v := range all {
		if !strings.HasPrefix(k, "x-") && v != (k == "additionalProperties") { // the default
			b, _ := json.Marshal(v)
			o.set(at, prefix+k, strings.Trim(string(b), `"`))
		}
	}
	var values []string
	for _, v := range merged.Enum {
		if v != nil {
			values = append(values, fmt.Sprint(v))
		}
	}
	if c := reflect.ValueOf(merged).Elem().FieldByName("Const"); c.IsValid() && !c.IsZero() {
		values = []string{fmt.Sprint(c.Interface())}
	}
	if values != nil {
		slices.Sort(values)
		o.set(at, prefix+"enum", strings.Join(values, ", "))
	}
	if more := merged.AdditionalProperties.Schema; more != nil && more.Ref != "" {
		o.named(more)
	}
	if merged.Discriminator != nil {
		for _, m := range merged.Discriminator.Mapping {
			name := m.Ref[strings.LastIndexByte(m.Ref, '/')+1:]
			o.named(&openapi3.SchemaRef{Ref: m.Ref, Value: o.doc.Components.Schemas[name].Value})
		}
	}
	owner := strings.TrimPrefix(strings.TrimPrefix(at, "schema "), "field ")
	for _, name := range merged.Required {
		if merged.Properties[name] == nil {
			o.set(owner+"."+name, "required", need(true))
		}
	}
	for name, p := range merged.Properties {
		field := owner + "." + name
		o.schema(field, "", p)
		o.set(field, "required", need(slices.Contains(merged.Required, name)))
	}
	if merged.Items != nil {
		o.schema(at, "items'", merged.Items)
	}
}

// flatten takes a schema's allOf into the schema.
func (o *observer) flatten(s *openapi3.Schema) *openapi3.Schema {
	out := *s
	out.AllOf = nil
	out.Properties = maps.Clone(s.Properties)
	for _, part := range s.AllOf {
		if part.Value == s { // its own base
			continue
		}
		if part.Ref != "" {
			o.named(part)
		}
		p := o.flatten(part.Value)
		if out.Properties == nil {
			out.Properties = openapi3.Schemas{}
		}
		maps.Copy(out.Properties, p.Properties)
		out.Required = slices.Concat(out.Required, p.Required)
		if out.Type == nil {
			out.Type = p.Type
		}
	}
	return &out
}

func wraps(ref *openapi3.SchemaRef) bool {
	return len(ref.Value.AllOf) == 1 && ref.Value.AllOf[0].Ref != "" && len(ref.Value.Properties) == 0
}

// named notes a schema of the components, once.
func (o *observer) named(ref *openapi3.SchemaRef) string {
	name := ref.Ref[strings.LastIndexByte(ref.Ref, '/')+1:]
	at := "schema " + name
	if o.says[at] == nil {
		o.set(at, "present", "yes")
		o.schema(at, "", &openapi3.SchemaRef{Value: o.flatten(ref.Value)})
	}
	return name
}

func (o *observer) kind(ref *openapi3.SchemaRef) string {
	switch {
	case ref == nil:
		return "anything"
	case ref.Ref != "":
		return o.named(ref)
	case wraps(ref):
		return o.null(o.named(ref.Value.AllOf[0]), ref.Value.Nullable)
	}
	s := o.flatten(ref.Value)
	null := s.Nullable
	var types []string
	for _, t := range s.Type.Slice() {
		if null = null || t == "null"; t != "null" {
			types = append(types, t)
		}
	}
	t := strings.Join(types, " or ")
	switch t {
	case "":
		t = "anything"
		if len(types) == 0 && null && s.AnyOf == nil && s.OneOf == nil {
			return "null"
		}
	case "array":
		t = "array of " + o.kind(s.Items)
	}
	for word, of := range map[string]openapi3.SchemaRefs{"anyOf": s.AnyOf, "oneOf": s.OneOf} {
		var names []string
		for _, a := range of {
			name := o.kind(a)
			if null = null || name == "null"; name != "null" {
				names = append(names, name)
			}
		}
		switch {
		case len(of) == 2 && len(names) == 1:
			t = names[0]
		case len(of) > 0:
			t = word + "(" + strings.Join(names, ", ") + ")"
		}
	}
	if s.Format != "" {
		t += " (" + s.Format + ")"
	}
	return o.null(t, null)
}

func (o *observer) null(t string, null bool) string {
	if null && t != "anything" {
		return t + " or null"
	}
	return t
}

func need(yes bool) string {
	if yes {
		return "required"
	}
	return "optional"
}

func truth(on bool) string {
	if on {
		return "true"
	}
	return ""
}

// differences are the places that came, went or changed, and in what.
func differences(was, is map[string]map[string]string) (out []string) {
	within := func(place string, other map[string]map[string]string) bool {
		for p := range other {
			kind, name, _ := strings.Cut(p, " ")
			gone := was[p] == nil || is[p] == nil
			if gone && (kind == "schema" && strings.HasPrefix(place, name+".") || kind == "operation" && strings.HasSuffix(place, " of "+name)) {
				return true
			}
		}
		return false
	}
	for place, says := range was {
		if is[place] == nil {
			if !within(place, was) && place != "version of the document" { // ours stays
				out = append(out, place+": gone")
			}
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(union(says, is[place]))) {
			if strings.HasSuffix(key, "Url") && is[place][key] == "" && is[place]["type"] == "oauth2" {
				continue // an empty one says nothing: ours stays
			}
			if says[key] != is[place][key] {
				out = append(out, place+": "+key)
			}
		}
	}
	for place := range is {
		if was[place] == nil && !within(place, is) {
			out = append(out, place+": new")
		}
	}
	slices.Sort(out)
	return out
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// reported reads the report's lines as differences.
func reported(lines []string) (out []string) {
	for _, line := range lines {
		place, what, _ := strings.Cut(line, ": ")
		switch first, _, _ := strings.Cut(what, " "); {
		case strings.HasPrefix(what, "gone; ") && strings.Contains(what, ", new there, is alike"):
			fresh, _, _ := strings.Cut(strings.TrimPrefix(what, "gone; "), ",")
			old := place
			if i := strings.LastIndexByte(place, '.'); i > 0 && !strings.Contains(place, " ") {
				place = place[:i+1] + fresh
			} else {
				words := strings.Fields(place)
				at := slices.Index(words, "of") - 1
				if at < 0 {
					at = len(words) - 1
				}
				words[at] = fresh
				place = strings.Join(words, " ")
			}
			out = append(out, old+": gone", place+": new")
		case first == "gone", strings.HasPrefix(what, "gone;"):
			out = append(out, place+": gone")
		case first == "new" || strings.HasPrefix(what, "new ("):
			out = append(out, place+": new")
		case first == "required" || first == "optional":
			out = append(out, place+": required")
		case strings.Contains(what, "enum gained") || strings.Contains(what, "enum lost"):
			key, _, _ := strings.Cut(what, "enum ")
			out = append(out, place+": "+key+"enum")
		case strings.HasPrefix(place, "version of"):
			out = append(out, place+": ")
		default:
			key := what
			for _, end := range []string{" new: ", " gone, was "} {
				key, _, _ = strings.Cut(key, end)
			}
			if before, _, ok := strings.Cut(key, " now, was "); ok {
				key = before[:strings.IndexByte(before+" ", ' ')]
				for _, two := range []string{"items' ", "authorizationCode ", "implicit ", "clientCredentials "} {
					if rest, ok := strings.CutPrefix(before, two); ok {
						key = two + rest[:strings.IndexByte(rest+" ", ' ')]
					}
				}
			}
			out = append(out, place+": "+key)
		}
	}
	slices.Sort(out)
	return out
}
