package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/speakeasy-api/openapi/openapi"
	"gopkg.in/yaml.v3"
)

// operations are those of the contract. One more is a decision, not an update:
// it starts here.
var operations = []string{"authorize-auth0", "exchange-for-auth0-token", "get-auth0-user-info", "auth0-logout"}

const tag = "Auth0"

var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

// cut returns a document of the four operations and what they reach, each
// operation with the security and the parameters that hold for it.
func cut(ctx context.Context, full *yaml.Node) (root *yaml.Node, notes []string, err error) {
	found := map[string]int{}
	tagged, total := []string{}, 0
	paths := mapping()
	for route, item := range pairs(get(full, "paths")) {
		if ref := get(item, "$ref"); ref != nil {
			if item = lookup(full, ref.Value); item == nil {
				return nil, nil, fmt.Errorf("the path %s is a reference to %s, which is not in the document: bundle it first", route, ref.Value)
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
					tagged = append(tagged, fmt.Sprintf("%s (%s %s)", id, strings.ToUpper(method), route))
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
			set(paths, route, kept)
		}
	}
	if err := eachOnce(found, tagged, total); err != nil {
		return nil, nil, err
	}
	if len(tagged) > 0 {
		notes = append(notes, fmt.Sprintf("The document has further operations with the tag %s, which are not taken over: %s. Who wants one adds it to tools/adopt/cut.go.", tag, strings.Join(tagged, ", ")))
	}

	root = mapping(scalar("openapi"), get(full, "openapi"), scalar("info"), clone(get(full, "info")))
	if servers := get(full, "servers"); servers != nil {
		set(root, "servers", clone(servers))
	}
	set(root, "tags", sequence(mapping(scalar("name"), scalar(tag))))
	set(root, "paths", paths)
	if components := get(full, "components"); components != nil {
		set(root, "components", components)
	}
	if root, err = clean(ctx, root); err != nil {
		return nil, nil, err
	}
	notes = append(notes, fmt.Sprintf("Cut from %d operations to %d, and from %d schemas to %d.", total, len(operations),
		len(keys(get(full, "components", "schemas"))), len(keys(get(root, "components", "schemas")))))
	return root, notes, resolved(root)
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

// clean drops the components that no path reaches.
func clean(ctx context.Context, root *yaml.Node) (*yaml.Node, error) {
	var data bytes.Buffer
	if err := yaml.NewEncoder(&data).Encode(root); err != nil {
		return nil, err
	}
	doc, _, err := openapi.Unmarshal(ctx, &data, openapi.WithSkipValidation())
	if err != nil {
		return nil, err
	}
	if err := openapi.Clean(ctx, doc); err != nil {
		return nil, err
	}
	data.Reset()
	if err := openapi.Marshal(ctx, doc, &data); err != nil {
		return nil, err
	}
	cleaned, _, err := parse(data.Bytes())
	return cleaned, err
}

// inherit adds to an operation what it takes from its path and its document.
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
	return walk(op, object, func(n *yaml.Node) error {
		ref := text(get(n, "$ref"))
		if ref == "" || strings.HasPrefix(ref, "#/components/schemas/") {
			return nil
		}
		if _, err := pointer(ref); err != nil {
			return err
		}
		target := resolve(full, n)
		if target == nil {
			return fmt.Errorf("the reference %s leads nowhere: ask for a document that is whole", ref)
		}
		*n = *clone(target)
		return nil
	})
}

// resolved sees to it that every reference leads somewhere in the document.
func resolved(root *yaml.Node) error {
	for name, s := range pairs(get(root, "components", "schemas")) {
		if err := based(root, s, []string{name}); err != nil {
			return err
		}
	}
	return walk(root, object, func(n *yaml.Node) error {
		ref := get(n, "$ref")
		if ref == nil || ref.Kind != yaml.ScalarNode {
			return nil
		}
		steps, err := pointer(ref.Value)
		switch {
		case err != nil:
			return err
		case steps[0] != "components" || len(steps) != 3:
			return fmt.Errorf("the reference %s does not lead to a component: say there what it leads to", ref.Value)
		case lookup(root, ref.Value) == nil:
			return fmt.Errorf("the reference %s leads nowhere: ask for a document that is whole", ref.Value)
		case resolve(root, n) == nil:
			return fmt.Errorf("%s is a reference that leads to itself, or nowhere: mend it in the document", strings.Join(steps[1:], " "))
		}
		return nil
	})
}

// based sees to it that no schema is its own base.
func based(root, s *yaml.Node, above []string) error {
	for _, part := range items(get(s, "allOf")) {
		below := slices.Clone(above)
		if ref := get(part, "$ref"); ref != nil {
			name := path.Base(ref.Value)
			if part = resolve(root, part); slices.Contains(above, name) {
				return fmt.Errorf("the schema %s is built of itself: mend it in the document", name)
			}
			below = append(below, name)
		}
		if err := based(root, part, below); err != nil {
			return err
		}
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

// simplify drops from a cut document what says nothing, and writes one way what
// can be written in two.
func simplify(root *yaml.Node) {
	_ = walk(root, object, func(n *yaml.Node) error {
		for k, v := range pairs(n) {
			if strings.HasPrefix(k, "x-") || k == "externalDocs" || unsaid(n, k, v) {
				remove(n, k)
			}
		}
		if t := get(n, "type"); len(items(t)) == 1 {
			set(n, "type", t.Content[0])
		}
		if c := get(n, "const"); c != nil {
			remove(n, "const")
			set(n, "enum", sequence(c))
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
