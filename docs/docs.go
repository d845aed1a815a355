// Package docs has those documents that a node serves. It knows nothing of their meaning.
package docs

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"

	"go.yaml.in/yaml/v3"
)

// OpenAPI describes the HTTP side of a node (OpenAPI 3.1), in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte

// OpenAPIJSON returns OpenAPI in JSON, in the same order.
var OpenAPIJSON = sync.OnceValue(func() []byte {
	var document yaml.Node
	if err := yaml.Unmarshal(OpenAPI, &document); err != nil {
		panic(fmt.Sprintf("docs: openapi.yaml: %v", err)) // a test has read it
	}
	var text bytes.Buffer
	if err := writeJSON(&text, document.Content[0]); err != nil {
		panic(fmt.Sprintf("docs: openapi.yaml: %v", err))
	}
	return text.Bytes()
})

// writeJSON writes a value of a YAML document.
func writeJSON(to *bytes.Buffer, node *yaml.Node) error {
	opening, closing := byte('['), byte(']')
	switch node.Kind {
	case yaml.MappingNode:
		opening, closing = '{', '}'
	case yaml.SequenceNode:
	default:
		var value any
		if err := node.Decode(&value); err != nil {
			return fmt.Errorf("line %d: %w", node.Line, err)
		}
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("line %d: %w", node.Line, err)
		}
		to.Write(text)
		return nil
	}
	to.WriteByte(opening)
	for i, child := range node.Content {
		isName := node.Kind == yaml.MappingNode && i%2 == 0
		if i > 0 && (isName || node.Kind == yaml.SequenceNode) {
			to.WriteByte(',')
		}
		if isName {
			name, err := json.Marshal(child.Value)
			if err != nil {
				return fmt.Errorf("line %d: %w", child.Line, err)
			}
			to.Write(append(name, ':'))
		} else if err := writeJSON(to, child); err != nil {
			return err
		}
	}
	to.WriteByte(closing)
	return nil
}
