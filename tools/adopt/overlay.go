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
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var text yaml.Node
	if err := yaml.Unmarshal(data, &text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// An earlier revision's overlay is read as it is.
	if n := aliased(&text); n != nil && before != after {
		return nil, fmt.Errorf("%s:%d: a YAML anchor, which the generator doesn't read as this report would: spell it out", path, n.Line)
	}
	o, err := loader.LoadOverlay(path)
	if err != nil {
		return nil, err
	}
	before = &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{clone(before)}}
	after = &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{clone(after)}}
	f := &fit{root: after.Content[0]}
	for i, action := range o.Actions {
		name := fmt.Sprintf("action %d, %q", i+1, brief(action.Description))
		if action.Update.Line > 0 {
			name += fmt.Sprintf(" (%s:%d)", overlayFile, action.Update.Line)
		}
		query, err := o.NewPath(action.Target, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		was, is := query.Query(before), query.Query(after)
		if len(is) == 0 {
			f.misfit = append(f.misfit, fmt.Sprintf("%s: nothing stands at %s. %s Look the fact up again, then move the target, or drop the action.", name, action.Target, explain(o, action.Target, after)))
		} else if lost := missing(placesOf(before, was), placesOf(after, is)); len(lost) > 0 && strings.Contains(action.Target, "'") {
			f.notes = append(f.notes, fmt.Sprintf("%s no longer reaches %s.", name, strings.Join(lost, ", ")))
		}
		f.update(name, action, was, is)
		one := *o
		one.Actions = []overlay.Action{action}
		_ = one.ApplyTo(before) // which it fits, or says so when it is current
		if len(is) > 0 {
			if _, err := one.ApplyToStrict(after); err != nil {
				f.misfit = append(f.misfit, fmt.Sprintf("%s: %v: mend the action.", name, err))
			}
		}
	}
	f.root = expand(f.root)
	return f, nil
}

// update notes what an action would add to what is there already.
func (f *fit) update(name string, action overlay.Action, was, is []*yaml.Node) {
	if action.Remove {
		return
	}
	if now := missing(there(&action, is), there(&action, was)); len(now) > 0 {
		f.notes = append(f.notes, fmt.Sprintf("%s adds %s, which the document now has itself: the action may be dropped.", name, strings.Join(now, ", ")))
	}
	var secured []string
	for _, n := range is {
		if len(items(get(&action.Update, "security"))) > 0 && len(items(get(n, "security"))) > 0 {
			secured = append(secured, text(get(n, "operationId")))
		}
		for _, p := range items(get(&action.Update, "parameters")) {
			for _, have := range items(get(n, "parameters")) {
				if identity(p) == identity(have) {
					f.misfit = append(f.misfit, fmt.Sprintf("%s: the document now has the parameter %s, which the action adds too. Drop it from the action.", name, text(get(p, "name"))))
				}
			}
		}
		if ref := get(n, "$ref"); ref != nil && get(&action.Update, "$ref") == nil {
			f.misfit = append(f.misfit, fmt.Sprintf("%s: what it adds would stand beside the reference to %s, where it says nothing. Move the target to where that leads.", name, ref.Value))
		}
	}
	if len(secured) > 0 {
		f.misfit = append(f.misfit, fmt.Sprintf("%s: the document now says itself what security %s has, and the action would only add to that. Drop it from the action.", name, strings.Join(secured, ", ")))
	}
}

// aliased returns the first anchor or alias of a document.
func aliased(n *yaml.Node) *yaml.Node {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return n
	}
	for _, c := range n.Content {
		if found := aliased(c); found != nil {
			return found
		}
	}
	return nil
}

func brief(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "…"
	}
	return s
}

// explain says how far a target still leads.
func explain(o *overlay.Overlay, target string, root *yaml.Node) string {
	for i := len(target) - 1; i > 0; i-- {
		if target[i] != '.' && target[i] != '[' {
			continue
		}
		query, err := o.NewPath(target[:i], nil)
		if err != nil { // within a filter
			continue
		}
		var have []string
		for _, node := range query.Query(root) {
			have = append(have, keys(node)...)
			for _, item := range items(node) {
				have = append(have, text(get(item, "name")))
			}
		}
		if len(have) == 0 {
			continue
		}
		slices.Sort(have)
		have = slices.Compact(have)
		if len(have) > 24 {
			have = append(have[:24], "…")
		}
		return fmt.Sprintf("The document leads as far as %s, where it has: %s; %s fits none of it.", target[:i], strings.Join(have, ", "), strings.TrimPrefix(target[i:], "."))
	}
	return "Not even its beginning is there."
}

// placesOf returns the paths of nodes within a document.
func placesOf(root *yaml.Node, nodes []*yaml.Node) (out []string) {
	var find func(n *yaml.Node, at string)
	find = func(n *yaml.Node, at string) {
		if slices.Contains(nodes, n) {
			at := strings.TrimPrefix(at, "components.schemas.")
			out = append(out, strings.Replace(at, ".properties.", ".", 1))
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
	return out
}

func missing(of, in []string) []string {
	return slices.DeleteFunc(slices.Clone(of), func(s string) bool { return slices.Contains(in, s) })
}

// there names what an update would add and what is there already: schemas,
// fields, statuses, paths.
func there(action *overlay.Action, nodes []*yaml.Node) (out []string) {
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
	for _, n := range nodes {
		visit(&action.Update, n, below(object, action.Target[strings.LastIndexByte(action.Target, '.')+1:]))
	}
	return out
}
