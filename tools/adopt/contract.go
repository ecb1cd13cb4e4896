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
		return p.kind + " " + p.name
	case p.kind == "field":
		return p.in + "." + p.name
	case p.name == "":
		return p.kind + " of " + p.in
	}
	return fmt.Sprintf("%s %s of %s", p.kind, p.name, p.in)
}

func factsOf(root *yaml.Node) facts {
	f := facts{}
	for _, s := range items(get(root, "servers")) {
		f[place{"server", "", text(get(s, "url"))}] = map[string]string{}
	}
	for path, item := range pairs(get(root, "paths")) {
		for _, method := range methods {
			op := get(item, method)
			if op == nil {
				continue
			}
			id := text(get(op, "operationId"))
			f[place{"operation", "", id}] = map[string]string{
				"request":  strings.ToUpper(method) + " " + path,
				"security": security(get(op, "security")),
			}
			for _, p := range items(get(op, "parameters")) {
				p = resolve(root, p)
				at := place{text(get(p, "in")) + " parameter", id, text(get(p, "name"))}
				f[at] = f.schema(root, get(p, "schema"), at)
				f[at]["required"] = required(text(get(p, "required")) == "true")
				for _, k := range []string{"style", "explode", "deprecated"} {
					if v := get(p, k); v != nil {
						f[at][k] = v.Value
					}
				}
			}
			if body := resolve(root, get(op, "requestBody")); body != nil {
				f[place{"request body", id, ""}] = content(body)
			}
			for status, r := range pairs(get(op, "responses")) {
				f[place{"response", id, status}] = content(resolve(root, r))
			}
		}
	}
	for name, s := range pairs(get(root, "components", "schemas")) {
		at := place{"schema", "", name}
		f[at] = f.schema(root, s, at)
	}
	for name, s := range pairs(get(root, "components", "securitySchemes")) {
		at := place{"security scheme", "", name}
		f[at] = map[string]string{}
		for k, v := range pairs(s) {
			switch k {
			case "description":
			case "flows":
				f[at][k] = strings.Join(sorted(keys(v)), ", ")
			default:
				f[at][k] = v.Value
			}
		}
	}
	return f
}

// schema gives the properties of a schema, and adds its fields to f.
func (f facts) schema(root, s *yaml.Node, at place) map[string]string {
	out := map[string]string{"type": typeOf(s)}
	if s == nil || get(s, "$ref") != nil {
		return out
	}
	owner := at.name
	if at.kind == "field" {
		owner = at.in + "." + at.name
	}
	must := texts(get(s, "required"))
	for name, p := range pairs(get(s, "properties")) {
		field := place{"field", owner, name}
		f[field] = f.schema(root, p, field)
		f[field]["required"] = required(slices.Contains(must, name))
	}
	for k, v := range pairs(s) {
		switch {
		case words[k], strings.HasPrefix(k, "x-"), k == "type", k == "format", k == "nullable", k == "properties", k == "required":
		case k == "allOf", k == "anyOf", k == "oneOf":
		case k == "enum":
			out[k] = strings.Join(sorted(texts(v)), ", ")
		case k == "items":
			for ik, iv := range f.schema(root, v, at) {
				if ik != "type" {
					out["items' "+ik] = iv
				}
			}
		default:
			out[k] = compact(v)
		}
	}
	return out
}

func typeOf(s *yaml.Node) string {
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
	if text(get(s, "nullable")) == "true" {
		t += " or null"
	}
	return t
}

func content(body *yaml.Node) map[string]string {
	out := map[string]string{}
	for mediaType, m := range pairs(get(body, "content")) {
		out[mediaType] = typeOf(get(m, "schema"))
	}
	if r := text(get(body, "required")); r != "" {
		out["required"] = required(r == "true")
	}
	return out
}

func security(n *yaml.Node) string {
	var out []string
	for _, requirement := range items(n) {
		names := strings.Join(keys(requirement), " and ")
		if names == "" {
			names = "none"
		}
		out = append(out, names)
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
	var gone, fresh []place
	for p := range before {
		if after[p] == nil {
			gone = append(gone, p)
		}
	}
	for p := range after {
		if before[p] == nil {
			fresh = append(fresh, p)
		}
	}
	// What belongs to something that is gone, or new, isn't said again.
	within := func(p place, places []place) bool {
		return slices.ContainsFunc(places, func(o place) bool {
			return o.in == "" && (o.name == p.in || strings.HasPrefix(p.in, o.name+".")) && (o.kind == "schema" || o.kind == "operation")
		})
	}
	alike := func(p place) (place, bool) {
		for _, o := range fresh {
			if o.kind == p.kind && o.in == p.in && o.kind != "server" && o.kind != "response" && maps.Equal(before[p], after[o]) {
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
			fresh = slices.DeleteFunc(fresh, func(f place) bool { return f == o })
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: gone", p))
	}
	for _, p := range fresh {
		if !within(p, fresh) {
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
	slices.Sort(lines)
	return lines
}

func change(k, old, now string) string {
	switch {
	case k == "required" && now != "":
		if old == "" {
			return now + " now"
		}
		return fmt.Sprintf("%s now, was %s", now, old)
	case k == "enum" && old != "" && now != "":
		was, is := strings.Split(old, ", "), strings.Split(now, ", ")
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
