package main

import (
	"encoding/json"
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

func factsOf(root *yaml.Node) facts {
	f := facts{}
	for i, s := range items(get(root, "servers")) {
		f[place{"server", "", text(get(s, "url"))}] = rest(s, "url")
		if i == 0 {
			f[place{kind: "the default server"}] = map[string]string{"URL": text(get(s, "url"))}
		}
	}
	for path, item := range pairs(get(root, "paths")) {
		for _, method := range methods {
			if op := get(item, method); op != nil {
				f.operation(root, strings.ToUpper(method)+" "+path, op)
			}
		}
	}
	for name, s := range pairs(get(root, "components", "schemas")) {
		at := place{"schema", "", name}
		f[at] = f.schema(s, at)
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
		f[place{"security scheme", "", name}] = out
	}
	return f
}

func (f facts) operation(root *yaml.Node, request string, op *yaml.Node) {
	id := text(get(op, "operationId"))
	at := place{"operation", "", id}
	f[at] = rest(op, "operationId", "tags", "parameters", "requestBody", "responses", "security")
	f[at]["request"] = request
	f[at]["security"] = security(get(op, "security"))
	for _, p := range items(get(op, "parameters")) {
		p = resolve(root, p)
		at := place{text(get(p, "in")) + " parameter", id, text(get(p, "name"))}
		f[at] = f.schema(get(p, "schema"), at)
		maps.Copy(f[at], rest(p, "in", "name", "schema"))
		f[at]["required"] = required(isTrue(get(p, "required")))
	}
	if body := resolve(root, get(op, "requestBody")); body != nil {
		at := place{"request body", id, ""}
		f[at] = f.content(body, at)
		f[at]["required"] = required(isTrue(get(body, "required")))
	}
	for status, r := range pairs(get(op, "responses")) {
		at := place{"response", id, status}
		f[at] = f.content(resolve(root, r), at)
	}
}

// rest gives what an object says under any other keys, words left out.
func rest(n *yaml.Node, but ...string) map[string]string {
	out := map[string]string{}
	for k, v := range pairs(n) {
		if !slices.Contains(but, k) && !words[k] && !strings.HasPrefix(k, "x-") && !unsaid(k, v) {
			out[k] = compact(bare(v, below(object, k)))
		}
	}
	return out
}

// schema gives the properties of a schema, and adds its fields to f.
func (f facts) schema(s *yaml.Node, at place) map[string]string {
	s = flat(s)
	out := map[string]string{"type": typeOf(s)}
	if s == nil || get(s, "$ref") != nil {
		return out
	}
	owner := at.name
	switch {
	case at.kind == "field":
		owner = at.in + "." + at.name
	case at.in != "":
		owner = at.String()
	}
	must := texts(get(s, "required"))
	for name, p := range pairs(get(s, "properties")) {
		field := place{"field", owner, name}
		f[field] = f.schema(p, field)
		f[field]["required"] = required(slices.Contains(must, name))
	}
	maps.Copy(out, rest(s, "type", "format", "nullable", "properties", "required", "allOf", "anyOf", "oneOf", "enum", "items"))
	if e := get(s, "enum"); e != nil {
		out["enum"] = strings.Join(sorted(texts(e)), "\n")
	}
	for k, v := range f.schema(get(s, "items"), at) {
		if k != "type" {
			out["items' "+k] = v
		}
	}
	for _, k := range []string{"allOf", "anyOf", "oneOf"} {
		for i, part := range items(get(s, k)) {
			if get(part, "$ref") == nil {
				at := place{"field", owner, fmt.Sprintf("%s %d", k, i+1)}
				f[at] = f.schema(part, at)
			}
		}
	}
	return out
}

// flat gives a schema with the parts of its allOf that are no references said
// in the schema itself, which is the same.
func flat(s *yaml.Node) *yaml.Node {
	parts := items(get(s, "allOf"))
	if len(parts) == 0 {
		return s
	}
	out := clone(s)
	remove(out, "allOf")
	var references []*yaml.Node
	for _, part := range parts {
		if part = flat(part); get(part, "$ref") != nil {
			references = append(references, part)
			continue
		}
		for k, v := range pairs(part) {
			switch have := get(out, k); {
			case have == nil:
				set(out, k, clone(v))
			case k == "properties":
				for name, p := range pairs(v) {
					set(have, name, p)
				}
			case k == "required":
				have.Content = append(have.Content, v.Content...)
			}
		}
	}
	if len(references) > 0 {
		set(out, "allOf", sequence(references...))
	}
	return out
}

func typeOf(s *yaml.Node) string {
	s = flat(s)
	if s == nil {
		return "anything"
	}
	if ref := get(s, "$ref"); ref != nil {
		return ref.Value[strings.LastIndexByte(ref.Value, '/')+1:]
	}
	t := text(get(s, "type"))
	switch t {
	case "array":
		t = "array of " + typeOf(get(s, "items"))
	case "":
		t = "anything"
	}
	for _, k := range []string{"allOf", "anyOf", "oneOf"} {
		if of := get(s, k); of != nil {
			var alternatives []string
			for _, a := range items(of) {
				alternatives = append(alternatives, typeOf(a))
			}
			t = k + "(" + strings.Join(alternatives, ", ") + ")"
		}
	}
	if format := text(get(s, "format")); format != "" {
		t += " (" + format + ")"
	}
	if isTrue(get(s, "nullable")) {
		t += " or null"
	}
	return t
}

// content gives what a body may be, by its media type.
func (f facts) content(body *yaml.Node, at place) map[string]string {
	out := rest(body, "content", "required")
	for mediaType, m := range pairs(get(body, "content")) {
		for k, v := range f.schema(get(m, "schema"), at) {
			out[strings.TrimSuffix(mediaType+" "+k, " type")] = v
		}
		for k, v := range rest(m, "schema") {
			out[mediaType+" "+k] = v
		}
	}
	return out
}

func security(n *yaml.Node) string {
	var out []string
	for _, requirement := range items(n) {
		var all []string
		for name, scopes := range pairs(requirement) {
			if of := texts(scopes); len(of) > 0 {
				name += " (" + strings.Join(sorted(of), ", ") + ")"
			}
			all = append(all, name)
		}
		if len(all) == 0 {
			all = []string{"none"}
		}
		out = append(out, strings.Join(sorted(all), " and "))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(sorted(out), " or ")
}

func required(yes bool) string {
	if yes {
		return "required"
	}
	return "optional"
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func compact(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	b, err := json.Marshal(value(n))
	if err != nil {
		return "?"
	}
	return string(b)
}

// compare says what changed, a line a fact.
func compare(before, after facts) (lines []string) {
	byName := func(a, b place) int { return strings.Compare(a.String(), b.String()) }
	lacks := func(other facts) func(place) bool { return func(p place) bool { return other[p] != nil } }
	gone := slices.DeleteFunc(slices.SortedFunc(maps.Keys(before), byName), lacks(after))
	fresh := slices.DeleteFunc(slices.SortedFunc(maps.Keys(after), byName), lacks(before))
	// What belongs to something that is gone, or new, isn't said again.
	within := func(p place, places []place) bool {
		return slices.ContainsFunc(places, func(o place) bool {
			return o.in == "" && (o.name == p.in || strings.HasPrefix(p.in, o.name+".")) && (o.kind == "schema" || o.kind == "operation")
		})
	}
	renamed := map[place]bool{}
	alike := func(p place) (place, bool) {
		for _, o := range fresh {
			if o.kind == p.kind && o.in == p.in && o.kind != "server" && o.kind != "response" && !renamed[o] &&
				maps.Equal(before[p], after[o]) && maps.EqualFunc(before.fields(p), after.fields(o), maps.Equal[map[string]string]) {
				return o, true
			}
		}
		return place{}, false
	}
	for _, p := range gone {
		if within(p, gone) {
			continue
		}
		if o, ok := alike(p); ok {
			lines = append(lines, fmt.Sprintf("%s: gone; %s, new there, is alike in all else: renamed?", p, o.name))
			renamed[o] = true
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: gone", p))
	}
	for _, p := range fresh {
		if !within(p, fresh) && !renamed[p] {
			lines = append(lines, fmt.Sprintf("%s: new%s", p, describe(after[p])))
		}
	}
	for p, old := range before {
		now := after[p]
		if now == nil {
			continue
		}
		all := maps.Clone(old)
		maps.Copy(all, now)
		for k := range all {
			if old[k] == now[k] {
				continue
			}
			lines = append(lines, fmt.Sprintf("%s: %s", p, change(k, old[k], now[k])))
		}
	}
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "\n", ", ")
	}
	slices.Sort(lines)
	return lines
}

// fields gives what belongs to a schema, by its name there.
func (f facts) fields(schema place) map[string]map[string]string {
	out := map[string]map[string]string{}
	for p, says := range f {
		if rest, ok := strings.CutPrefix(p.in+"."+p.name, schema.name+"."); ok && p.kind == "field" && schema.kind == "schema" {
			out[rest] = says
		}
	}
	return out
}

// demands tells whether a request has to say more than before: a parameter, or
// a field of a body, that is required now.
func demands(before, after facts) bool {
	sent := map[string]bool{}
	send := func(says map[string]string) (more bool) {
		for _, v := range says {
			for _, name := range strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(" (),", r) }) {
				if after[place{"schema", "", name}] != nil && !sent[name] {
					sent[name], more = true, true
				}
			}
		}
		return more
	}
	owner := func(p place) string { name, _, _ := strings.Cut(p.in, "."); return name }
	for more := true; more; {
		more = false
		for p, says := range after {
			if p.kind == "request body" || p.kind == "field" && sent[owner(p)] {
				more = send(says) || more
			}
		}
	}
	for p, says := range after {
		asks := strings.HasSuffix(p.kind, " parameter") || p.kind == "request body" ||
			p.kind == "field" && (sent[owner(p)] && before[place{"schema", "", owner(p)}] != nil || strings.HasPrefix(p.in, "request body "))
		if asks && says["required"] == "required" && before[p]["required"] != "required" {
			return true
		}
	}
	return false
}

func change(k, old, now string) string {
	switch {
	case k == "required" && now != "":
		if old == "" {
			return now + " now"
		}
		return fmt.Sprintf("%s now, was %s", now, old)
	case k == "enum" && old != "" && now != "":
		was, is := strings.Split(old, "\n"), strings.Split(now, "\n")
		var parts []string
		for _, v := range is {
			if !slices.Contains(was, v) {
				parts = append(parts, "gained "+v)
			}
		}
		for _, v := range was {
			if !slices.Contains(is, v) {
				parts = append(parts, "lost "+v)
			}
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
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
