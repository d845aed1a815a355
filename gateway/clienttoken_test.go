package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A token that an operator makes works as one of a backend, and the verdict about it is what a
// client meets.
func TestOperatorsMakeAndCheckTokens(t *testing.T) {
	h := newHarness(t, "portable")
	keys := h.broker.Keys(testProject)
	ids := make(map[string]string)
	for _, k := range keys {
		ids[string(k.Kind)] = k.ID
	}
	mint := func(key, body string, want int) map[string]any {
		t.Helper()
		status, answer := h.admin("POST", "/keys/"+key+"/token", body)
		if status != want {
			t.Fatalf("%s: %d %v", body, status, answer)
		}
		return answer
	}
	check := func(token, more string) map[string]any {
		t.Helper()
		status, answer := h.admin("POST", "/client-tokens/check", fmt.Sprintf(`{"token":%q%s}`, token, more))
		if status != 200 {
			t.Fatalf("check: %d %v", status, answer)
		}
		return answer
	}
	made := mint(ids["server"], `{"sub":"user-17","channels":{"chat:*":["subscribe"]},"origins":["https://a.example"],`+
		`"lifetime":"1h"}`, 201)
	token := made["token"].(string)
	left := int64(made["expiresAt"].(float64)) - h.broker.Stamp()
	if left > time.Hour.Milliseconds() || left < 59*time.Minute.Milliseconds() { // in whole seconds
		t.Errorf("it ends %d ms after now", left)
	}
	if verdict := check(token, `,"channel":"chat:1","origin":"https://a.example"`); verdict["valid"] != true ||
		verdict["kind"] != "token" || verdict["sub"] != "user-17" || verdict["keyId"] != ids["server"] ||
		fmt.Sprint(verdict["actions"]) != "[map[action:subscribe allowed:true] "+
			"map[action:publish allowed:false reason:the token does not allow to publish here] "+
			"map[action:history allowed:false reason:the token does not allow to read here] "+
			"map[action:presence allowed:false reason:the token does not allow to be a member here] "+
			"map[action:members allowed:false reason:the token does not allow to see the members here]]" {
		t.Errorf("the verdict is %v", verdict)
	}
	if verdict := check(token, `,"origin":"https://b.example"`); verdict["valid"] != false ||
		verdict["code"] != "origin_not_allowed" {
		t.Errorf("of another origin: %v", verdict)
	}
	for credential, code := range map[string]any{
		token + "x": "token_invalid", "a.b.c": "token_invalid",
		"pk_nonsense": "invalid_key",
	} {
		if verdict := check(credential, ""); verdict["valid"] != false || verdict["code"] != code {
			t.Errorf("%s: %v", credential, verdict)
		}
	}
	for key, kind := range map[string]any{h.public: "public", h.secret: "server"} {
		if verdict := check(key, ""); verdict["valid"] != true || verdict["kind"] != kind {
			t.Errorf("%s key: %v", kind, verdict)
		}
	}
	h.open(mint(ids["server"], `{"channels":{"chat:*":["subscribe"]}}`, 201)["token"].(string)).subscribe("chat:1", "")
	if audit := h.broker.Audit(0, 10); audit[0].Action != "token.mint" || audit[0].Target != ids["server"] {
		t.Errorf("the audit has %+v", audit)
	}
	for body, why := range map[string]string{
		`{}`:                                     "channels",
		`{"channels":{"a":["fly"]}}`:             "fly",
		`{"channels":{},"lifetime":"48h"}`:       "lifetime",
		`{"channels":{},"exp":1}`:                "unknown name",
		`{"channels":{},"origins":["nonsense"]}`: "nonsense",
	} {
		if answer := mint(ids["server"], body, 400); !strings.Contains(answer["error"].(string), why) {
			t.Errorf("%s: %v", body, answer)
		}
	}
	mint(ids["public"], `{"channels":{}}`, 400)
	mint("none", `{"channels":{}}`, 404)
}
