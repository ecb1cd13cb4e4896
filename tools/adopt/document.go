package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/speakeasy-api/openapi/yml"
	yamlv4 "go.yaml.in/yaml/v4"
	"gopkg.in/yaml.v3"
)

// A document is handled as a tree of YAML nodes, so that order, style and
// comments of what stays survive.

// parse reads an OpenAPI 3.0 or 3.1 document, JSON included. Its notes are for
// the report.
func parse(data []byte) (root *yaml.Node, notes []string, err error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var doc, second yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		// YAML parsers disagree on tabs, inside quoted text above all. There a
		// tab says no more than a space.
		tabs := bytes.Count(data, []byte("\t"))
		data = bytes.ReplaceAll(data, []byte("\t"), []byte("        "))
		if tabs == 0 || yaml.Unmarshal(data, &doc) != nil {
			return nil, nil, fmt.Errorf("%w: mend the document first, or ask for another", err)
		}
		notes = append(notes, fmt.Sprintf("%d tabs, which YAML refuses where they stand, were read as spaces (%v).", tabs, err))
	}
	all := yaml.NewDecoder(bytes.NewReader(data))
	if all.Decode(new(yaml.Node)) == nil && all.Decode(&second) == nil && len(second.Content) > 0 && second.Content[0].Tag != "!!null" {
		return nil, nil, errors.New("the file holds several documents: say which by leaving the others out")
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, nil, errors.New("it is no OpenAPI document, for its top is not a mapping: ask for another")
	}
	// Decoding finds what a tree of nodes passes over: keys that are there twice,
	// aliases within themselves.
	var whole any
	if err := doc.Decode(&whole); err != nil {
		return nil, nil, fmt.Errorf("%s: mend the document first", strings.Join(strings.Fields(err.Error()), " "))
	}
	root = expand(doc.Content[0])
	switch version := text(get(root, "openapi")); {
	case understood.MatchString(version):
		return root, notes, nil
	case version != "":
		return nil, nil, fmt.Errorf("it is OpenAPI %s; 3.0 and 3.1 are understood: ask for one of these", version)
	case get(root, "swagger") != nil:
		return nil, nil, errors.New("it is Swagger 2.0: convert it to OpenAPI 3.0 first")
	}
	return nil, nil, errors.New("it is no OpenAPI document, for the key openapi is missing: ask for another")
}

var understood = regexp.MustCompile(`^3\.[01](\.|$)`)

// expand replaces aliases by what they stand for, and merge keys by what they
// bring. Keys are names, even where YAML would read a number.
func expand(n *yaml.Node) *yaml.Node {
	out := *yml.ResolveAlias(n)
	out.Anchor = ""
	if out.Kind == yaml.MappingNode {
		out.Content = yml.ResolveMergeKeys(out.Content)
	}
	out.Content = slices.Clone(out.Content)
	for i, c := range out.Content {
		out.Content[i] = expand(c)
		if out.Kind == yaml.MappingNode && i%2 == 0 && c.Tag != "!!str" {
			out.Content[i] = plain(c.Value)
		}
	}
	return &out
}

// find returns where the value of a key is in a mapping's content, 0 where it
// is not.
func find(n *yaml.Node, key string) int {
	if n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return i + 1
			}
		}
	}
	return 0
}

// get returns the value of a key, nil where there is none.
func get(n *yaml.Node, path ...string) *yaml.Node {
	for _, key := range path {
		i := find(n, key)
		if i == 0 {
			return nil
		}
		n = n.Content[i]
	}
	return n
}

func set(n *yaml.Node, key string, value *yaml.Node) {
	if i := find(n, key); i > 0 {
		n.Content[i] = value
		return
	}
	n.Content = append(n.Content, scalar(key), value)
}

func remove(n *yaml.Node, key string) {
	if i := find(n, key); i > 0 {
		n.Content = slices.Delete(n.Content, i-1, i+1)
	}
}

// pairs goes through a mapping in its order.
func pairs(n *yaml.Node) func(yield func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) {
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		content := slices.Clone(n.Content)
		for i := 0; i+1 < len(content); i += 2 {
			if !yield(content[i].Value, content[i+1]) {
				return
			}
		}
	}
}

func keys(n *yaml.Node) (names []string) {
	for k := range pairs(n) {
		names = append(names, k)
	}
	return names
}

func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

func items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

func texts(n *yaml.Node) (values []string) {
	for _, c := range items(n) {
		values = append(values, c.Value)
	}
	return values
}

func scalar(s string) *yaml.Node { return yml.CreateStringNode(s) }

// boolean reads a boolean, which YAML spells in several ways.
func boolean(n *yaml.Node) (value, ok bool) {
	return value, n != nil && n.Kind == yaml.ScalarNode && n.Decode(&value) == nil
}

func isTrue(n *yaml.Node) bool {
	v, _ := boolean(n)
	return v
}

// flags are the keys that are false unless they are said.
var flags = map[string]bool{
	"required": true, "deprecated": true, "nullable": true, "readOnly": true, "writeOnly": true, "allowEmptyValue": true,
	"allowReserved": true, "uniqueItems": true, "exclusiveMinimum": true, "exclusiveMaximum": true,
}

// unsaid reports whether a key of an object says no more with its value than
// without: OpenAPI's defaults.
func unsaid(n *yaml.Node, key string, v *yaml.Node) bool {
	on, isBool := boolean(v)
	style, explode := serialization(n)
	if flags[key] && isBool {
		return !on
	}
	switch key {
	case "required", "parameters":
		return v.Kind == yaml.SequenceNode && len(v.Content) == 0
	case "additionalProperties":
		return isBool && on || v.Kind == yaml.MappingNode && len(v.Content) == 0
	case "minLength", "minItems", "minProperties":
		return v.Value == "0"
	case "encoding":
		for _, part := range pairs(v) {
			for k, says := range pairs(part) {
				if !unsaid(part, k, says) {
					return false
				}
			}
		}
		return v.Kind == yaml.MappingNode
	case "style":
		without := clone(n)
		remove(without, key)
		standard, _ := serialization(without)
		return style == standard
	case "explode":
		return isBool && explode == strconv.FormatBool(style == "form")
	}
	return false
}

// serialization returns how a parameter, a header or a part of a body is sent.
func serialization(n *yaml.Node) (style, explode string) {
	style = text(get(n, "style"))
	in := text(get(n, "in"))
	switch {
	case style != "":
	case in == "path", in == "header", in == "" && get(n, "schema") != nil:
		style = "simple"
	default:
		style = "form"
	}
	on, said := boolean(get(n, "explode"))
	return style, strconv.FormatBool(said && on || !said && style == "form")
}

func mapping(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: content}
}

func sequence(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: content}
}

func clone(n *yaml.Node) *yaml.Node {
	if n == nil {
		return nil
	}
	out := *n
	out.Content = make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out.Content[i] = clone(c)
	}
	return &out
}

// bare returns a copy without comments, and without the words of a part of the
// document; data is data, whatever its keys.
func bare(n *yaml.Node, kind int) *yaml.Node {
	out := *n
	out.HeadComment, out.LineComment, out.FootComment = "", "", ""
	out.Content = nil
	for i, c := range n.Content {
		switch {
		case n.Kind != yaml.MappingNode || kind == data:
			out.Content = append(out.Content, bare(c, kind))
		case i%2 == 1 && (kind == named || !words[n.Content[i-1].Value]):
			k := n.Content[i-1]
			out.Content = append(out.Content, bare(k, data), bare(c, below(kind, k.Value)))
		}
	}
	return &out
}

// same compares what two nodes say, not how.
func same(a, b *yaml.Node) bool {
	return a == nil && b == nil || a != nil && b != nil && canonical(a) == canonical(b)
}

// canonical writes a node as JSON, where 1e3 is 1000 and the order of keys
// doesn't matter.
func canonical(n *yaml.Node) string {
	var v any
	err := n.Decode(&v)
	data, jsonErr := json.Marshal(v)
	if err != nil || jsonErr != nil {
		return fmt.Sprintf("%s %v", n.Value, v)
	}
	return string(data)
}

// What a mapping of the document maps.
const (
	object = iota // the keys are OpenAPI's
	named         // the keys are the document's own names
	data          // the keys are nobody's business
)

// byName are the keys under which names of the document's own stand.
var byName = map[string]bool{
	"callbacks": true, "content": true, "encoding": true, "examples": true, "headers": true, "links": true,
	"mapping": true, "parameters": true, "paths": true, "properties": true, "requestBodies": true,
	"responses": true, "schemas": true, "scopes": true, "securitySchemes": true, "variables": true,
	"patternProperties": true, "dependentSchemas": true, "$defs": true, "pathItems": true,
}

// opaque are the keys whose values are data rather than document.
var opaque = map[string]bool{"default": true, "enum": true, "const": true, "example": true}

// words are the keys whose values are prose or samples, which are ours to write.
var words = map[string]bool{"description": true, "summary": true, "title": true, "example": true, "examples": true, "externalDocs": true}

// below says what a mapping under a key of an object maps.
func below(kind int, key string) int {
	switch {
	case kind == data, kind == object && opaque[key]:
		return data
	case kind == object && byName[key]:
		return named
	}
	return object
}

// walk visits every object of a document's part.
func walk(n *yaml.Node, kind int, visit func(*yaml.Node) error) error {
	switch n.Kind {
	case yaml.MappingNode:
		if kind == object {
			if err := visit(n); err != nil {
				return err
			}
		}
		for k, v := range pairs(n) {
			if kind == object && (opaque[k] || k == "security") { // whose keys are names
				continue
			}
			if err := walk(v, below(kind, k), visit); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			if err := walk(c, object, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// format writes a document as openapi.yaml is written, its long text wrapped,
// which the encoder of these nodes doesn't do.
func format(root *yaml.Node) ([]byte, error) {
	data, err := yaml.Marshal(root)
	if err != nil {
		return nil, err
	}
	var n yamlv4.Node
	if err := yamlv4.Load(data, &n); err != nil {
		return nil, err
	}
	return yamlv4.Dump(&n, yamlv4.WithIndent(2), yamlv4.WithLineWidth(80), yamlv4.WithCompactSeqIndent(false))
}

// list writes the lines of one part of the report.
func list(w io.Writer, title string, lines []string, none string) {
	fmt.Fprintf(w, "\n## %s\n\n", title)
	if len(lines) == 0 {
		fmt.Fprintln(w, none)
	}
	for _, line := range lines {
		fmt.Fprintln(w, "-", line)
	}
}
