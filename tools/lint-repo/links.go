package main

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// links returns the links that lead nowhere within the repository. Where an
// address elsewhere leads isn't looked at.
func (t *tree) links() []string {
	var problems []string
	for _, p := range t.pages {
		for _, link := range p.links {
			if problem := t.link(p, link.text); problem != "" {
				problems = append(problems, fmt.Sprintf("%s: %s: %s", p.place(link.at), link.text, problem))
			}
		}
	}
	return problems
}

func (t *tree) link(from *page, destination string) string {
	u, err := url.Parse(destination)
	switch {
	case err != nil:
		return "not a link"
	case u.Scheme != "" || u.Host != "":
		return ""
	case strings.HasPrefix(u.Path, "/"):
		return "begins with a slash, which leads elsewhere on each host"
	}
	name := from.path
	if u.Path != "" {
		name = path.Join(path.Dir(from.path), u.Path)
	}
	if !t.exists(name) {
		return "no such file"
	}
	if u.Fragment == "" {
		return ""
	}
	for _, p := range t.pages {
		if p.path == name && p.anchors[u.Fragment] {
			return ""
		}
	}
	return "no such heading"
}
