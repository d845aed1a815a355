package gateway

import (
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

const (
	hostedPublic = "pk_7hYtR2mQx9LwZ4bNcK8vJ1sDfG5pA3eU6iOqWzXr"
	hostedServer = "sk_7hYtR2mQx9LwZ4bNcK8vJ1sDfG5pA3eU6iOqWzXr"
)

func TestImportedKeyAuthenticates(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.Limits.FailedAuthBurst = 1000 })
		refused := func(text string) {
			t.Helper()
			c := h.dial("Origin: " + testOrigin + "\r\n")
			c.text(`{"type":"auth","apiKey":%q}`, text)
			c.wantError(refusal.InvalidKey)
		}
		refused(hostedPublic)
		if got := h.lastRefusal(refusal.Query{Code: refusal.InvalidKey}).Detail; !strings.Contains(got, "wrong checksum") {
			t.Errorf("the refusal says %q", got)
		}
		if h.broker.rounds() != 0 {
			t.Error("the cluster was asked about a text without a checksum")
		}
		path := "/projects/" + testProject + "/keys"
		status, made := h.admin("POST", path, `{"kind":"public","name":"hosted","key":"`+hostedPublic+`"}`)
		if status != 201 || made["imported"] != true || made["key"] != hostedPublic {
			t.Fatalf("%d %v", status, made)
		}
		if status, made := h.admin("POST", path, `{"kind":"server","name":"x","key":"`+hostedPublic+`"}`); status != 400 {
			t.Errorf("a public key as a server key: %d %v", status, made)
		}
		c := h.open(hostedPublic)
		c.subscribe("c", "")
		// Another one may have been imported a moment ago, elsewhere.
		refused(hostedServer)
		if h.broker.rounds() == 0 {
			t.Error("the cluster was not asked about a text that may be an imported key")
		}
		_, project := h.admin("GET", "/projects/"+testProject, "")
		shown := 0
		for _, key := range project["keys"].([]any) {
			if key.(map[string]any)["imported"] == true {
				shown++
			}
		}
		if shown != 1 {
			t.Errorf("%d imported keys are shown", shown)
		}
	})
}

func TestFirstOffsetOfAProject(t *testing.T) {
	h := newHarness(t, "portable")
	path := "/projects/" + testProject
	if _, shown := h.admin("GET", path, ""); shown["firstOffset"] != 1.0 {
		t.Errorf("it is %v", shown["firstOffset"])
	}
	if status, shown := h.admin("PATCH", path, `{"firstOffset":5000000}`); status != 200 || shown["firstOffset"] != 5e6 {
		t.Errorf("%d %v", status, shown)
	}
	for _, wrong := range []string{`0`, `-1`, `1.5`, `"7"`, `1000000000000001`, `null`} {
		if status, _ := h.admin("PATCH", path, `{"firstOffset":`+wrong+`}`); status != 400 {
			t.Errorf("%s: %d", wrong, status)
		}
	}
}
