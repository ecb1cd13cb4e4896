package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/speakeasy-api/openapi/overlay"
	"github.com/speakeasy-api/openapi/overlay/loader"
	"gopkg.in/yaml.v3"
)

// fit is how an overlay lies on a document.
type fit struct {
	root   *yaml.Node // the two together
	misfit []string   // why it can't be applied
	notes  []string   // what a maintainer should look at
}

// lay applies an overlay to a document, one action after the other, as the
// generator does in strict mode. before is the document that the overlay was
// made for.
func lay(path string, before, after *yaml.Node) (*fit, error) {
	o, err := loader.LoadOverlay(path)
	if err != nil {
		return nil, err
	}
	lines, err := actionLines(path)
	if err != nil {
		return nil, err
	}
	before, after = document(before), document(after)
	f := &fit{root: after.Content[0]}
	for i, action := range o.Actions {
		name := fmt.Sprintf("action %d, %q", i+1, brief(action.Description))
		if i < len(lines) {
			name += fmt.Sprintf(" (%s:%d)", "api/overlay.yaml", lines[i])
		}
		query, err := o.NewPath(action.Target, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		was, is := query.Query(before), query.Query(after)
		if len(is) == 0 {
			why, err := explain(o, action.Target, after)
			if err != nil {
				return nil, err
			}
			f.misfit = append(f.misfit, fmt.Sprintf("%s: nothing stands at %s. %s Look the fact up again, then move the target, or drop the action.", name, action.Target, why))
		} else if lost := missing(placesOf(before, was), placesOf(after, is)); len(lost) > 0 && strings.Contains(action.Target, "'") {
			f.notes = append(f.notes, fmt.Sprintf("%s no longer reaches %s.", name, strings.Join(lost, ", ")))
		}
		if !action.Remove {
			wasThere, isThere := there(&action.Update, action.Target, was), there(&action.Update, action.Target, is)
			if now := missing(isThere, wasThere); len(now) > 0 {
				f.notes = append(f.notes, fmt.Sprintf("%s adds %s, which the document now has itself: the action may be dropped.", name, strings.Join(now, ", ")))
			}
			f.misfit = append(f.misfit, collisions(is, &action.Update, name)...)
			for _, n := range is {
				if ref := get(n, "$ref"); ref != nil && get(&action.Update, "$ref") == nil {
					f.misfit = append(f.misfit, fmt.Sprintf("%s: what it adds would stand beside the reference to %s, where it says nothing. Move the target to where that leads.", name, ref.Value))
				}
			}
		}
		one := *o
		one.Actions = []overlay.Action{action}
		for _, root := range []*yaml.Node{before, after} {
			if err := one.ApplyTo(root); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	// An action may use anchors.
	f.root, err = expand(f.root, nil)
	return f, err
}

func document(root *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{clone(root)}}
}

func brief(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "…"
	}
	return s
}

func actionLines(path string) (lines []int, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) == 0 {
		return nil, err
	}
	for _, a := range items(get(doc.Content[0], "actions")) {
		lines = append(lines, a.Line)
	}
	return lines, nil
}

// explain says how far a target still leads.
func explain(o *overlay.Overlay, target string, root *yaml.Node) (string, error) {
	steps := split(target)
	for n := len(steps) - 1; n > 0; n-- {
		prefix := strings.Join(steps[:n], "")
		query, err := o.NewPath(prefix, nil)
		if err != nil {
			return "", err
		}
		nodes := query.Query(root)
		if len(nodes) == 0 {
			continue
		}
		var have []string
		for _, node := range nodes {
			have = append(have, keys(node)...)
			for _, item := range items(node) {
				have = append(have, text(get(item, "name")))
			}
		}
		slices.Sort(have)
		have = slices.Compact(have)
		if len(have) > 24 {
			have = append(have[:24], "…")
		}
		return fmt.Sprintf("The document leads as far as %s, where it has: %s; %s fits none of it.", prefix, strings.Join(have, ", "), strings.TrimPrefix(steps[n], ".")), nil
	}
	return "Not even its beginning is there.", nil
}

// split cuts a JSONPath into its steps.
func split(target string) (steps []string) {
	depth, start, quote := 0, 0, rune(0)
	for i, r := range target {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case (r == '.' || r == '[') && depth == 0:
			if i > start {
				steps = append(steps, target[start:i])
			}
			start = i
			if r == '[' {
				depth++
			}
		case r == '[' || r == '(':
			depth++
		case r == ']' || r == ')':
			depth--
		}
	}
	return append(steps, target[start:])
}

// placesOf gives the paths of nodes within a document.
func placesOf(root *yaml.Node, nodes []*yaml.Node) (out []string) {
	var find func(n *yaml.Node, at string)
	find = func(n *yaml.Node, at string) {
		if slices.Contains(nodes, n) {
			out = append(out, at)
		}
		for k, v := range pairs(n) {
			if id := text(get(v, "operationId")); id != "" {
				find(v, "operation "+id) // wherever it stands
				continue
			}
			find(v, strings.TrimPrefix(at+"."+k, "."))
		}
		for i, c := range items(n) {
			step := text(get(c, "name"))
			if step == "" {
				step = strconv.Itoa(i)
			}
			find(c, at+"["+step+"]")
		}
	}
	find(root.Content[0], "")
	for i, p := range out {
		p = strings.TrimPrefix(p, "components.schemas.")
		out[i] = strings.Replace(p, ".properties.", ".", 1)
	}
	return out
}

func missing(of, in []string) (out []string) {
	for _, s := range of {
		if !slices.Contains(in, s) {
			out = append(out, s)
		}
	}
	return out
}

// there names what an update would add and what is there already: schemas,
// fields, statuses, paths.
func there(update *yaml.Node, target string, nodes []*yaml.Node) (out []string) {
	var visit func(u, n *yaml.Node, kind int)
	visit = func(u, n *yaml.Node, kind int) {
		for k, v := range pairs(u) {
			have := get(n, k)
			if have != nil && kind == named {
				out = append(out, k)
			} else if have != nil {
				visit(v, have, below(kind, k))
			}
		}
	}
	steps := split(target)
	for _, n := range nodes {
		visit(update, n, below(object, strings.TrimPrefix(steps[len(steps)-1], ".")))
	}
	return out
}

// collisions are the parameters, and the security, that both the document and
// an update give: lists, to which an update only adds.
func collisions(nodes []*yaml.Node, update *yaml.Node, name string) (out []string) {
	var secured []string
	for _, n := range nodes {
		if len(items(get(update, "security"))) > 0 && len(items(get(n, "security"))) > 0 {
			secured = append(secured, text(get(n, "operationId")))
		}
		for _, p := range items(get(update, "parameters")) {
			for _, have := range items(get(n, "parameters")) {
				if identity(p) == identity(have) {
					out = append(out, fmt.Sprintf("%s: the document now has the parameter %s, which the action adds too. Drop it from the action.", name, text(get(p, "name"))))
				}
			}
		}
	}
	if len(secured) > 0 {
		out = append(out, fmt.Sprintf("%s: the document now says itself what security %s has, and the action would only add to that. Drop it from the action.", name, strings.Join(secured, ", ")))
	}
	return out
}
