package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
)

func TestAdminTokens(t *testing.T) {
	h := newHarness(t, "portable")
	status, made := h.admin("POST", "/tokens", `{"name":"ci","role":"operator"}`)
	text, _ := made["token"].(string)
	if status != 201 || made["name"] != "ci" || made["role"] != "operator" || text == "" || made["id"] == "" ||
		made["createdAt"] == nil {
		t.Fatalf("got %d %v", status, made)
	}
	for _, body := range []string{
		`{}`, `{"name":"ci"}`, `{"role":"viewer"}`, `{"name":"","role":"viewer"}`, `{"name":"a","role":"root"}`,
		`{"name":"a","role":"viewer","token":"b"}`, `{"name":"a","role":1}`,
	} {
		if status, answer := h.admin("POST", "/tokens", body); status != 400 || answer["code"] != "invalid_message" {
			t.Errorf("%s: %d %v", body, status, answer)
		}
	}
	res, who := h.do("GET", "/admin/v1/whoami", "", "Authorization", "Bearer "+text)
	if res.StatusCode != 200 || who["id"] != made["id"] || who["name"] != "ci" || who["role"] != "operator" {
		t.Errorf("got %d %v", res.StatusCode, who)
	}
	status, list := h.admin("GET", "/tokens", "")
	if shown := fmt.Sprint(list); status != 200 || strings.Contains(shown, text) || len(list["tokens"].([]any)) != 2 ||
		!strings.Contains(shown, fmt.Sprint(made["id"])) {
		t.Errorf("got %d %v", status, list)
	}
	if status, _ := h.admin("DELETE", fmt.Sprintf("/tokens/%v", made["id"]), ""); status != 204 {
		t.Errorf("revoke: %d", status)
	}
	if res, _ := h.do("GET", "/admin/v1/whoami", "", "Authorization", "Bearer "+text); res.StatusCode != 401 {
		t.Errorf("a revoked token: %d", res.StatusCode)
	}
}

func TestAuditSaysWhoAndFromWhere(t *testing.T) {
	h := newHarness(t, "portable")
	call := func(method, path, body string, header ...string) {
		t.Helper()
		header = append(header, "Authorization", "Bearer "+adminToken, "Content-Type", "application/json")
		if res, answer := h.do(method, "/admin/v1"+path, body, header...); res.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %v", method, path, res.StatusCode, answer)
		}
	}
	call("POST", "/projects", `{"name":"a"}`)
	call("POST", "/projects/"+testProject+"/keys", `{"kind":"server"}`, "User-Agent", "aptlyd-cli/1.0")
	call("DELETE", "/members?name=n2", "")
	call("GET", "/backup", "")
	var got []string
	for cursor := ""; ; {
		_, page := h.admin("GET", "/audit?limit=3&cursor="+cursor, "")
		for _, r := range page["audit"].([]any) {
			r := r.(map[string]any)
			by := r["by"].(map[string]any)
			got = append(got, fmt.Sprint(r["seq"], " ", by["id"], " ", by["name"], " ", by["address"], " ", by["via"], " ",
				r["action"]))
		}
		if cursor = page["next"].(string); cursor == "" {
			break
		}
	}
	who := fsm.FirstAdminToken + " first 127.0.0.1 "
	want := []string{
		"4 " + who + "api backup.read", "3 " + who + "api member.remove", "2 " + who + "cli key.create",
		"1 " + who + "api project.create",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if status, answer := h.admin("GET", "/audit?cursor=x", ""); status != 400 {
		t.Errorf("a cursor of nobody: %d %v", status, answer)
	}
}
