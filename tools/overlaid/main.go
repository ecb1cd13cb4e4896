// Command overlaid validates an OpenAPI document, alone and with an overlay
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
	flag.Parse()
	if err := run(flag.Arg(0), flag.Arg(1), *out); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "overlaid:", err)
		os.Exit(1)
	}
}

func run(document, overlay, out string) error {
	data, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	o, err := loader.LoadOverlay(overlay)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := errors.Join(validate(document, data), o.Validate(), yaml.Unmarshal(data, &node)); err != nil {
		return err
	}
	// A filter's dialect and a removal that removes nothing come as warnings,
	// which the generator swallows.
	warnings, err := o.ApplyToStrict(&node)
	if err == nil && len(warnings) > 0 {
		err = errors.New(strings.Join(warnings, "\n"))
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n(api/README.md says what to do when an action fails)", overlay, err)
	}
	both, err := yaml.Marshal(&node)
	if err != nil {
		return err
	}
	if err := validate(document+" with "+overlay, both); err != nil || out == "" {
		return err
	}
	return os.WriteFile(out, both, 0o600)
}

func validate(name string, data []byte) error {
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err == nil {
		err = doc.Validate(context.Background(), openapi3.EnableExamplesValidation(), openapi3.DisableSchemaPatternValidation())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Printf("%s: valid\n", name)
	return nil
}
