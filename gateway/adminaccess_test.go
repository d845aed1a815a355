package gateway

import (
	"encoding/json"
	"testing"
)

func TestAccessAndQuotasOverTheAdminAPI(t *testing.T) {
	h := newHarness(t, "portable")
	path := "/projects/" + testProject
	shown := func(p map[string]any) string {
		text, err := json.Marshal([]any{p["access"], p["quotas"]})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const open, unlimited = `{"members":[],"presence":[],"publish":[],"subscribe":["*"]}`,
		`{"channels":0,"connections":0,"members":0,"publishRate":0,"subscriptions":0}`
	for _, c := range []struct{ body, want string }{
		{`{}`, open + "," + unlimited},
		{
			`{"access":{"subscribe":["public:*"],"publish":[{"pattern":"cursor:*","rate":0.5},{"pattern":"b","rate":10,` +
				`"burst":20}]}}`,
			`{"members":[],"presence":[],"publish":[{"burst":1,"pattern":"cursor:*","rate":0.5},{"burst":20,"pattern":"b",` +
				`"rate":10}],` +
				`"subscribe":["public:*"]},` + unlimited,
		},
		{`{"access":{"subscribe":[]}}`, `{"members":[],"presence":[],"publish":[],"subscribe":[]},` + unlimited},
		{
			`{"quotas":{"connections":100,"channels":5,"publishRate":2.5,"subscriptions":7,"members":9}}`,
			`{"members":[],"presence":[],"publish":[],"subscribe":[]},` +
				`{"channels":5,"connections":100,"members":9,"publishRate":2.5,"subscriptions":7}`,
		},
		{`{"quotas":{"connections":-0,"publishRate":-0}}`, `{"members":[],"presence":[],"publish":[],"subscribe":[]},` +
			unlimited},
		{`{"access":{},"quotas":{}}`, open + "," + unlimited},
	} {
		status, p := h.admin("PATCH", path, c.body)
		if got := shown(p); status != 200 || got != "["+c.want+"]" {
			t.Errorf("%s: %d\n%s, want\n[%s]", c.body, status, got, c.want)
		}
	}
	for _, body := range []string{
		`{"access":[]}`, `{"access":{"subscribe":"*"}}`, `{"access":{"subscribe":["a*b"]}}`, `{"access":{"subscribe":[""]}}`,
		`{"access":{"history":[]}}`, `{"access":{"publish":["a"]}}`, `{"access":{"publish":[{"pattern":"a"}]}}`,
		`{"access":{"publish":[{"pattern":"a","rate":0}]}}`, `{"access":{"publish":[{"pattern":"a","rate":-0}]}}`,
		`{"access":{"publish":[{"pattern":"a","rate":-1}]}}`, `{"access":{"members":["a*b"]}}`,
		`{"access":{"publish":[{"pattern":"a","rate":"1"}]}}`, `{"access":{"publish":[{"pattern":"a","rate":1e400}]}}`,
		`{"access":{"publish":[{"pattern":"a","rate":1,"burst":0}]}}`, `{"access":{"publish":[{"rate":1}]}}`,
		`{"quotas":{"connections":-1}}`, `{"quotas":{"channels":1.5}}`, `{"quotas":{"subscriptions":-1}}`,
		`{"quotas":{"publishRate":-1}}`, `{"quotas":{"bytes":1}}`,
		`{"quotas":{"publishRate":null}}`,
	} {
		if status, answer := h.admin("PATCH", path, body); status != 400 || answer["code"] != "invalid_message" {
			t.Errorf("%s: %d %v", body, status, answer)
		}
	}
}
