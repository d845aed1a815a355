package admin

import "github.com/aptlyd/aptlyd/internal/strictjson"

// BodyShapes returns the fields of all bodies, by call: the contract that docs/openapi.yaml
// describes.
func BodyShapes() map[string]*strictjson.Shape {
	return map[string]*strictjson.Shape{
		"POST /admin/v1/tokens":                 &newAdminTokenShape,
		"POST /admin/v1/projects":               &newProjectShape,
		"PATCH /admin/v1/projects/{id}":         &projectShape,
		"POST /admin/v1/projects/{id}/keys":     &newKeyShape,
		"POST /admin/v1/keys/{id}/rotate":       &rotateShape,
		"POST /admin/v1/origins/check":          &originCheckShape,
		"POST /admin/v1/keys/{id}/token":        &mintShape,
		"POST /admin/v1/client-tokens/check":    &tokenCheckShape,
		"POST /admin/v1/projects/{id}/messages": &operatorPostShape,
		"PATCH /admin/v1/settings":              &settingsShape,
		"POST /console/session":                 &signInShape,
	}
}

// ObjectShapes returns the fields of the objects inside of bodies, by schema.
func ObjectShapes() map[string]*strictjson.Shape {
	return map[string]*strictjson.Shape{"Rule": &ruleShape, "Access": &accessShape, "Quotas": &quotasShape}
}
