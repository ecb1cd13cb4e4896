package main

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"gopkg.in/yaml.v3"
)

// A merger brings the facts of a new document into the current one: what is in
// both keeps its place and its words, what is gone goes, and what is new comes
// without words, which are ours to write.
type merger struct {
	at       []string // the document's own names on the way down
	unworded []string // new places, which want a description
}

// enter notes a name on the way down, and gives the way back.
func (m *merger) enter(name string) func() {
	m.at = append(m.at, name)
	return func() { m.at = m.at[:len(m.at)-1] }
}

// wants notes that the place under a name has no words yet.
func (m *merger) wants(key, name string) {
	kind := map[string]string{"properties": "field", "responses": "response"}[key]
	if kind == "" {
		kind = strings.TrimSuffix(key, "s")
	}
	m.unworded = append(m.unworded, strings.TrimSpace(kind+" "+strings.Join(append(slices.Clone(m.at), name), " ")))
}

// order is that of keys that are new in an object; the rest follow by name.
var order = []string{
	"openapi", "info", "servers", "tags", "paths", "components",
	"operationId", "name", "in", "required", "$ref", "type", "format", "enum", "default", "items", "properties",
	"style", "explode", "schema", "security", "parameters", "requestBody", "responses", "headers", "content",
}

func (m *merger) document(current, cut *yaml.Node) *yaml.Node {
	// What the document says of itself is ours too, but for its version.
	info := clone(get(current, "info"))
	if v := text(get(cut, "info", "version")); v != "" && v != text(get(info, "version")) {
		set(info, "version", scalar(v)) // which may come as a number
	}
	set(cut, "info", info)
	set(cut, "openapi", get(current, "openapi"))
	return m.node(current, cut, object, "")
}

func (m *merger) node(current, cut *yaml.Node, kind int, key string) *yaml.Node {
	if current != nil && current.Kind == cut.Kind {
		switch cut.Kind {
		case yaml.MappingNode:
			return m.mapping(current, cut, kind, key)
		case yaml.SequenceNode:
			return m.sequence(current, cut, key)
		}
		if same(current, cut) {
			return current
		}
	}
	switch cut.Kind {
	case yaml.MappingNode:
		return m.mapping(mapping(), cut, kind, key)
	case yaml.SequenceNode:
		return m.sequence(sequence(), cut, key)
	}
	out := *cut
	out.HeadComment, out.LineComment, out.FootComment = "", "", ""
	out.Style &= yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle
	return &out
}

func (m *merger) mapping(current, cut *yaml.Node, kind int, key string) *yaml.Node {
	if ref := get(cut, "$ref"); ref != nil && kind == object { // which has no room for words
		return mapping(scalar("$ref"), scalar(ref.Value))
	}
	out := *current
	out.Content = nil
	add := func(keyNode, v *yaml.Node) { out.Content = append(out.Content, keyNode, v) }

	for i := 0; i+1 < len(current.Content); i += 2 {
		k, v := current.Content[i], current.Content[i+1]
		next := get(cut, k.Value)
		switch {
		case kind == object && words[k.Value], key == "scopes" && next != nil:
			add(k, v)
		case next != nil && kind == object && opaque[k.Value] && k.Value != "enum":
			if !same(v, next) {
				v = bare(next, data)
			}
			add(k, v)
		case next != nil:
			leave := func() {}
			if kind == named {
				leave = m.enter(k.Value)
			}
			add(k, m.node(v, next, below(kind, k.Value), k.Value))
			leave()
		case kind == object && unsaid(k.Value, v):
			add(k, v)
		}
	}

	var fresh []string
	for k := range pairs(cut) {
		if get(current, k) == nil && (kind == named || !words[k]) {
			fresh = append(fresh, k)
		}
	}
	slices.SortStableFunc(fresh, func(a, b string) int {
		ra, rb := slices.Index(order, a), slices.Index(order, b)
		if kind == named || ra < 0 && rb < 0 {
			return strings.Compare(a, b)
		}
		if ra < 0 || rb < 0 {
			return rb - ra
		}
		return ra - rb
	})
	for _, k := range fresh {
		v := get(cut, k)
		if kind == object && opaque[k] {
			add(scalar(k), bare(v, data))
			continue
		}
		if kind == named && key != "content" && key != "paths" && key != "security" && get(v, "$ref") == nil {
			m.wants(key, k)
		}
		if key == "scopes" {
			v = scalar("")
		}
		leave := func() {}
		if kind == named {
			leave = m.enter(k)
		}
		v = m.node(nil, v, below(kind, k), k)
		leave()
		if kind == named && key == "responses" && get(v, "$ref") == nil {
			// The one description that OpenAPI insists on.
			v.Content = append([]*yaml.Node{scalar("description"), scalar(answer(k))}, v.Content...)
		}
		add(plain(k), v)
	}
	return &out
}

// plain gives a key, quoted where it would be read as a number.
func plain(k string) *yaml.Node {
	n := scalar(k)
	if _, err := strconv.Atoi(k); err == nil {
		n.Style = yaml.SingleQuotedStyle
	}
	return n
}

func answer(status string) string {
	code, _ := strconv.Atoi(status)
	if s := http.StatusText(code); s != "" {
		return s
	}
	return "Any other answer"
}

func (m *merger) sequence(current, cut *yaml.Node, key string) *yaml.Node {
	out := *current
	out.Content = nil
	kind := object
	if key == "security" {
		kind = named
	}
	left := slices.Clone(cut.Content)
	take := func(id string) *yaml.Node {
		for i, c := range left {
			if identity(c) == id {
				left = slices.Delete(left, i, i+1)
				return c
			}
		}
		return nil
	}
	if key == "servers" {
		// The first one is the default: their order is a fact.
		for _, c := range left {
			i := slices.IndexFunc(current.Content, func(o *yaml.Node) bool { return identity(o) == identity(c) })
			if i < 0 {
				out.Content = append(out.Content, m.node(nil, c, object, ""))
			} else {
				out.Content = append(out.Content, m.node(current.Content[i], c, object, ""))
			}
		}
		return &out
	}
	for _, c := range current.Content {
		if next := take(identity(c)); next != nil {
			out.Content = append(out.Content, m.node(c, next, kind, key))
		}
	}
	for _, c := range left {
		if key == "parameters" && get(c, "name") != nil {
			m.wants(key, text(get(c, "name")))
		}
		out.Content = append(out.Content, m.node(nil, c, kind, key))
	}
	return &out
}

// identity tells the items of a list apart, whatever their order.
func identity(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	for _, k := range []string{"$ref", "url"} {
		if v := get(n, k); v != nil {
			return k + " " + v.Value
		}
	}
	if name := get(n, "name"); name != nil {
		return "name " + name.Value + " " + text(get(n, "in"))
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return "= " + n.Value
	case yaml.MappingNode:
		return "keys " + strings.Join(keys(n), " ")
	}
	return ""
}

// dropExamples removes the examples that a schema no longer allows, and names
// them.
func dropExamples(ctx context.Context, root *yaml.Node) (dropped []string, err error) {
	data, err := yaml.Marshal(root)
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, err
	}
	if doc.Components != nil {
		for name, schema := range doc.Components.Schemas {
			at := get(root, "components", "schemas", name)
			if schema.Value == nil {
				continue
			}
			if bad(schema.Value, schema.Value.Example) {
				remove(at, "example")
				dropped = append(dropped, name)
			}
			for field, s := range schema.Value.Properties {
				if s.Ref == "" && s.Value != nil && bad(s.Value, s.Value.Example) {
					remove(get(at, "properties", field), "example")
					dropped = append(dropped, name+"."+field)
				}
			}
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for i, p := range op.Parameters {
				if p.Ref == "" && p.Value.Schema != nil && bad(p.Value.Schema.Value, p.Value.Example) {
					remove(get(root, "paths", path, strings.ToLower(method), "parameters").Content[i], "example")
					dropped = append(dropped, op.OperationID+" "+p.Value.Name)
				}
			}
		}
	}
	slices.Sort(dropped)
	if err := doc.Validate(ctx, openapi3.DisableExamplesValidation()); err != nil {
		return nil, err
	}
	return dropped, nil
}

func bad(schema *openapi3.Schema, example any) bool {
	return example != nil && schema.VisitJSON(example) != nil
}
