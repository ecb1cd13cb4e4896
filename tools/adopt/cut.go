package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// operations are those of the contract. One more is a decision, not an update:
// it starts here.
var operations = []string{"authorize-auth0", "exchange-for-auth0-token", "get-auth0-user-info", "auth0-logout"}

const tag = "Auth0"

var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

// cut gives a document of the four operations and what they reach, each
// operation with the security and the parameters that hold for it.
func cut(full *yaml.Node) (root *yaml.Node, notes []string, err error) {
	found := map[string]int{}
	tagged, total := []string{}, 0
	paths := mapping()
	for path, item := range pairs(get(full, "paths")) {
		if ref := get(item, "$ref"); ref != nil {
			if item = lookup(full, ref.Value); item == nil {
				return nil, nil, fmt.Errorf("the path %s is a reference to %s, which is not in the document", path, ref.Value)
			}
		}
		kept := mapping()
		for _, method := range methods {
			op := get(item, method)
			if op == nil {
				continue
			}
			total++
			id := text(get(op, "operationId"))
			if !slices.Contains(operations, id) {
				if slices.ContainsFunc(texts(get(op, "tags")), func(t string) bool { return strings.EqualFold(t, tag) }) {
					tagged = append(tagged, fmt.Sprintf("%s (%s %s)", id, strings.ToUpper(method), path))
				}
				continue
			}
			found[id]++
			op = clone(op)
			inherit(full, item, op)
			if err := inline(full, op); err != nil {
				return nil, nil, err
			}
			set(kept, method, op)
		}
		if len(kept.Content) > 0 {
			set(paths, path, kept)
		}
	}

	for _, id := range operations {
		switch found[id] {
		case 1:
		case 0:
			also := ""
			if len(tagged) > 0 {
				also = fmt.Sprintf("; with the tag %s there are also %s", tag, strings.Join(tagged, ", "))
			}
			return nil, nil, fmt.Errorf("the operation %s is not in the document (it has %d operations%s). If it was renamed, say so in tools/adopt/cut.go and in the overlay", id, total, also)
		default:
			return nil, nil, fmt.Errorf("the operation %s is in the document %d times", id, found[id])
		}
	}
	if len(tagged) > 0 {
		notes = append(notes, fmt.Sprintf("The document has further operations with the tag %s, which are not taken over: %s. Who wants one adds it to tools/adopt/cut.go.", tag, strings.Join(tagged, ", ")))
	}

	root = mapping(scalar("openapi"), scalar("3.0.3"), scalar("info"), clone(get(full, "info")))
	if servers := get(full, "servers"); servers != nil {
		set(root, "servers", clone(servers))
	}
	set(root, "tags", sequence(mapping(scalar("name"), scalar(tag))))
	set(root, "paths", paths)
	if err := reach(full, root); err != nil {
		return nil, nil, err
	}
	n := len(keys(get(root, "components", "schemas")))
	notes = append(notes, fmt.Sprintf("Cut from %d operations to %d, and from %d schemas to %d.", total, len(operations), len(keys(get(full, "components", "schemas"))), n))
	return root, notes, nil
}

// inherit gives an operation what it takes from its path and its document.
func inherit(full, item, op *yaml.Node) {
	set(op, "tags", sequence(scalar(tag)))
	if get(op, "security") == nil {
		security := clone(get(full, "security"))
		if security == nil {
			security = sequence()
		}
		set(op, "security", security)
	}
	if servers := get(item, "servers"); servers != nil && get(op, "servers") == nil {
		set(op, "servers", clone(servers))
	}
	own := get(op, "parameters")
	if own == nil {
		own = sequence()
	}
	for _, p := range items(get(item, "parameters")) {
		if !slices.ContainsFunc(own.Content, func(o *yaml.Node) bool {
			return identity(resolve(full, o)) == identity(resolve(full, p))
		}) {
			own.Content = append(own.Content, clone(p))
		}
	}
	if len(own.Content) > 0 {
		set(op, "parameters", own)
	} else {
		remove(op, "parameters")
	}
}

// inline puts in place what an operation refers to, but for schemas, which have
// names in Go: said here or there, it is the same contract.
func inline(full, op *yaml.Node) error {
	var err error
	put := func(n *yaml.Node) {
		ref := get(n, "$ref")
		if ref == nil || err != nil {
			return
		}
		target := resolve(full, n)
		if target == nil {
			err = fmt.Errorf("line %d: the reference %s leads nowhere", ref.Line, ref.Value)
			if _, outside := pointer(ref.Value); outside != nil {
				err = fmt.Errorf("line %d: %w", ref.Line, outside)
			}
			return
		}
		*n = *clone(target)
	}
	for _, p := range items(get(op, "parameters")) {
		put(p)
	}
	put(get(op, "requestBody"))
	for _, r := range pairs(get(op, "responses")) {
		put(r)
		for _, h := range pairs(get(r, "headers")) {
			put(h)
		}
	}
	return err
}

// reach copies the components that the paths of root reach.
func reach(full, root *yaml.Node) error {
	type component struct{ kind, name string }
	var todo []component
	seen := map[component]bool{}
	add := func(c component) {
		if !seen[c] {
			seen[c] = true
			todo = append(todo, c)
		}
	}
	visit := func(n *yaml.Node) error {
		if ref := get(n, "$ref"); ref != nil {
			steps, err := pointer(ref.Value)
			if err != nil {
				return fmt.Errorf("line %d: %w", ref.Line, err)
			}
			if len(steps) < 3 || steps[0] != "components" {
				return fmt.Errorf("line %d: the reference %s does not lead to a component", ref.Line, ref.Value)
			}
			if lookup(full, ref.Value) == nil {
				return fmt.Errorf("line %d: the reference %s leads nowhere", ref.Line, ref.Value)
			}
			add(component{steps[1], steps[2]})
		}
		for _, target := range pairs(get(n, "discriminator", "mapping")) {
			if steps, err := pointer(target.Value); err == nil && len(steps) == 3 {
				add(component{steps[1], steps[2]})
			} else {
				add(component{"schemas", target.Value})
			}
		}
		for _, requirement := range items(get(n, "security")) {
			for name := range pairs(requirement) {
				add(component{"securitySchemes", name})
			}
		}
		return nil
	}

	if err := walk(get(root, "paths"), named, visit); err != nil {
		return err
	}
	components := mapping()
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		n := get(full, "components", c.kind, c.name)
		if n == nil {
			return fmt.Errorf("%s %s is used and not there", c.kind, c.name)
		}
		if resolve(full, n) == nil {
			return fmt.Errorf("line %d: %s %s is a reference that leads to itself, or nowhere", n.Line, c.kind, c.name)
		}
		if get(components, c.kind) == nil {
			set(components, c.kind, mapping())
		}
		n = clone(n)
		set(get(components, c.kind), c.name, n)
		if err := walk(n, object, visit); err != nil {
			return err
		}
	}
	if len(components.Content) > 0 {
		set(root, "components", components)
	}
	return nil
}

// pointer splits a reference within the document.
func pointer(ref string) ([]string, error) {
	fragment, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil, fmt.Errorf("the reference %s leads out of the document: bundle it first", ref)
	}
	steps := strings.Split(fragment, "/")
	for i, s := range steps {
		if u, err := url.PathUnescape(s); err == nil {
			s = u
		}
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
	}
	return steps, nil
}

func lookup(root *yaml.Node, ref string) *yaml.Node {
	steps, err := pointer(ref)
	if err != nil {
		return nil
	}
	return get(root, steps...)
}

// resolve follows a reference to its end.
func resolve(root, n *yaml.Node) *yaml.Node {
	for range 32 {
		ref := get(n, "$ref")
		if ref == nil {
			return n
		}
		n = lookup(root, ref.Value)
	}
	return nil
}

// simplify drops from a cut document what says nothing in OpenAPI 3.0.3, and
// puts what 3.1 says otherwise into words of 3.0.3.
func simplify(root *yaml.Node, is31 bool) (notes []string, err error) {
	note := func(n *yaml.Node, format string, args ...any) {
		notes = append(notes, fmt.Sprintf("Line %d: ", n.Line)+fmt.Sprintf(format, args...))
	}
	err = walk(root, object, func(n *yaml.Node) error {
		for k, v := range pairs(n) {
			switch {
			case strings.HasPrefix(k, "x-"), k == "externalDocs":
				remove(n, k)
			case unsaid(k, v):
				remove(n, k)
			}
		}
		if ref := get(n, "$ref"); ref != nil && ref.Kind == yaml.ScalarNode {
			for k := range pairs(n) {
				if k != "$ref" {
					if is31 && !words[k] {
						note(n, "%s beside a reference was dropped: OpenAPI 3.0 ignores it.", k)
					}
					remove(n, k)
				}
			}
		}
		if is31 {
			return lower(n, note)
		}
		return nil
	})
	return notes, err
}

// lower turns one object of OpenAPI 3.1 into one of 3.0.3.
func lower(n *yaml.Node, note func(*yaml.Node, string, ...any)) error {
	null := func(c *yaml.Node) bool { return c.Value == "null" || c.Tag == "!!null" }
	for name, p := range pairs(get(n, "properties")) {
		if isTrue(p) { // a schema that allows anything
			set(get(n, "properties"), name, mapping())
		}
	}
	if t := get(n, "type"); text(t) == "null" {
		set(n, "type", sequence(t))
	}
	if t := get(n, "type"); t != nil && t.Kind == yaml.SequenceNode {
		rest := slices.DeleteFunc(slices.Clone(t.Content), null)
		if len(rest) < len(t.Content) {
			set(n, "nullable", yes())
		}
		switch len(rest) {
		case 0:
			return fmt.Errorf("line %d: a schema whose only type is null cannot be said in OpenAPI 3.0", n.Line)
		case 1:
			set(n, "type", rest[0])
		default:
			remove(n, "type")
			several := sequence()
			for _, r := range rest {
				several.Content = append(several.Content, mapping(scalar("type"), r))
			}
			set(n, "anyOf", several)
		}
	}
	if c := get(n, "const"); c != nil {
		remove(n, "const")
		set(n, "enum", sequence(c))
		if get(n, "type") == nil && c.Tag == "!!str" {
			set(n, "type", scalar("string"))
		}
	}
	if e := get(n, "enum"); e != nil && slices.ContainsFunc(e.Content, func(c *yaml.Node) bool { return c.Tag == "!!null" }) {
		e.Content = slices.DeleteFunc(e.Content, func(c *yaml.Node) bool { return c.Tag == "!!null" })
		set(n, "nullable", yes())
	}
	for _, bound := range []string{"Minimum", "Maximum"} {
		if b := get(n, "exclusive"+bound); b != nil && b.Tag != "!!bool" {
			set(n, strings.ToLower(bound), b)
			set(n, "exclusive"+bound, yes())
		}
	}
	for _, k := range []string{"anyOf", "oneOf"} {
		alternatives := items(get(n, k))
		rest := slices.DeleteFunc(slices.Clone(alternatives), func(c *yaml.Node) bool { return text(get(c, "type")) == "null" })
		if len(rest) == len(alternatives) {
			continue
		}
		remove(n, k)
		if len(rest) != 1 {
			set(n, k, sequence(rest...))
			set(n, "nullable", yes())
			continue
		}
		if get(rest[0], "$ref") == nil {
			set(n, "nullable", yes())
		} else {
			// A reference has no room for more; Go has a pointer there anyway.
			note(n, "that %s may be null cannot be said beside the reference in OpenAPI 3.0 and was dropped.", text(get(rest[0], "$ref")))
			n.Content = slices.DeleteFunc(n.Content, func(*yaml.Node) bool { return true })
		}
		for rk, rv := range pairs(rest[0]) {
			set(n, rk, rv)
		}
	}
	if text(get(n, "contentEncoding")) == "base64" {
		set(n, "format", scalar("byte"))
	}
	for _, k := range []string{"$schema", "$id", "$comment", "$anchor", "contentEncoding", "contentMediaType"} {
		remove(n, k)
	}
	for _, k := range []string{
		"prefixItems", "if", "then", "else", "contains", "propertyNames", "patternProperties", "dependentSchemas",
		"dependentRequired", "unevaluatedProperties", "unevaluatedItems", "$defs", "$dynamicRef",
	} {
		if v := get(n, k); v != nil {
			note(v, "%s cannot be said in OpenAPI 3.0 and was dropped.", k)
			remove(n, k)
		}
	}
	return nil
}
