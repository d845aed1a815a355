// Package docs has those documents that a node serves. It knows nothing of their meaning.
package docs

import (
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

// OpenAPIJSON returns OpenAPI in JSON.
var OpenAPIJSON = sync.OnceValue(func() []byte {
	var document any
	if err := yaml.Unmarshal(OpenAPI, &document); err != nil {
		panic(fmt.Sprintf("docs: openapi.yaml: %v", err)) // a test has read it
	}
	text, err := json.Marshal(document)
	if err != nil {
		panic(fmt.Sprintf("docs: openapi.yaml: %v", err))
	}
	return text
})
