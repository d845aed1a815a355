package gateway

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// admin makes a call as the operator.
func (h *harness) admin(method, path, body string) (int, map[string]any) {
	h.t.Helper()
	res, decoded := h.do(method, "/admin/v1"+path, body, "Authorization", "Bearer "+adminToken, "Content-Type",
		"application/json")
	return res.StatusCode, decoded
}

func TestAdminProjects(t *testing.T) {
	h := newHarness(t, "portable")
	status, p := h.admin("POST", "/projects",
		`{"name":"shop","allowedOrigins":["HTTPS://Shop.example:443"],"allowNativeClients":true}`)
	if status != 201 || p["name"] != "shop" || fmt.Sprint(p["allowedOrigins"]) != "[https://shop.example]" ||
		p["allowNativeClients"] != true {
		t.Fatalf("got %d %v", status, p)
	}
	keys := p["keys"].([]any)
	for i, kind := range []string{"public", "server"} {
		k := keys[i].(map[string]any)
		if text, _ := k["key"].(string); k["kind"] != kind || auth.CheckKeyText(text) != nil {
			t.Errorf("key %d is %v", i, k)
		}
	}
	id := p["id"].(string)
	_, p = h.admin("GET", "/projects/"+id, "")
	for _, k := range p["keys"].([]any) {
		k := k.(map[string]any)
		if text, shown := k["key"].(string); shown != (k["kind"] == "public") {
			t.Errorf("%v key is shown as %q", k["kind"], text)
		}
		if prefix, _ := k["prefix"].(string); len(prefix) != 8 {
			t.Errorf("prefix of %v", k)
		}
	}

	rules := `[{"pattern":"chat:*","keepMessages":50,"keepFor":"36h","keepBytes":1048576,"initial":{"last":50},` +
		`"durability":"quorum"},` +
		`{"pattern":"cursor","initial":"live","durability":"memory"}]`
	status, p = h.admin("PATCH", "/projects/"+id, `{"rules":`+rules+`,"allowedOrigins":[]}`)
	shown, _ := json.Marshal(p["rules"])
	want := `[{"durability":"quorum","initial":{"last":50},"keepBytes":1048576,"keepFor":"36h","keepMessages":50,` +
		`"pattern":"chat:*"},` +
		`{"durability":"memory","initial":"live","keepBytes":0,"keepFor":"24h","keepMessages":1000,"pattern":"cursor"}]`
	if status != 200 || string(shown) != want || p["name"] != "shop" {
		t.Errorf("got %d %v\nrules %s\nwant  %s", status, p, shown, want)
	}
	project, _ := h.broker.Project(id)
	if got := project.Rule("chat:1"); got.KeepFor != 36*time.Hour || got.Initial.Last != 50 {
		t.Errorf("rule is %+v", got)
	}

	if status, _ = h.admin("DELETE", "/projects/"+id, ""); status != 204 {
		t.Errorf("delete: %d", status)
	}
	if status, p = h.admin("GET", "/projects/"+id, ""); status != 404 || p["code"] != "not_found" {
		t.Errorf("a deleted project: %d %v", status, p)
	}
}

func TestAdminKeys(t *testing.T) {
	h := newHarness(t, "portable", func(c *Config) { c.CloseGrace = 20 * time.Millisecond })
	status, k := h.admin("POST", "/projects/"+testProject+"/keys", `{"kind":"server","name":"ci"}`)
	if status != 201 || k["name"] != "ci" || k["kind"] != "server" {
		t.Fatalf("got %d %v", status, k)
	}
	old, _ := k["key"].(string)
	c := h.open(old)
	c.subscribe("c", "")

	_, p := h.admin("GET", "/projects/"+testProject, "")
	for _, shown := range p["keys"].([]any) {
		shown := shown.(map[string]any)
		if used := shown["id"] == k["id"]; used != (shown["connections"] == 1.0) {
			t.Errorf("one client uses %v, got %v", k["id"], shown)
		}
	}
	if status, _ := h.admin("GET", "/keys/key_NONE/connections", ""); status != 404 {
		t.Errorf("connections of no key: %d", status)
	}
	_, list := h.admin("GET", fmt.Sprintf("/keys/%v/connections", k["id"]), "")
	conns, _ := list["connections"].([]any)
	if len(conns) != 1 {
		t.Fatalf("got %v", list)
	}
	conn := conns[0].(map[string]any)
	if conn["keyId"] != k["id"] || conn["origin"] != testOrigin || conn["address"] != "127.0.0.1" ||
		conn["node"] != "node-under-test" ||
		conn["state"] != "live" || fmt.Sprint(conn["channels"]) != "[c]" || conn["since"].(float64) < 1e12 {
		t.Errorf("got %v", conn)
	}

	status, next := h.admin("POST", fmt.Sprintf("/keys/%v/rotate", k["id"]), `{"overlap":"1h"}`)
	replaces, _ := next["replaces"].(map[string]any)
	if status != 201 || next["key"] == old || replaces["id"] != k["id"] ||
		replaces["expiresAt"] != float64(1_764_000_000_000+3_600_000) {
		t.Errorf("got %d %v", status, next)
	}
	if status, _ = h.admin("POST", fmt.Sprintf("/keys/%v/rotate", k["id"]), ""); status != 201 {
		t.Errorf("rotate without a body: %d", status)
	}
	if status, _ = h.admin("DELETE", fmt.Sprintf("/keys/%v", k["id"]), ""); status != 204 {
		t.Errorf("revoke: %d", status)
	}
	c.wantError(refusal.KeyRevoked)
	c.wantClose(1000)
	if status, e := h.admin("DELETE", "/keys/none", ""); status != 404 || e["code"] != "not_found" || e["error"] == "" {
		t.Errorf("got %d %v", status, e)
	}
}

func TestAdminLists(t *testing.T) {
	h := newHarness(t, "portable")
	for i := range 5 {
		h.fill(fmt.Sprintf("room/%d", i), i+1)
	}
	sub := h.open(h.public)
	sub.subscribe("room/4", `,"from":"live"`)
	var names []string
	var subscribers float64
	for cursor := ""; ; {
		_, list := h.admin("GET", "/projects/"+testProject+"/channels?limit=2&cursor="+url.QueryEscape(cursor), "")
		for _, c := range list["channels"].([]any) {
			c := c.(map[string]any)
			names = append(names, fmt.Sprint(c["name"], " ", c["offset"], " ", c["earliest"]))
			subscribers += c["subscribers"].(float64)
		}
		if cursor = list["next"].(string); cursor == "" {
			break
		}
	}
	want := []string{"room/0 1 1", "room/1 2 1", "room/2 3 1", "room/3 4 1", "room/4 5 1"}
	if !slices.Equal(names, want) || subscribers != 1 {
		t.Errorf("got %v with %v subscribers, want %v", names, subscribers, want)
	}
	_, page := h.admin("GET", "/projects/"+testProject+"/messages?channel=room%2F4&after=2&limit=2", "")
	if page["channel"] != "room/4" || len(page["messages"].([]any)) != 2 || page["offset"] != 5.0 {
		t.Errorf("got %v", page)
	}
	_, list := h.admin("GET", "/projects?limit=1", "")
	if len(list["projects"].([]any)) != 1 || list["next"] != "" {
		t.Errorf("got %v", list)
	}
	res, body := h.do("GET", "/admin/v1/backup", "", "Authorization", "Bearer "+adminToken)
	if res.StatusCode != 200 || body["everything"] != true || res.ContentLength != int64(len(`{"everything":true}`)) {
		t.Errorf("backup: %d %v %d", res.StatusCode, body, res.ContentLength)
	}
	if res, _ := h.do("GET", "/admin/v1/backup", "", "Authorization", "Bearer another"); res.StatusCode != 401 {
		t.Errorf("backup without the token: %d", res.StatusCode)
	}
	if res, _ := h.do("POST", "/admin/v1/backup", "", "Authorization", "Bearer "+adminToken); res.StatusCode != 405 {
		t.Errorf("POST backup: %d", res.StatusCode)
	}
	if status, d := h.admin("GET", "/diagnosis", ""); status != 200 ||
		fmt.Sprint(d["findings"]) != "[map[check:clock node:n1 ok:true text:n1 is on time]]" {
		t.Errorf("diagnosis: %d %v", status, d)
	}
	if status, _ := h.admin("DELETE", "/members?name=n2", ""); status != 204 {
		t.Errorf("remove a member: %d", status)
	}
	if status, s := h.admin("DELETE", "/members?name=n9", ""); status != 404 || s["code"] != "not_found" {
		t.Errorf("remove an unknown member: %d %v", status, s)
	}
	if status, s := h.admin("GET", "/status", ""); status != 200 || s["leader"] != "node-under-test" || s["term"] != 1.0 {
		t.Errorf("got %d %v", status, s)
	}
}

func TestAdminSettings(t *testing.T) {
	h := newHarness(t, "portable")
	for _, c := range []struct {
		method, body string
		want         float64
	}{
		{"GET", "", 0},
		{"PATCH", `{"maxBytes":1048576}`, 1048576},
		{"PATCH", `{}`, 1048576},
		{"GET", "", 1048576},
		{"PATCH", `{"maxBytes":0}`, 0},
	} {
		if status, s := h.admin(c.method, "/settings", c.body); status != 200 || s["maxBytes"] != c.want {
			t.Errorf("%s %s: got %d %v, want %v", c.method, c.body, status, s, c.want)
		}
	}
}

func TestAdminRefusals(t *testing.T) {
	h := newHarness(t, "portable")
	project := "/projects/" + testProject
	for _, c := range []struct {
		method, path, body string
		status             int
		code               refusal.Code
	}{
		{"POST", "/projects", `{}`, 400, refusal.InvalidMessage},
		{"POST", "/projects", `{"name":""}`, 400, refusal.InvalidMessage},
		{"POST", "/projects", `{"name":"a\u0000"}`, 400, refusal.InvalidMessage},
		{"POST", "/projects", `{"name":"a","color":"red"}`, 400, refusal.InvalidMessage},
		{"POST", "/projects", `{"name":"a","name":"b"}`, 400, refusal.InvalidMessage},
		{"POST", "/projects", `{"name":"a","rules":[]}`, 400, refusal.InvalidMessage},
		{"POST", "/projects", `{"name":"a","allowedOrigins":["https://a.example/path"]}`, 400, refusal.InvalidMessage},
		{"POST", "/projects", `{"name":"a","allowedOrigins":"*"}`, 400, refusal.InvalidMessage},
		{"POST", "/projects", `{"name":"a","allowNativeClients":1}`, 400, refusal.InvalidMessage},
		{"POST", "/projects", `nonsense`, 400, refusal.InvalidMessage},
		{"PATCH", "/projects/none", `{"name":"a"}`, 404, refusal.NotFound},
		{"PATCH", project, `{"rules":[{"pattern":"a*b"}]}`, 400, refusal.InvalidMessage},
		{"PATCH", project, `{"rules":[{}]}`, 400, refusal.InvalidMessage},
		{"PATCH", project, `{"rules":[{"pattern":"*","keepFor":"1"}]}`, 400, refusal.InvalidMessage},
		{"PATCH", project, `{"rules":[{"pattern":"*","keepFor":"-1h"}]}`, 400, refusal.InvalidMessage},
		{"PATCH", project, `{"rules":[{"pattern":"*","keepMessages":0}]}`, 400, refusal.InvalidMessage},
		{"PATCH", project, `{"rules":[{"pattern":"*","keepBytes":-1}]}`, 400, refusal.InvalidMessage},
		{"PATCH", project, `{"rules":[{"pattern":"*","initial":{"last":0}}]}`, 400, refusal.InvalidMessage},
		{"PATCH", project, `{"rules":[{"pattern":"*","initial":"some"}]}`, 400, refusal.InvalidMessage},
		{"PATCH", project, `{"rules":[{"pattern":"*","durability":"none"}]}`, 400, refusal.InvalidMessage},
		{"PATCH", project, `{"rules":[{"pattern":"*","colour":1}]}`, 400, refusal.InvalidMessage},
		{
			"PATCH", project, `{"rules":[` + strings.Repeat(`{"pattern":"*"},`, 100) + `{"pattern":"*"}]}`, 400,
			refusal.InvalidMessage,
		},
		{"POST", project + "/keys", `{"kind":"root"}`, 400, refusal.InvalidMessage},
		{"POST", "/projects/none/keys", `{"kind":"public"}`, 404, refusal.NotFound},
		{"POST", "/keys/none/rotate", `{"overlap":"later"}`, 400, refusal.InvalidMessage},
		{"POST", "/keys/none/rotate", `{"overlap":0}`, 404, refusal.NotFound},
		{"GET", project + "/channels?limit=x", "", 400, refusal.InvalidMessage},
		{"GET", project + "/channels?color=red", "", 400, refusal.InvalidMessage},
		{"GET", "/projects/none/channels", "", 404, refusal.NotFound},
		{"PATCH", "/settings", `{"maxBytes":-1}`, 400, refusal.InvalidMessage},
		{"PATCH", "/settings", `{"maxBytes":1048575}`, 400, refusal.InvalidMessage},
		{"PATCH", "/settings", `{"maxBytes":"1GB"}`, 400, refusal.InvalidMessage},
		{"PATCH", "/settings", `{"minBytes":1}`, 400, refusal.InvalidMessage},
		{"PUT", "/projects", `{}`, 405, refusal.InvalidMessage},
		{"GET", "/nowhere", "", 404, refusal.NotFound},
	} {
		status, body := h.admin(c.method, c.path, c.body)
		if status != c.status || body["code"] != string(c.code) || body["error"] == "" {
			t.Errorf("%s %s %.60s: got %d %v, want %d %s", c.method, c.path, c.body, status, body, c.status, c.code)
		}
	}
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} { // RFC 9110, section 11.1
		if res, _ := h.do("GET", "/admin/v1/whoami", "", "Authorization", scheme+adminToken); res.StatusCode != 200 {
			t.Errorf("%q: got %s", scheme, res.Status)
		}
	}
	for _, token := range []string{"", "Bearer", "Bearer wrong", "Basic " + adminToken, adminToken} {
		res, body := h.do("GET", "/admin/v1/status", "", "Authorization", token)
		if res.StatusCode != 401 {
			t.Errorf("token %q: got %d %v", token, res.StatusCode, body)
		}
	}
}

func receiptOf(offset uint64) fsm.Receipt { return fsm.Receipt{Offset: offset + 1, Timestamp: 1} }
