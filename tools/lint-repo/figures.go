package main

import (
	"fmt"
	"regexp"
)

var (
	// A measurement, as opposed to a limit or a setting in whole seconds.
	figure = regexp.MustCompile(`\d\s?(?:×|µs|MiB|kB)|\d\s+(?:allocations|times\s+as)|\d\.\d+\s+s\b`)
	source = regexp.MustCompile("`[^`]*\\b(?:Test|Fuzz|Benchmark)[A-Z]\\w*|make (?:bench|bench-fleet|weight|fleet|soak|test)\\b|go test -bench|benchmarks(?:-fleet)?\\.md")
)

// figures returns the parts of pages that hold a figure, and name nothing that
// measures it.
func (t *tree) figures() []string {
	var problems []string
	for _, p := range t.pages {
	parts:
		for _, part := range p.parts {
			body := p.source[part.from:part.to]
			where := figure.FindIndex(body)
			if where == nil {
				continue
			}
			for _, above := range p.above(part.from) {
				if source.Match(p.source[above.from:above.to]) {
					continue parts
				}
			}
			problems = append(problems, fmt.Sprintf("%s: a figure (%s) without the name of a test or benchmark in its part of the page",
				p.place(part.from+where[0]), body[where[0]:where[1]]))
		}
	}
	return problems
}
