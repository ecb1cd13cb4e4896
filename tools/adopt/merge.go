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

// order is that of keys that are new in an object; the rest follow by name.
var order = []string{
	"openapi", "info", "servers", "tags", "paths", "components",
	"operationId", "name", "in", "required", "$ref", "type", "format", "enum", "default", "items", "properties",
	"style", "explode", "schema", "security", "parameters", "requestBody", "responses", "headers", "content",
}

// merge brings the facts of a new document into the current one: what is in
// both keeps its place and its words, what is gone goes, and what is new comes
// without words, which are ours to write.
func merge(current, cut *yaml.Node) *yaml.Node {
	current = clone(current)
	set(current, "info", get(cut, "info"))
	rehouse(get(current, "paths"), get(cut, "paths"))
	return mergeNode(current, cut, object, "")
}

// rehouse moves the operations of the current document to the paths that they
// have in the new one: an operation is known by its operationId.
func rehouse(current, cut *yaml.Node) {
	now := map[string][2]string{}
	for path, item := range pairs(cut) {
		for method, op := range pairs(item) {
			now[text(get(op, "operationId"))] = [2]string{path, method}
		}
	}
	was := clone(current)
	current.Content = nil
	for _, item := range pairs(was) {
		for _, op := range pairs(item) {
			to, known := now[text(get(op, "operationId"))]
			if known && get(current, to[0]) == nil {
				set(current, to[0], mapping())
			}
			if known {
				set(get(current, to[0]), to[1], op)
			}
		}
	}
}

func mergeNode(current, cut *yaml.Node, kind int, key string) *yaml.Node {
	switch {
	case cut.Kind == yaml.MappingNode:
		if current == nil || current.Kind != cut.Kind {
			current = mapping()
		}
		return mergeMapping(current, cut, kind, key)
	case cut.Kind == yaml.SequenceNode:
		if current == nil || current.Kind != cut.Kind {
			current = sequence()
		}
		return mergeSequence(current, cut, key)
	case current != nil && current.Kind == cut.Kind && same(current, cut):
		return current
	}
	out := *cut
	out.HeadComment, out.LineComment, out.FootComment = "", "", ""
	out.Style &= yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle
	return &out
}

func mergeMapping(current, cut *yaml.Node, kind int, key string) *yaml.Node {
	if get(cut, "$ref") != nil && kind == object { // a description beside it is no fact
		cut = bare(cut, object)
	}
	fresh := slices.DeleteFunc(keys(cut), func(k string) bool { return get(current, k) != nil })
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
	out := *current
	out.Content = nil
	for _, k := range slices.Concat(keys(current), fresh) {
		have, next, keyNode := get(current, k), get(cut, k), plain(k)
		if have != nil {
			keyNode = current.Content[find(current, k)-1]
		}
		switch ours := kind == object && words[k] && get(cut, "$ref") == nil; {
		case have != nil && (ours || next == nil && kind == object && unsaid(current, k, have)):
			next = have
		case next == nil || kind == object && words[k]:
			continue
		case kind == object && opaque[k] && k != "enum" && have != nil && same(have, next):
			next = have
		case kind == object && opaque[k] && (k != "enum" || have == nil):
			next = bare(next, data)
		case key == "scopes":
			if next = have; have == nil {
				next = scalar("") // its words are ours to write
			}
		default:
			next = mergeNode(have, next, below(kind, k), k)
		}
		if have == nil && kind == named && key == "responses" {
			// The one description that OpenAPI insists on.
			next.Content = append([]*yaml.Node{scalar("description"), scalar(answer(k))}, next.Content...)
		}
		out.Content = append(out.Content, keyNode, next)
	}
	return &out
}

// plain returns a key, quoted where it would be read as a number.
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

func mergeSequence(current, cut *yaml.Node, key string) *yaml.Node {
	out := *current
	out.Content = nil
	kind := object
	if key == "security" {
		kind = named
	}
	find := func(in []*yaml.Node, n *yaml.Node) *yaml.Node {
		if i := slices.IndexFunc(in, func(o *yaml.Node) bool { return identity(o) == identity(n) }); i >= 0 {
			return in[i]
		}
		return nil
	}
	if key != "servers" { // the first one is the default: their order is a fact
		for _, c := range current.Content {
			if next := find(cut.Content, c); next != nil {
				out.Content = append(out.Content, mergeNode(c, next, kind, key))
			}
		}
	}
	for _, c := range cut.Content {
		if have := find(current.Content, c); have == nil || key == "servers" {
			out.Content = append(out.Content, mergeNode(have, c, kind, key))
		}
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
	valid := func() error {
		data, err := yaml.Marshal(root)
		if err != nil {
			return err
		}
		doc, err := openapi3.NewLoader().LoadFromData(data)
		if err != nil {
			return err
		}
		return doc.Validate(ctx, openapi3.EnableExamplesValidation(), openapi3.DisableSchemaPatternValidation())
	}
	if valid() == nil {
		return nil, nil
	}
	// All examples out, then each in again that does no harm.
	type place struct {
		n    *yaml.Node
		says []*yaml.Node
	}
	var taken []place
	_ = walk(root, object, func(n *yaml.Node) error {
		if get(n, "example") != nil {
			taken = append(taken, place{n, slices.Clone(n.Content)})
			remove(n, "example")
		}
		return nil
	})
	if err := valid(); err != nil {
		return nil, err
	}
	for _, p := range taken {
		without := p.n.Content
		p.n.Content = p.says
		if valid() != nil {
			p.n.Content = without
			dropped = append(dropped, placesOf(&yaml.Node{Content: []*yaml.Node{root}}, []*yaml.Node{p.n})...)
		}
	}
	return dropped, nil
}
