package docs

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestOpenAPIIsTheSameInJSON(t *testing.T) {
	var want, got any
	if err := yaml.Unmarshal(OpenAPI, &want); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(OpenAPIJSON(), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("the JSON means something else")
	}
	first, second := bytes.Index(OpenAPIJSON(), []byte(`"/realtime"`)), bytes.Index(OpenAPIJSON(),
		[]byte(`"/admin/v1/whoami"`))
	if first < 0 || second < first {
		t.Error("the calls are in another order")
	}
}
