package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// openAPI is docs/openapi.yaml, as far as these tests look at it.
type openAPI struct {
	t    *testing.T
	root map[string]any
}

func readOpenAPI(t *testing.T) openAPI {
	t.Helper()
	raw, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := openAPI{t: t}
	if err := yaml.Unmarshal(raw, &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// at walks down names; a $ref on the way is followed. It returns nil where a name
// is missing.
func (d openAPI) at(node any, names ...string) any {
	for i := 0; ; i++ {
		object, _ := node.(map[string]any)
		if ref, found := object["$ref"].(string); found {
			if node = d.at(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...); node == nil {
				d.t.Errorf("%s leads nowhere", ref)
				return nil
			}
			object, _ = node.(map[string]any)
		}
		if i == len(names) {
			return node
		}
		if node = object[names[i]]; node == nil {
			return nil
		}
	}
}

func (d openAPI) operation(method, path string) any {
	return d.at(d.root, "paths", path, strings.ToLower(method))
}

// answer is the schema of what an operation answers with a status.
func (d openAPI) answer(operation any, status int) any {
	response := d.at(operation, "responses", fmt.Sprint(status))
	if response == nil {
		response = d.at(operation, "responses", "default")
	}
	return d.at(response, "content", "application/json", "schema")
}

// faults says where a value differs from a schema.
func (d openAPI) faults(schema, value any, where string) []string {
	object, _ := d.at(schema).(map[string]any)
	if options, found := object["anyOf"].([]any); found {
		for _, option := range options {
			if len(d.faults(option, value, where)) == 0 {
				return nil
			}
		}
		return []string{where + " is none of what it may be"}
	}
	var faults []string
	if allowed := listOf(object["type"]); len(allowed) > 0 && !slices.Contains(allowed, kindOf(value)) &&
		(kindOf(value) != "integer" || !slices.Contains(allowed, "number")) {
		return []string{fmt.Sprintf("%s is a %s, not %v", where, kindOf(value), allowed)}
	}
	if enum, found := object["enum"].([]any); found && !slices.Contains(enum, value) {
		faults = append(faults, fmt.Sprintf("%s is %v, none of %v", where, value, enum))
	}
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			faults = append(faults, d.faults(object["items"], item, fmt.Sprintf("%s[%d]", where, i))...)
		}
	case map[string]any:
		known, _ := object["properties"].(map[string]any)
		for _, name := range listOf(object["required"]) {
			if _, found := value[name]; !found {
				faults = append(faults, where+"."+name+" is missing")
			}
		}
		for name, field := range value {
			if schema, found := known[name]; found {
				faults = append(faults, d.faults(schema, field, where+"."+name)...)
			} else if object["additionalProperties"] == false {
				faults = append(faults, where+"."+name+" is not documented")
			}
		}
	}
	return faults
}

func listOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		list := make([]string, len(v))
		for i, item := range v {
			list[i] = fmt.Sprint(item)
		}
		return list
	}
	return nil
}

// kindOf names the JSON type of a decoded value as schemas do.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

func TestOpenAPIListsEveryRoute(t *testing.T) {
	d := readOpenAPI(t)
	h := newHarness(t, "portable")
	documented := make(map[string]bool)
	for path, operations := range d.root["paths"].(map[string]any) {
		for method := range operations.(map[string]any) {
			documented[strings.ToUpper(method)+" "+path] = true
		}
	}
	for _, route := range h.server.admin.Routes() {
		path := "/admin/v1" + route.Path
		operation := d.operation(route.Method, path)
		if role := d.at(operation, "x-role"); role != string(route.Needs) {
			t.Errorf("%s %s takes a %s, documented is %v", route.Method, path, route.Needs, role)
		}
		var query []string
		parameters, _ := d.at(operation, "parameters").([]any)
		for _, parameter := range parameters {
			if d.at(parameter, "in") == "query" {
				query = append(query, d.at(parameter, "name").(string))
			}
		}
		if want := strings.Fields(route.Query); !slices.Equal(slices.Sorted(slices.Values(query)),
			slices.Sorted(slices.Values(want))) {
			t.Errorf("%s %s takes %v in its query, documented are %v", route.Method, path, want, query)
		}
		delete(documented, route.Method+" "+path)
	}
	for route := range documented {
		method, path, _ := strings.Cut(route, " ")
		if strings.HasPrefix(path, "/admin/") {
			t.Errorf("%s is documented and does not exist", route)
		} else if res, _ := h.do(method, path, ""); res.StatusCode == http.StatusNotFound ||
			res.StatusCode == http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", route, res.Status)
		}
	}
}

// Generators of clients name what they make after the operation's id.
func TestOpenAPINamesEveryOperation(t *testing.T) {
	d := readOpenAPI(t)
	taken := make(map[string]string)
	for path, operations := range d.root["paths"].(map[string]any) {
		for method, operation := range operations.(map[string]any) {
			id, _ := d.at(operation, "operationId").(string)
			if other, found := taken[id]; found || !regexp.MustCompile("^[a-z][a-zA-Z]+$").MatchString(id) {
				t.Errorf("%s %s has the id %q, as has %q", method, path, id, other)
			}
			taken[id] = method + " " + path
		}
	}
}

func TestOpenAPINamesWhatBodiesHold(t *testing.T) {
	d := readOpenAPI(t)
	shapes := admin.BodyShapes()
	shapes["POST /realtime"], shapes["POST /realtime/batch"] = &postShape, &batchShape
	for route, shape := range shapes {
		method, path, _ := strings.Cut(route, " ")
		wantNames(t, d, route, d.at(d.operation(method, path), "requestBody", "content", "application/json", "schema"), shape)
	}
	for name, shape := range admin.ObjectShapes() {
		wantNames(t, d, name, d.at(d.root, "components", "schemas", name), shape)
	}
}

func wantNames(t *testing.T, d openAPI, what string, schema any, shape *strictjson.Shape) {
	t.Helper()
	properties, _ := d.at(schema, "properties").(map[string]any)
	got := slices.Sorted(maps.Keys(properties))
	if want := slices.Sorted(slices.Values(shape.Names)); !slices.Equal(got, want) {
		t.Errorf("%s takes %v, documented are %v", what, want, got)
	}
}

func TestOpenAPIDescribesAnswers(t *testing.T) {
	d := readOpenAPI(t)
	h := newHarness(t, "portable")
	h.fill("news", 3)
	h.open(h.secret).subscribe("news", "")
	key := h.broker.Keys(testProject)[0].ID
	project := "/projects/" + testProject
	rules := `{"rules":[{"pattern":"a","initial":{"last":5}},{"pattern":"b","initial":"live"}],` +
		`"access":{"subscribe":["a"],"publish":[{"pattern":"b","rate":0.5,"burst":2}]},"quotas":{"publishRate":1.5}}`
	for _, call := range []struct{ method, route, path, body string }{
		{"POST", "/tokens", "/tokens", `{"name":"ada","role":"viewer"}`},
		{"POST", "/projects", "/projects", `{"name":"shop"}`},
		{"PATCH", "/projects/{id}", project, rules},
		{"POST", "/projects/{id}/keys", project + "/keys", `{"kind":"server"}`},
		{"POST", "/keys/{id}/rotate", "/keys/" + key + "/rotate", `{"overlap":"1h"}`},
		{"POST", "/projects/{id}/console-token", project + "/console-token", ""},
		{"POST", "/origins/check", "/origins/check", `{"rules":["x","*"],"origin":"https://a.example"}`},
		{"POST", "/projects/{id}/messages", project + "/messages?channel=news", `{"message":1,"id":"x"}`},
		{"DELETE", "/projects/{id}/messages", project + "/messages?channel=news", ""},
		{"PATCH", "/settings", "/settings", `{"maxBytes":2000000}`},
		{"GET", "/whoami", "/whoami", ""},
		{"GET", "/tokens", "/tokens", ""},
		{"GET", "/audit", "/audit", ""},
		{"GET", "/projects", "/projects", ""},
		{"GET", "/projects/{id}", project, ""},
		{"GET", "/keys/{id}/connections", "/keys/" + key + "/connections", ""},
		{"GET", "/connections", "/connections", ""},
		{"GET", "/projects/{id}/channels", project + "/channels", ""},
		{"GET", "/projects/{id}/messages", project + "/messages?channel=news", ""},
		{"GET", "/refusals", "/refusals", ""},
		{"GET", "/projects/{id}/usage", project + "/usage?by=hour", ""},
		{"GET", "/usage", "/usage", ""},
		{"GET", "/refusals/rules", "/refusals/rules", ""},
		{"POST", "/client-tokens/check", "/client-tokens/check", `{"token":"` + h.public +
			`","channel":"news","origin":"https://a.example"}`},
		{"POST", "/client-tokens/check", "/client-tokens/check", `{"token":"` + h.secret + `","channel":"news"}`},
		{"POST", "/client-tokens/check", "/client-tokens/check", `{"token":"a.b.c"}`},
		{"GET", "/settings", "/settings", ""},
		{"GET", "/metrics/history", "/metrics/history", ""},
		{"GET", "/status", "/status", ""},
		{"GET", "/projects/{id}", "/projects/none", ""},
	} {
		status, answer := h.admin(call.method, call.path, call.body)
		d.check(call.method+" /admin/v1"+call.route, status, answer)
	}
	for _, call := range []struct{ method, path, body string }{
		{"POST", "/realtime", `{"channel":"news","message":1}`},
		{"POST", "/realtime", `{"channel":"news"}`},
		{"POST", "/realtime/batch", `{"messages":[{"channel":"news","message":1},{"channel":"","message":1}]}`},
		{"GET", "/realtime/history?channel=news", ""},
		{"GET", "/realtime/poll?channel=news&wait=0", ""},
	} {
		res, answer := h.do(call.method, call.path, call.body, "x-api-key", h.secret, "Content-Type", "application/json")
		path, _, _ := strings.Cut(call.path, "?")
		d.check(call.method+" "+path, res.StatusCode, answer)
	}
}

func (d openAPI) check(route string, status int, answer map[string]any) {
	d.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	schema := d.answer(d.operation(method, path), status)
	if schema == nil {
		d.t.Errorf("%s answers %d, of which nothing is documented", route, status)
		return
	}
	for _, fault := range d.faults(schema, answer, "the answer") {
		shown, _ := json.Marshal(answer)
		d.t.Errorf("%s, %d: %s in %.300s", route, status, fault, shown)
	}
}
