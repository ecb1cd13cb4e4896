package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// dependabot returns the folders of modules and packages that Dependabot isn't
// told of, and those that it is told of and that aren't there.
func (t *tree) dependabot() ([]string, error) {
	const file = ".github/dependabot.yml"
	data, err := fs.ReadFile(t, file)
	if err != nil {
		return nil, err
	}
	var settings struct {
		Updates []struct {
			Ecosystem   string   `yaml:"package-ecosystem"`
			Directory   string   `yaml:"directory"`
			Directories []string `yaml:"directories"`
		} `yaml:"updates"`
	}
	if err := yaml.Unmarshal(data, &settings); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var problems []string
	for ecosystem, name := range map[string]string{"gomod": "go.mod", "npm": "package.json"} {
		var listed []string
		for _, update := range settings.Updates {
			if update.Ecosystem != ecosystem {
				continue
			}
			for _, folder := range append(update.Directories, update.Directory) {
				if folder != "" {
					listed = append(listed, path.Clean(strings.TrimPrefix(folder, "/")))
				}
			}
		}
		there := t.folders(name)
		for _, folder := range there {
			if !slices.Contains(listed, folder) {
				problems = append(problems, fmt.Sprintf("%s: %s of %s is not listed", file, name, folder))
			}
		}
		for _, folder := range listed {
			if !slices.Contains(there, folder) {
				problems = append(problems, fmt.Sprintf("%s: %s has no %s", file, folder, name))
			}
		}
	}
	slices.Sort(problems)
	return problems, nil
}

// pins are modules that have no package, but pin programs of others.
func pins() []string { return []string{"tools/actionlint", "tools/check", "tools/lint"} }

// workspace returns the modules that go.work doesn't use, and those that it
// uses and that aren't there.
func (t *tree) workspace() ([]string, error) {
	const file = "go.work"
	data, err := fs.ReadFile(t, file)
	if err != nil {
		return nil, err
	}
	var used, problems []string
	for _, match := range usedModule.FindAllSubmatch(data, -1) {
		used = append(used, path.Clean(string(match[1])))
	}
	modules := t.folders("go.mod")
	for _, module := range modules {
		if !slices.Contains(used, module) && !slices.Contains(pins(), module) {
			problems = append(problems, fmt.Sprintf("%s: %s is not used", file, module))
		}
	}
	for _, module := range used {
		if !slices.Contains(modules, module) {
			problems = append(problems, fmt.Sprintf("%s: %s is no module", file, module))
		}
	}
	return problems, nil
}

var (
	usedModule = regexp.MustCompile(`(?m)^\s+(\.[\w./-]*)$`)

	uses   = regexp.MustCompile(`(?m)^.*\buses:.*$`)
	pinned = regexp.MustCompile(`uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
)

// oldestGo lists what names the oldest Go release that is supported, besides the
// modules.
var oldestGo = map[string]*regexp.Regexp{
	"go.work":                               regexp.MustCompile(`(?m)^go (\S+)$`),
	"README.md":                             regexp.MustCompile(`with Go (\S+) or later`),
	"tools/weight/main.go":                  regexp.MustCompile(`\\ngo (\d[\d.]*\d)\\n`),
	".github/workflows/ci.yml":              regexp.MustCompile(`go(?:-version)?: \[?"([^"]+)"`),
	".github/workflows/vulnerabilities.yml": regexp.MustCompile(`go-version: "([^"]+)"`),
}

// releases returns the files that name another Go release than go.mod does.
func (t *tree) releases() ([]string, error) {
	directive := regexp.MustCompile(`(?m)^go (\S+)$`)
	root, err := fs.ReadFile(t, "go.mod")
	if err != nil {
		return nil, err
	}
	want := directive.FindSubmatch(root)
	if want == nil {
		return nil, errors.New("go.mod names no Go release")
	}
	named := maps.Clone(oldestGo)
	for _, folder := range t.folders("go.mod") {
		named[path.Join(folder, "go.mod")] = directive
	}
	var problems []string
	for name, release := range named {
		data, err := fs.ReadFile(t, name)
		if err != nil {
			return nil, err
		}
		found := release.FindAllSubmatch(data, -1)
		if found == nil {
			problems = append(problems, name+": names no Go release")
		}
		for _, match := range found {
			if !strings.HasPrefix(string(want[1])+".", string(match[1])+".") {
				problems = append(problems, fmt.Sprintf("%s: Go %s, and go.mod has %s", name, match[1], want[1]))
			}
		}
	}
	slices.Sort(problems)
	return problems, nil
}

// workflows returns the actions that aren't pinned by commit with their version
// beside it, and the workflows that may do more than read.
func (t *tree) workflows() ([]string, error) {
	names, err := fs.Glob(t, ".github/workflows/*.yml")
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, name := range names {
		data, err := fs.ReadFile(t, name)
		if err != nil {
			return nil, err
		}
		for _, line := range uses.FindAllString(string(data), -1) {
			if !pinned.MatchString(line) {
				problems = append(problems, fmt.Sprintf("%s: not pinned as action@commit # version: %s", name, strings.TrimSpace(line)))
			}
		}
		if strings.Count(string(data), "permissions:") != 1 || !strings.Contains(string(data), "\npermissions:\n  contents: read\n\n") {
			problems = append(problems, name+": its permissions should be to read the contents, and nothing else")
		}
	}
	return problems, nil
}
