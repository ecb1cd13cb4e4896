package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

// page is a Markdown page, taken apart.
type page struct {
	path    string
	source  []byte
	anchors map[string]bool
	links   []mark
	spans   []mark // inline code
	blocks  []mark // code blocks
	parts   []part
}

// mark is a piece of text and where it stands.
type mark struct {
	text string
	at   int // in the source
}

// part is a heading with what stands under it, up to the next heading.
type part struct {
	level, from, to int
	title           string
}

func parse(name string, source []byte) *page {
	p := &page{path: name, source: source, anchors: map[string]bool{}}
	p.parts = []part{{to: len(source)}}
	doc := goldmark.DefaultParser().Parse(text.NewReader(source))
	_ = ast.Walk(doc, func(node ast.Node, entering bool) (ast.WalkStatus, error) { // it returns what the function returns
		if entering {
			p.take(node)
		}
		return ast.WalkContinue, nil
	})
	return p
}

func (p *page) take(node ast.Node) {
	switch node := node.(type) {
	case *ast.Heading:
		at := position(node)
		p.parts[len(p.parts)-1].to = at
		p.parts = append(p.parts, part{level: node.Level, from: at, to: len(p.source), title: words(node, p.source)})
		p.anchor(words(node, p.source))
	case *ast.Link:
		p.links = append(p.links, mark{string(node.Destination), position(node)})
	case *ast.Image:
		p.links = append(p.links, mark{string(node.Destination), position(node)})
	case *ast.CodeSpan:
		p.spans = append(p.spans, mark{words(node, p.source), position(node)})
	case *ast.FencedCodeBlock:
		p.blocks = append(p.blocks, mark{string(node.Lines().Value(p.source)), position(node)})
	case *ast.CodeBlock:
		p.blocks = append(p.blocks, mark{string(node.Lines().Value(p.source)), position(node)})
	}
}

// dropped is what isn't in the anchor of a heading, as GitHub makes it.
var dropped = regexp.MustCompile(`[^\p{L}\p{N}\p{M}\p{Pc} -]`)

func (p *page) anchor(title string) {
	base := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
	anchor := base
	for i := 1; p.anchors[anchor]; i++ {
		anchor = fmt.Sprintf("%s-%d", base, i)
	}
	p.anchors[anchor] = true
}

// place says where a mark is, as compilers do.
func (p *page) place(at int) string {
	return fmt.Sprintf("%s:%d", p.path, 1+bytes.Count(p.source[:at], []byte("\n")))
}

// above returns the part that a mark stands in, and those that it is a part of.
func (p *page) above(at int) []part {
	var chain []part
	for i := len(p.parts) - 1; i >= 0; i-- {
		part := p.parts[i]
		if part.from <= at && (len(chain) == 0 || part.level < chain[len(chain)-1].level) {
			chain = append(chain, part)
		}
	}
	return chain
}

// words returns the text under a node, without its marks.
func words(node ast.Node, source []byte) string {
	var b strings.Builder
	for child := node.FirstChild(); child != nil; child = child.NextSibling() {
		switch child := child.(type) {
		case *ast.Text:
			b.Write(child.Segment.Value(source))
			if child.SoftLineBreak() {
				b.WriteByte(' ')
			}
		default:
			b.WriteString(words(child, source))
		}
	}
	return b.String()
}

// position returns where a node begins: the first text under it, or the block
// that it stands in.
func position(node ast.Node) int {
	for n := node; n != nil; n = n.FirstChild() {
		if t, ok := n.(*ast.Text); ok {
			return t.Segment.Start
		}
	}
	for n := node; n != nil; n = n.Parent() {
		if n.Type() == ast.TypeBlock && n.Lines().Len() > 0 {
			return n.Lines().At(0).Start
		}
	}
	return 0
}
