package gateway

import (
	"fmt"
	"strings"
	"testing"
)

func TestAdminChecksOrigins(t *testing.T) {
	h := newHarness(t, "portable")
	for _, c := range []struct {
		body, rules, reason string
		allowed             bool
	}{
		{
			`{"rules":["https://*.Example.com"],"origin":"https://a.example.com"}`,
			"map[rule:https://*.example.com valid:true]",
			"origin https://a.example.com is allowed by https://*.example.com", true,
		},
		{
			`{"rules":["https://*.example.com"],"origin":"https://example.com"}`,
			"map[rule:https://*.example.com valid:true]",
			"origin https://example.com is not the project's allowed origin https://*.example.com", false,
		},
		{
			`{"rules":["example.com"],"origin":"https://example.com"}`,
			`map[error:allowed origin "example.com": not of the form scheme://host or scheme://host:port rule:example.com ` +
				`valid:false]`,
			"origin https://example.com is refused: the project allows no origin", false,
		},
		{`{"rules":["*"],"origin":"null"}`, "map[rule:* valid:true]", "origin null is allowed by *", true},
		{`{"origin":""}`, "", "a client without an origin is a native client, which the project does not allow", false},
		{
			`{"origin":"","allowNativeClients":true}`, "",
			"a client without an origin is a native client, which the project allows", true,
		},
		{
			`{"rules":["https://a.example"],"origin":"a.example"}`, "map[rule:https://a.example valid:true]",
			"origin a.example is not of the form scheme://host or scheme://host:port", false,
		},
	} {
		status, answer := h.admin("POST", "/origins/check", c.body)
		if got := fmt.Sprint(answer["rules"]); status != 200 || got != "["+c.rules+"]" ||
			answer["allowed"] != c.allowed || answer["reason"] != c.reason {
			t.Errorf("%s: got %d %v", c.body, status, answer)
		}
	}
	for _, body := range []string{`{"rules":[1]}`, `{"rules":"*"}`, `{"origin":1}`, `{"rule":[]}`} {
		if status, _ := h.admin("POST", "/origins/check", body); status != 400 {
			t.Errorf("%s: got %d", body, status)
		}
	}
}

// Whoever asks of a shell's origin hears what it is worth, and of one that no rule can
// name what to do instead.
func TestAdminNotesOfOriginsOfShells(t *testing.T) {
	h := newHarness(t, "portable")
	for origin, c := range map[string]struct {
		allowed bool // by a rule of its own
		note    string
	}{
		"app://.":                 {true, "every app of this kind"},
		"app://localhost":         {true, "every app of this kind"},
		"capacitor://localhost":   {true, "every app of this kind"},
		"ionic://localhost":       {true, "every app of this kind"},
		"tauri://localhost":       {true, "every app of this kind"},
		"https://tauri.localhost": {true, "every Android app"},
		"https://localhost":       {true, "every Android app"},
		"chrome-extension://abcdefghijklmnopabcdefghijklmnop":  {true, "its id"},
		"moz-extension://8d4e1c6a-0b1f-4a54-9d8c-1f0f7a3c2b11": {true, "one installation to the next"},
		"file://":               {false, "serve the page under a scheme of its own"},
		"null":                  {false, "serve the page under a scheme of its own"},
		"https://app.example":   {true, ""},
		"http://localhost:3000": {true, ""},
	} {
		status, answer := h.admin("POST", "/origins/check", fmt.Sprintf(`{"rules":[%q],"origin":%q}`, origin, origin))
		note, _ := answer["note"].(string)
		if status != 200 || answer["allowed"] != c.allowed || (note == "") != (c.note == "") ||
			!strings.Contains(note, c.note) {
			t.Errorf("%s: got %d %v", origin, status, answer)
		}
	}
}

func TestAdminShowsHistory(t *testing.T) {
	h := newHarness(t, "portable")
	status, answer := h.admin("GET", "/metrics/history?minutes=5", "")
	series, _ := answer["series"].(map[string]any)
	if status != 200 || answer["stepSeconds"] != 10.0 || fmt.Sprint(series["connections"]) != "[1 <nil>]" {
		t.Errorf("got %d %v", status, answer)
	}
	if status, _ := h.admin("GET", "/metrics/history?minutes=61", ""); status != 400 {
		t.Errorf("more than is remembered: %d", status)
	}
}

func TestTotalsCountWhatMetricsShow(t *testing.T) {
	h := newHarness(t, "portable")
	c := h.open(h.secret)
	c.subscribe("c", "")
	h.fill("c", 3)
	c.wantMessages("c", 1, 3, false)
	if got := h.server.Totals(); got.Deliveries != 3 || got.BytesOut < 3*50 || got.Refusals != 0 {
		t.Errorf("got %+v", got)
	}
	h.admin("GET", "/nowhere", "")
	if got := h.server.Totals(); got.Refusals != 1 {
		t.Errorf("got %+v", got)
	}
}
