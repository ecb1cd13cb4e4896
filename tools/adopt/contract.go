package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// facts are what a document says, words left out: for each place (an
// operation, a parameter, a field …) its properties.
type facts map[place]map[string]string

type place struct {
	kind string // operation, parameter, field …
	in   string // what it belongs to
	name string
}

func (p place) String() string {
	switch {
	case p.in == "":
		return strings.TrimSpace(p.kind + " " + p.name)
	case p.kind == "field":
		return p.in + "." + p.name
	case p.name == "":
		return p.kind + " of " + p.in
	}
	return fmt.Sprintf("%s %s of %s", p.kind, p.name, p.in)
}

// A contract is a document's facts, and the nodes that say them.
type contract struct {
	root  *yaml.Node
	facts facts
	nodes map[place]*yaml.Node
}

func factsOf(root *yaml.Node) facts { return contractOf(root).facts }

func contractOf(root *yaml.Node) *contract {
	c := &contract{root: root, facts: facts{}, nodes: map[place]*yaml.Node{}}
	c.facts[place{kind: "version of OpenAPI"}] = map[string]string{"": text(get(root, "openapi"))}
	c.facts[place{kind: "version of the document"}] = map[string]string{"": text(get(root, "info", "version"))}
	for i, s := range items(get(root, "servers")) {
		c.facts[place{"server", "", text(get(s, "url"))}] = rest(s, "url")
		if i == 0 {
			c.facts[place{kind: "the default server"}] = map[string]string{"URL": text(get(s, "url"))}
		}
	}
	for path, item := range pairs(get(root, "paths")) {
		for _, method := range methods {
			if op := get(item, method); op != nil {
				c.operation(strings.ToUpper(method)+" "+path, op)
			}
		}
	}
	for name, s := range pairs(get(root, "components", "schemas")) {
		at := place{"schema", "", name}
		c.nodes[at] = s
		c.facts[at] = c.schema(s, at)
	}
	for name, s := range pairs(get(root, "components", "securitySchemes")) {
		out := rest(s, "flows")
		for flow, says := range pairs(get(s, "flows")) {
			for k, v := range pairs(says) {
				out[flow+" "+k] = compact(v)
				if k == "scopes" {
					out[flow+" "+k] = strings.Join(sorted(keys(v)), "\n")
				}
			}
		}
		c.facts[place{"security scheme", "", name}] = out
		c.nodes[place{"security scheme", "", name}] = s
	}
	return c
}

func (c *contract) operation(request string, op *yaml.Node) {
	id := text(get(op, "operationId"))
	at := place{"operation", "", id}
	c.nodes[at] = op
	c.facts[at] = rest(op, "operationId", "tags", "parameters", "requestBody", "responses", "security")
	c.facts[at]["request"] = request
	c.facts[at]["security"] = security(get(op, "security"))
	for _, p := range items(get(op, "parameters")) {
		p = resolve(c.root, p)
		at := place{text(get(p, "in")) + " parameter", id, text(get(p, "name"))}
		c.nodes[at] = p
		says := c.schema(get(p, "schema"), at)
		maps.Copy(says, rest(p, "in", "name", "schema"))
		says["required"] = required(isTrue(get(p, "required")))
		says["style"], says["explode"] = serialization(p)
		c.facts[at] = says
	}
	if body := resolve(c.root, get(op, "requestBody")); body != nil {
		at := place{"request body", id, ""}
		c.facts[at] = c.content(body, at)
		c.facts[at]["required"] = required(isTrue(get(body, "required")))
	}
	for status, r := range pairs(get(op, "responses")) {
		at := place{"response", id, status}
		c.nodes[at] = resolve(c.root, r)
		c.facts[at] = c.content(c.nodes[at], at)
	}
}

// rest returns what an object says under any other keys, words left out.
func rest(n *yaml.Node, but ...string) map[string]string {
	out := map[string]string{}
	for k, v := range pairs(n) {
		if !slices.Contains(but, k) && !words[k] && !strings.HasPrefix(k, "x-") && !unsaid(n, k, v) {
			out[k] = compact(bare(v, below(object, k)))
		}
	}
	return out
}

// schema returns the properties of a schema, and adds its fields to the facts.
func (c *contract) schema(s *yaml.Node, at place) map[string]string {
	s = c.flat(s, at.kind == "schema", nil)
	out := rest(s, "$ref", "type", "format", "nullable", "properties", "required", "allOf", "anyOf", "oneOf", "enum", "items")
	out["type"] = c.typeOf(s)
	if s == nil || get(s, "$ref") != nil {
		return out
	}
	owner := strings.TrimPrefix(at.String(), "schema ")
	must := texts(get(s, "required"))
	fields := maps.Collect(pairs(get(s, "properties")))
	for _, name := range must {
		if fields[name] == nil { // demanded, and nowhere described
			fields[name] = mapping()
		}
	}
	for name, p := range fields {
		field := place{"field", owner, name}
		c.nodes[field] = p
		c.facts[field] = c.schema(p, field)
		c.facts[field]["required"] = required(slices.Contains(must, name))
	}
	if e := get(s, "enum"); e != nil {
		out["enum"] = strings.Join(sorted(slices.DeleteFunc(texts(e), func(v string) bool { return v == "null" })), "\n")
	}
	for k, v := range c.schema(get(s, "items"), at) {
		if k != "type" {
			out["items' "+k] = v
		}
	}
	for _, k := range []string{"allOf", "anyOf", "oneOf"} {
		for i, part := range items(get(s, k)) {
			if get(part, "$ref") == nil && c.typeOf(part) != "null" {
				at := place{"field", owner, fmt.Sprintf("%s %d", k, i+1)}
				if says := c.schema(part, at); len(says) > 1 { // its type is said already
					c.facts[at] = says
				}
			}
		}
	}
	return out
}

// flat returns a schema with the parts of its allOf, those it refers to
// included, said in the schema itself, which is the same. A field that only
// wraps a reference stays one; a schema whose parts contradict each other stays
// as it is.
func (c *contract) flat(s *yaml.Node, named bool, above []string) *yaml.Node {
	parts := items(get(s, "allOf"))
	if len(parts) == 0 {
		return s
	}
	out := clone(s)
	remove(out, "allOf")
	if ref := get(parts[0], "$ref"); !named && ref != nil && len(parts) == 1 && get(out, "properties") == nil && get(out, "required") == nil {
		set(out, "$ref", ref)
		return out
	}
	for _, part := range parts {
		ref := text(get(part, "$ref"))
		if ref != "" && slices.Contains(above, ref) || !absorb(out, c.flat(resolve(c.root, part), true, append(slices.Clone(above), ref))) {
			return s
		}
	}
	return out
}

// absorb says in one schema what another says, unless they contradict.
func absorb(out, part *yaml.Node) bool {
	for k, v := range pairs(part) {
		if have := get(out, k); have != nil && !words[k] && k != "properties" && k != "required" && !same(have, v) {
			return false
		}
	}
	for k, v := range pairs(part) {
		switch have := get(out, k); {
		case have == nil && !words[k]:
			set(out, k, clone(v))
		case k == "properties":
			for name, p := range pairs(v) {
				set(have, name, p)
			}
		case k == "required":
			have.Content = append(have.Content, v.Content...)
		}
	}
	return true
}

func (c *contract) typeOf(s *yaml.Node) string {
	s = c.flat(s, false, nil)
	switch always, said := boolean(s); {
	case said && !always: // a schema of OpenAPI 3.1
		return "nothing"
	case s == nil:
		return "anything"
	}
	t, null := text(get(s, "type")), isTrue(get(s, "nullable"))
	add := func(alternatives []string) []string {
		rest := slices.DeleteFunc(alternatives, func(a string) bool { return a == "null" })
		null = null || len(rest) < len(alternatives)
		return rest
	}
	if several := get(s, "type"); several != nil && several.Kind == yaml.SequenceNode { // OpenAPI 3.1
		t = strings.Join(add(texts(several)), " or ")
	}
	switch t {
	case "array":
		t = "array of " + c.typeOf(get(s, "items"))
	case "":
		t = "anything"
	}
	if ref := get(s, "$ref"); ref != nil {
		t = ref.Value[strings.LastIndexByte(ref.Value, '/')+1:]
	}
	for _, k := range []string{"allOf", "anyOf", "oneOf"} {
		if of := items(get(s, k)); of != nil {
			var alternatives []string
			for _, a := range of {
				alternatives = append(alternatives, c.typeOf(a))
			}
			if t = k + "(" + strings.Join(add(alternatives), ", ") + ")"; len(of) == 2 && null && k != "allOf" {
				t = strings.TrimSuffix(strings.TrimPrefix(t, k+"("), ")")
			}
		}
	}
	if format := text(get(s, "format")); format != "" {
		t += " (" + format + ")"
	}
	if null && t != "anything" {
		t += " or null"
	}
	return t
}

// content returns what a body may be, by its media type.
func (c *contract) content(body *yaml.Node, at place) map[string]string {
	out := rest(body, "content", "required")
	for mediaType, m := range pairs(get(body, "content")) {
		for k, v := range c.schema(get(m, "schema"), at) {
			out[strings.TrimSuffix(mediaType+" "+k, " type")] = v
		}
		for k, v := range rest(m, "schema") {
			out[mediaType+" "+k] = v
		}
	}
	return out
}

func security(n *yaml.Node) string {
	var either []string
	for _, requirement := range items(n) {
		var all []string
		for name, scopes := range pairs(requirement) {
			all = append(all, strings.TrimSuffix(name+" ("+strings.Join(sorted(texts(scopes)), ", ")+")", " ()"))
		}
		either = append(either, cmp.Or(strings.Join(sorted(all), " and "), "none"))
	}
	return cmp.Or(strings.Join(sorted(either), " or "), "none")
}

func required(yes bool) string {
	if yes {
		return "required"
	}
	return "optional"
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func compact(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && (n.Tag != "!!float" || !strings.ContainsAny(n.Value, ".eE")) {
		return n.Value
	}
	return canonical(n)
}

// changes compares two documents, a line a fact.
func changes(was, is *yaml.Node) []string {
	lines := compare(factsOf(was), factsOf(is))
	if len(lines) == 0 && !same(bare(was, object), bare(is, object)) {
		return []string{"something that this report has no words for: see the diff of " + documentFile}
	}
	return lines
}

// compare says what changed, a line a fact.
func compare(before, after facts) (lines []string) {
	gone, fresh := before.without(after), after.without(before)
	alike := func(p, o place) bool {
		return o.kind == p.kind && o.in == p.in && o.kind != "server" && o.kind != "response" &&
			maps.Equal(before[p], after[o]) && maps.EqualFunc(before.fields(p), after.fields(o), maps.Equal[map[string]string])
	}
	renamed := map[place]bool{}
	for _, p := range gone {
		of := slices.DeleteFunc(slices.Clone(fresh), func(o place) bool { return !alike(p, o) })
		switch {
		case len(of) == 0:
			lines = append(lines, fmt.Sprintf("%s: gone", p))
		case len(of) == 1 && !slices.ContainsFunc(gone, func(q place) bool { return q != p && alike(q, of[0]) }):
			lines = append(lines, fmt.Sprintf("%s: gone; %s, new there, is alike in all else: renamed?", p, of[0].name))
			renamed[of[0]] = true
		default: // all candidates
			var names []string
			for _, o := range of {
				names = append(names, o.name)
			}
			lines = append(lines, fmt.Sprintf("%s: gone; of what is new there, alike in all else: %s: renamed?", p, strings.Join(names, " or ")))
		}
	}
	for _, p := range fresh {
		if !renamed[p] {
			lines = append(lines, fmt.Sprintf("%s: new%s", p, describe(after[p])))
		}
	}
	for p, old := range before {
		all := maps.Clone(old)
		maps.Copy(all, after[p])
		for k := range all {
			if after[p] != nil && old[k] != after[p][k] {
				lines = append(lines, fmt.Sprintf("%s: %s", p, change(k, old[k], after[p][k])))
			}
		}
	}
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "\n", ", ")
	}
	slices.Sort(lines)
	return lines
}

// without returns the places that others lack. What belongs to a schema or an
// operation among them isn't said again.
func (f facts) without(others facts) []place {
	lacking := slices.SortedFunc(maps.Keys(f), func(a, b place) int { return strings.Compare(a.String(), b.String()) })
	lacking = slices.DeleteFunc(lacking, func(p place) bool { return others[p] != nil })
	return slices.DeleteFunc(slices.Clone(lacking), func(p place) bool {
		return slices.ContainsFunc(lacking, func(o place) bool {
			return o.in == "" && (o.name == p.in || strings.HasPrefix(p.in, o.name+".")) && (o.kind == "schema" || o.kind == "operation")
		})
	})
}

// fields returns what belongs to a schema, by its name there.
func (f facts) fields(schema place) map[string]map[string]string {
	out := map[string]map[string]string{}
	for p, says := range f {
		if rest, ok := strings.CutPrefix(p.in+"."+p.name, schema.name+"."); ok && p.kind == "field" && schema.kind == "schema" {
			out[rest] = says
		}
	}
	return out
}

// secrets names the new strings beside secrets, which may be secrets too.
func secrets(was, is *contract) (lines []string) {
	secret := func(n *yaml.Node) bool { return text(get(n, "x-oapi-codegen-extra-tags", "secret")) == "true" }
	for p, says := range is.facts {
		if was.facts[p] != nil || secret(is.nodes[p]) || !strings.HasPrefix(strings.TrimPrefix(says["type"], "array of "), "string") {
			continue
		}
		var beside []string
		for _, c := range []*contract{was, is} {
			for o, n := range c.nodes {
				if o.in == p.in && o.kind == p.kind && secret(n) && !slices.Contains(beside, o.name) {
					beside = append(beside, o.name)
				}
			}
		}
		if len(beside) > 0 {
			lines = append(lines, fmt.Sprintf("%s is a new string beside %s: is it one? Then say so in api/overlay.yaml.", p, strings.Join(sorted(beside), ", ")))
		}
	}
	return sorted(lines)
}

// unworded names the new places that neither document nor overlay describes.
func unworded(was, is, laid *contract) (lines []string) {
	for p, n := range is.nodes {
		kind := strings.TrimPrefix(p.kind, "query ")
		if _, known := was.nodes[p]; known || get(n, "$ref") != nil || get(laid.nodes[p], "description") != nil {
			continue
		}
		lines = append(lines, strings.Join(strings.Fields(strings.Join([]string{kind, p.in, p.name}, " ")), " ")+" is new and wants a description.")
	}
	return sorted(lines)
}

func change(k, old, now string) string {
	switch {
	case k == "":
		return fmt.Sprintf("%s now, was %s", now, old)
	case k == "required" && now != "":
		if old == "" {
			return now + " now"
		}
		return fmt.Sprintf("%s now, was %s", now, old)
	case k == "enum" && old != "" && now != "":
		was, is := strings.Split(old, "\n"), strings.Split(now, "\n")
		var parts []string
		for _, v := range missing(is, was) {
			parts = append(parts, "gained "+v)
		}
		for _, v := range missing(was, is) {
			parts = append(parts, "lost "+v)
		}
		return "enum " + strings.Join(parts, ", ")
	case now == "":
		return fmt.Sprintf("%s gone, was %s", k, old)
	case old == "":
		return fmt.Sprintf("%s new: %s", k, now)
	}
	return fmt.Sprintf("%s %s now, was %s", k, now, old)
}

func describe(properties map[string]string) string {
	var parts []string
	for _, k := range []string{"request", "type", "required", "enum"} {
		if v := properties[k]; v != "" {
			parts = append(parts, v)
		}
	}
	return strings.TrimSuffix(" ("+strings.Join(parts, ", ")+")", " ()")
}
