package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each row compares benchmarks that are there, by the names of their parts.
func TestRowsAreMeasured(t *testing.T) {
	files, err := filepath.Glob("../../*_test.go")
	require.NoError(t, err)
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		source.Write(text)
	}
	for _, row := range rows {
		for _, name := range []string{row.ours, row.rival} {
			if name == "" {
				continue // a row of our own figure has no rival
			}
			parts := strings.Split(name, "/")
			assert.Contains(t, source.String(), "func Benchmark"+parts[0]+"(", row.what)
			for _, part := range parts[1:] {
				part, _, _ = strings.Cut(part, "=")
				assert.Contains(t, source.String(), part, row.what)
			}
		}
	}
}

// Each row of the page is one of those measured.
func TestPageHasTheRows(t *testing.T) {
	page, err := os.ReadFile("../../docs/benchmarks.md")
	require.NoError(t, err)
	shown := regexp.MustCompile(`(?m)^\| ([^|]+) \| [\d.]+[^|]*\|`).FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, shown)
	var measured []string
	for _, row := range rows {
		measured = append(measured, row.what)
	}
	for _, row := range shown {
		assert.Contains(t, measured, row[1])
	}
}
