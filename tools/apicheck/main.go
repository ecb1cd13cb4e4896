// Command apicheck validates an OpenAPI document, alone and with an overlay
// applied in strict mode, and writes the two together to a file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/speakeasy-api/openapi/overlay/loader"
	"gopkg.in/yaml.v3"
)

func main() {
	out := flag.String("o", "", "write document and overlay together to this `file`")
	flag.Usage = func() {
		_, _ = fmt.Fprintln(flag.CommandLine.Output(), "usage: apicheck [-o file] document overlay")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *out); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "apicheck:", err)
		os.Exit(1)
	}
}

func run(document, overlay, out string) error {
	data, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	if err := validate(data); err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	fmt.Printf("%s: valid\n", document)

	both, err := apply(data, overlay)
	if err != nil {
		return err
	}
	if err := validate(both); err != nil {
		return fmt.Errorf("%s with %s: %w%s", document, overlay, err, hint(err))
	}
	fmt.Printf("%s with %s: valid\n", document, overlay)
	if out == "" {
		return nil
	}
	return os.WriteFile(out, both, 0o600)
}

func validate(data []byte) error {
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := doc.Validate(ctx, openapi3.EnableSchemaFormatValidation(), openapi3.DisableExamplesValidation()); err != nil {
		return err
	}
	// The document calls an enum readOnly that the wire carries both ways, and
	// kin-openapi refuses it in the example of a request.
	for _, schema := range doc.Components.Schemas {
		schema.Value.ReadOnly = false
	}
	return doc.Validate(ctx, openapi3.EnableExamplesValidation())
}

// apply applies the overlay with the library that the generator uses.
func apply(data []byte, path string) ([]byte, error) {
	o, err := loader.LoadOverlay(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		return nil, err
	}
	// A filter's dialect and a removal that removes nothing come as warnings;
	// the generator swallows them.
	warnings, err := o.ApplyToStrict(&node)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n(a target that is gone from the document: api/README.md says what to do)", path, err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("%s: %w", path, errors.New(strings.Join(warnings, "\n")))
	}
	return yaml.Marshal(&node)
}

// hint explains the one message that is hard to understand.
func hint(err error) string {
	if strings.Contains(err.Error(), "more than one") && strings.Contains(err.Error(), "parameter") {
		return "\n(the document now has a parameter that an action of the overlay adds too: drop it from the action)"
	}
	return ""
}
