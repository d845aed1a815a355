package node

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestPublicURL(t *testing.T) {
	for given, want := range map[string]string{
		"":                              "",
		"wss://rt1.example.com":         "wss://rt1.example.com",
		"https://rt.example.com/node1/": "wss://rt.example.com/node1",
		"http://10.0.0.1:8080":          "ws://10.0.0.1:8080",
	} {
		cfg := DefaultConfig()
		cfg.PublicURL = given
		if err := cfg.Validate(); err != nil || cfg.PublicURL != want {
			t.Errorf("%q: got %q, %v, want %q", given, cfg.PublicURL, err, want)
		}
	}
	for _, given := range []string{
		"rt1.example.com", "ftp://rt", "wss://", "wss://u:p@rt", "wss://rt?key=1", "wss://rt/#a", "wss://" +
			strings.Repeat("a", maxPublicURL),
		"wss://rt/" + strings.Repeat("&", maxPublicURL/2),
	} {
		cfg := DefaultConfig()
		cfg.PublicURL = given
		var wrong *ConfigError
		if err := cfg.Validate(); !errors.As(err, &wrong) || wrong.Setting != "public-url" {
			t.Errorf("%q: %v", given, err)
		}
	}
}

// Longer stats would be cut off, and the others would know nothing of the node.
func TestStatsFit(t *testing.T) {
	const carried = 512
	full := nodeStats{1 << 40, 1 << 60, 1 << 63, 1 << 63, strings.Repeat("a", maxPublicURL)}
	encoded, err := json.Marshal(full)
	if err != nil || len(encoded) > carried {
		t.Errorf("stats have %d bytes, %v", len(encoded), err)
	}
}

func TestHostNames(t *testing.T) {
	cfg := DefaultConfig()
	if cfg.PublicURL = "wss://rt1.example.com:8443/x"; len(cfg.hostNames()) != 0 {
		t.Error("without --allowed-hosts there are names")
	}
	cfg.AllowedHosts = []string{"rt.example.com"}
	if got := cfg.hostNames(); len(got) != 2 || got[1] != "rt1.example.com" || len(cfg.AllowedHosts) != 1 {
		t.Errorf("%q", got)
	}
	cfg.AllowedHosts = []string{"https://rt.example.com"}
	var wrong *ConfigError
	if err := cfg.Validate(); !errors.As(err, &wrong) || wrong.Setting != "allowed-hosts" {
		t.Errorf("%v", err)
	}
}
