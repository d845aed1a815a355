package gateway

import "testing"

func TestConsoleTokenReadsOneProject(t *testing.T) {
	h := newHarness(t, "portable")
	status, answer := h.admin("POST", "/projects/"+testProject+"/console-token", "")
	text, _ := answer["token"].(string)
	if life := int64(answer["expiresAt"].(float64)) - h.broker.Stamp(); status != 200 || life <= 0 || life > consoleTokenLife.Milliseconds() {
		t.Fatalf("got %d %v, %d ms ahead", status, answer, life)
	}
	h.fill("news", 2)
	c := h.open(text)
	c.subscribe("news", "")
	c.wantMessages("news", 1, 2, true)
	c.text(`{"type":"publish","channel":"news","message":1}`)
	c.wantError(CodeForbidden)
	if status, _ := h.admin("POST", "/projects/none/console-token", ""); status != 404 {
		t.Errorf("a token for no project: %d", status)
	}
}
