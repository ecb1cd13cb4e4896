package main

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// operations are those of the contract. One more is a decision, not an update:
// it starts here.
var operations = []string{"authorize-auth0", "exchange-for-auth0-token", "get-auth0-user-info", "auth0-logout"}

const tag = "Auth0"

var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

// A cutter takes from a document the four operations and what they reach.
type cutter struct {
	full, root *yaml.Node
	inlined    int
}

// cut returns a document of the four operations and what they reach, each
// operation with the security and the parameters that hold for it.
func cut(full *yaml.Node) (root *yaml.Node, notes []string, err error) {
	c := cutter{full: full, root: mapping(scalar("openapi"), get(full, "openapi"), scalar("info"), clone(get(full, "info")))}
	if servers := get(full, "servers"); servers != nil {
		set(c.root, "servers", clone(servers))
	}
	set(c.root, "tags", sequence(mapping(scalar("name"), scalar(tag))))
	found := map[string]int{}
	tagged, total := []string{}, 0
	for route, item := range pairs(get(full, "paths")) {
		if ref := get(item, "$ref"); ref != nil {
			if item, err = follow(full, item); err != nil {
				return nil, nil, fmt.Errorf("the path %s: %w", route, err)
			}
		}
		for _, method := range methods {
			op := get(item, method)
			if op == nil {
				continue
			}
			total++
			id := text(get(op, "operationId"))
			if !slices.Contains(operations, id) {
				if slices.ContainsFunc(texts(get(op, "tags")), func(t string) bool { return strings.EqualFold(t, tag) }) {
					tagged = append(tagged, fmt.Sprintf("%s (%s %s)", id, strings.ToUpper(method), route))
				}
				continue
			}
			found[id]++
			op = clone(op)
			if err = c.inherit(item, op); err == nil {
				err = c.bring(op)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", id, err)
			}
			set(c.under("paths", route), method, op)
		}
	}
	if err := eachOnce(found, tagged, total); err != nil {
		return nil, nil, err
	}
	if len(tagged) > 0 {
		notes = append(notes, fmt.Sprintf("The document has further operations with the tag %s, which are not taken over: %s. Who wants one adds it to tools/adopt/cut.go.", tag, strings.Join(tagged, ", ")))
	}
	for name, s := range pairs(get(c.root, "components", "schemas")) {
		if err := based(c.root, s, []string{name}); err != nil {
			return nil, nil, err
		}
	}
	return c.root, append(notes, fmt.Sprintf("Cut from %d operations to %d, and from %d schemas to %d.", total, len(operations),
		len(keys(get(full, "components", "schemas"))), len(keys(get(c.root, "components", "schemas"))))), nil
}

// under returns a mapping of the cut document, which it makes if need be.
func (c *cutter) under(path ...string) *yaml.Node {
	n := c.root
	for _, key := range path {
		if get(n, key) == nil {
			set(n, key, mapping())
		}
		n = get(n, key)
	}
	return n
}

func eachOnce(found map[string]int, tagged []string, total int) error {
	for _, id := range operations {
		switch found[id] {
		case 1:
		case 0:
			also := ""
			if len(tagged) > 0 {
				also = fmt.Sprintf("; with the tag %s there are also %s", tag, strings.Join(tagged, ", "))
			}
			return fmt.Errorf("the operation %s is not in the document (it has %d operations%s). If it was renamed, say so in tools/adopt/cut.go and in the overlay", id, total, also)
		default:
			return fmt.Errorf("the operation %s is in the document %d times: say in tools/adopt/cut.go which is meant", id, found[id])
		}
	}
	return nil
}

// inherit adds to an operation what it takes from its path and its document.
func (c *cutter) inherit(item, op *yaml.Node) error {
	set(op, "tags", sequence(scalar(tag)))
	if get(op, "security") == nil {
		set(op, "security", sequence(items(clone(get(c.full, "security")))...))
	}
	for _, requirement := range items(get(op, "security")) {
		for name := range pairs(requirement) {
			scheme := resolve(c.full, get(c.full, "components", "securitySchemes", name))
			if scheme == nil {
				return fmt.Errorf("the security scheme %s is not in the document: ask for a document that is whole", name)
			}
			set(c.under("components", "securitySchemes"), name, clone(scheme))
		}
	}
	if servers := get(item, "servers"); servers != nil && get(op, "servers") == nil {
		set(op, "servers", clone(servers))
	}
	known := map[string]bool{}
	all := sequence()
	for i, p := range slices.Concat(items(get(op, "parameters")), items(get(item, "parameters"))) {
		p, err := follow(c.full, p)
		switch key := identity(p); {
		case err != nil:
			return err
		case !known[key]:
			all.Content = append(all.Content, clone(p))
			known[key] = true
		case i < len(items(get(op, "parameters"))):
			return fmt.Errorf("the parameter %s stands there twice: mend it in the document", text(get(p, "name")))
		}
	}
	remove(op, "parameters")
	if len(all.Content) > 0 {
		set(op, "parameters", all)
	}
	return nil
}

// bring puts in place what a part of the document refers to, but for schemas,
// which have names in Go and come along under theirs: said here or there, all
// else is the same contract.
func (c *cutter) bring(part *yaml.Node) error {
	return walk(part, object, func(n *yaml.Node) error {
		refs := []*yaml.Node{get(n, "$ref")}
		if get(n, "propertyName") != nil { // a discriminator
			for _, ref := range pairs(get(n, "mapping")) {
				if !strings.ContainsAny(ref.Value, "/#") {
					ref.Value = schemas + ref.Value
				}
				refs = append(refs, ref)
			}
		}
		for _, ref := range refs {
			if ref == nil || ref.Kind != yaml.ScalarNode {
				continue
			}
			steps, err := pointer(ref.Value)
			if err != nil {
				return err
			}
			if steps[0] != "components" || len(steps) != 3 {
				return fmt.Errorf("the reference %s does not lead to a component: say there what it leads to", ref.Value)
			}
			target, err := follow(c.full, mapping(scalar("$ref"), ref))
			if err != nil {
				return err
			}
			if steps[1] != "schemas" {
				if c.inlined++; c.inlined > 1000 {
					return fmt.Errorf("the reference %s leads back to itself: mend it in the document", ref.Value)
				}
				*n = *clone(target)
				continue
			}
			ref.Value = schemas + steps[2]
			if brought := c.under("components", "schemas"); get(brought, steps[2]) == nil {
				target = clone(get(c.full, steps...))
				set(brought, steps[2], target)
				if err := c.bring(target); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// based sees to it that no schema is its own base, or a list of itself.
func based(root, s *yaml.Node, above []string) error {
	if s == nil {
		return nil
	}
	for _, part := range append(slices.Clone(items(get(s, "allOf"))), get(s, "items")) {
		below := slices.Clone(above)
		if ref := get(part, "$ref"); ref != nil {
			name := path.Base(ref.Value)
			if slices.Contains(above, name) {
				return fmt.Errorf("the schema %s is built of itself: mend it in the document", name)
			}
			part, below = resolve(root, part), append(below, name)
		}
		if err := based(root, part, below); err != nil {
			return err
		}
	}
	return nil
}

const schemas = "#/components/schemas/"

// pointer splits a reference within the document.
func pointer(ref string) ([]string, error) {
	fragment, ok := strings.CutPrefix(ref, "#/")
	if !ok && strings.HasPrefix(ref, "#") {
		return nil, fmt.Errorf("the reference %s is no path within the document: write it as %s…", ref, schemas)
	}
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

// follow follows a reference to its end.
func follow(root, n *yaml.Node) (*yaml.Node, error) {
	for seen := map[string]bool{}; get(n, "$ref") != nil; {
		ref := get(n, "$ref").Value
		steps, err := pointer(ref)
		switch n = get(root, steps...); {
		case err != nil:
			return nil, err
		case n == nil:
			return nil, fmt.Errorf("the reference %s leads nowhere: ask for a document that is whole", ref)
		case seen[ref]:
			return nil, fmt.Errorf("%s is a reference that leads to itself, or nowhere: mend it in the document", strings.Join(steps[1:], " "))
		}
		seen[ref] = true
	}
	return n, nil
}

func resolve(root, n *yaml.Node) *yaml.Node {
	n, _ = follow(root, n)
	return n
}

// simplify drops from a document what says nothing, and writes one way what can
// be written in two.
func simplify(root *yaml.Node) {
	_ = walk(root, object, func(n *yaml.Node) error {
		for k, v := range pairs(n) {
			if strings.HasPrefix(k, "x-") || k == "externalDocs" || !opaque[k] && v.Tag == "!!null" || unsaid(n, k, v) {
				remove(n, k)
			} else if flags[k] && isTrue(v) { // which YAML spells in several ways
				v.SetString("true")
				v.Tag = "!!bool"
			}
		}
		if t := get(n, "type"); len(items(t)) == 1 {
			set(n, "type", t.Content[0])
		}
		if c := get(n, "const"); c != nil {
			remove(n, "const")
			set(n, "enum", sequence(c))
		}
		for k, v := range pairs(get(n, "content")) { // in media types, case says nothing
			if lower := strings.ToLower(k); lower != k && !strings.Contains(k, ";") {
				remove(get(n, "content"), k)
				set(get(n, "content"), lower, v)
			}
		}
		return nil
	})
}

// fillURLs puts our URLs where the flows of a cut document have empty ones,
// which say nothing.
func fillURLs(current, root *yaml.Node) (notes []string, err error) {
	for name, scheme := range pairs(get(root, "components", "securitySchemes")) {
		ours := get(current, "components", "securitySchemes", name)
		var empty []string
		fill := func(at string, n, our *yaml.Node) {
			for k, v := range pairs(n) {
				if !strings.HasSuffix(k, "Url") || v.Value != "" || v.Kind != yaml.ScalarNode {
					continue
				}
				empty = append(empty, at+k)
				switch known := get(our, k); {
				case known != nil:
					set(n, k, clone(known))
				case k == "refreshUrl": // which is optional
					remove(n, k)
				default:
					err = fmt.Errorf("the security scheme %s is new and its %s%s is empty: write it into the document first", name, at, k)
				}
			}
		}
		fill("", scheme, ours)
		for flow, n := range pairs(get(scheme, "flows")) {
			fill(flow+" ", n, get(ours, "flows", flow))
		}
		if len(empty) > 0 {
			notes = append(notes, fmt.Sprintf("The security scheme %s has empty URLs, which say nothing; ours stay: %s.", name, strings.Join(empty, ", ")))
		}
	}
	return notes, err
}
