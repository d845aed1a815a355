package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// A BootstrapExpect of 0 counts the nodes that Join names.
func TestBootstrapExpectCountsTheNodesToJoin(t *testing.T) {
	for _, c := range []struct {
		join []string
		want int
	}{
		{nil, 1},
		{[]string{"127.0.0.1:7401"}, 1},
		{[]string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:2"}, 3},
		{[]string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", "127.0.0.1:5", "127.0.0.1:6"}, 5},
	} {
		cfg := DefaultConfig()
		cfg.BootstrapExpect, cfg.Join = 0, c.join
		if err := cfg.Validate(); err != nil || cfg.BootstrapExpect != c.want {
			t.Errorf("%d of %v are expected (%v), want %d", cfg.BootstrapExpect, c.join, err, c.want)
		}
	}
}

func TestValidateNamesTheSetting(t *testing.T) {
	for _, c := range []struct {
		setting string
		change  func(*Config)
	}{
		{"node-name", func(c *Config) { c.NodeName = "" }},
		{"node-name", func(c *Config) { c.NodeName = "a b" }},
		{"node-name", func(c *Config) { c.NodeName = strings.Repeat("n", 64) }},
		{"node-name", func(c *Config) { c.NodeName = "n\xff" }},
		{"data-dir", func(c *Config) { c.DataDir = "" }},
		{"bootstrap-expect", func(c *Config) { c.BootstrapExpect = -1 }},
		{"cluster-secret", func(c *Config) { c.ClusterSecrets = []string{"short"} }},
		{"cluster-secret", func(c *Config) { c.ClusterSecrets = []string{"a secret of enough length", "short"} }},
		{"cluster-secret", func(c *Config) { c.ClusterSecrets = []string{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"} }},
		{"cluster-secret", func(c *Config) { c.ClusterSecrets = []string{"changemechangeme"} }},
		{"publish-timeout", func(c *Config) { c.PublishTimeout = 0 }},
		{"drain-timeout", func(c *Config) { c.DrainTimeout = -time.Second }},
		{"listen", func(c *Config) { c.Listen = "8080" }},
		{"peer-listen", func(c *Config) { c.PeerListen = "0.0.0.0:7400" }},
		{"gossip-listen", func(c *Config) { c.GossipListen = "192.0.2.1:7401" }},
		{"join", func(c *Config) { c.Join = []string{"192.0.2.1:7401"} }},
		{"join", func(c *Config) { c.Join = []string{"localhost"} }},
		{"advertise", func(c *Config) { c.Advertise = "192.0.2.1" }},
		{"bootstrap-public-key", func(c *Config) { c.BootstrapPublicKey = "pk_short" }},
		{"bootstrap-server-key", func(c *Config) { c.BootstrapServerKey = newKey("p", "public", "").Secret }},
		{"admin-token", func(c *Config) { c.AdminToken = "guess" }},
		{"tls-key", func(c *Config) { c.TLSCert = "cert.pem" }},
		{"tls-cert", func(c *Config) { c.TLSKey = "key.pem" }},
		{"max-message-bytes", func(c *Config) { c.Limits.MaxMessageBytes = 2 << 20 }},
		{"max-json-depth", func(c *Config) { c.Limits.MaxDepth = 1 << 20 }},
		{"silence-timeout", func(c *Config) { c.Limits.SilenceTimeout = c.Limits.PingAfter }},
		{"heartbeat", func(c *Config) { c.Limits.Heartbeat = -1 }},
		{"key-publish-rate", func(c *Config) { c.Limits.KeyPublish = -1 }},
	} {
		cfg := DefaultConfig()
		c.change(&cfg)
		var wrong *ConfigError
		if err := cfg.Validate(); !errors.As(err, &wrong) || wrong.Setting != c.setting {
			t.Errorf("%s: got %v", c.setting, err)
		}
	}
}

func TestWithoutSecretPeerPortsAreLoopback(t *testing.T) {
	cfg := DefaultConfig()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	if cfg.PeerListen != "127.0.0.1:7400" || cfg.GossipListen != "127.0.0.1:7401" {
		t.Errorf("peer %s, gossip %s", cfg.PeerListen, cfg.GossipListen)
	}
	cfg = DefaultConfig()
	cfg.ClusterSecrets = []string{"a secret of enough length"}
	cfg.Join = []string{"192.0.2.1:7401"}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	if cfg.PeerListen != ":7400" {
		t.Errorf("with a secret the peer port must stay as it was given: %s", cfg.PeerListen)
	}
}

func TestDataDirOthersCanReadIsClosedOrRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	mode := func() os.FileMode {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	var logged strings.Builder
	log := slog.New(slog.NewTextHandler(&logged, nil))
	if err := prepareDataDir(dir, log); err != nil || mode().Perm() != 0o700 || logged.Len() > 0 {
		t.Errorf("a new data folder: %v, mode %v, %s", err, mode(), &logged)
	}
	// What the kubelet does for a pod with an fsGroup.
	if err := os.Chmod(dir, os.ModeSetgid|0o770); err != nil {
		t.Fatal(err)
	}
	if err := prepareDataDir(dir, log); err != nil || mode() != os.ModeDir|0o700 {
		t.Errorf("one's own that the group can read: %v, mode %v", err, mode())
	}
	if !strings.Contains(logged.String(), "closed again") || !strings.Contains(logged.String(), "mode=770") {
		t.Errorf("nobody was warned: %s", &logged)
	}
	if os.Geteuid() != 0 {
		t.Log("NOT TESTED: a folder of somebody else; that takes root")
		return
	}
	if err := errors.Join(os.Chown(dir, 12345, -1), os.Chmod(dir, 0o750)); err != nil {
		t.Fatal(err)
	}
	var wrong *ConfigError
	if err := prepareDataDir(dir, log); !errors.As(err, &wrong) || wrong.Setting != "data-dir" || mode().Perm() != 0o750 {
		t.Errorf("somebody else's: %v, mode %v", err, mode())
	}
}

func TestCertificateThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	nonsense := filepath.Join(dir, "nonsense.pem")
	if err := os.WriteFile(nonsense, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.pem")
	for setting, cfg := range map[string]Config{
		"tls-cert": {TLSCert: missing, TLSKey: nonsense},
		"tls-key":  {TLSCert: nonsense, TLSKey: missing},
	} {
		var wrong *ConfigError
		if _, err := cfg.clientTLS(slog.Default()); !errors.As(err, &wrong) || wrong.Setting != setting {
			t.Errorf("%s: got %v", setting, err)
		}
	}
	var wrong *ConfigError
	cfg := Config{TLSCert: nonsense, TLSKey: nonsense}
	if _, err := cfg.clientTLS(slog.Default()); !errors.As(err, &wrong) || wrong.Setting != "tls-cert" {
		t.Errorf("nonsense: got %v", err)
	}
}

func TestModuleVersion(t *testing.T) {
	for _, c := range []struct{ stamped, want string }{
		{"v1.2.3", "1.2.3"}, {"(devel)", "0.0.0-dev"}, {"", "0.0.0-dev"},
	} {
		info := debug.BuildInfo{Main: debug.Module{Version: c.stamped}}
		if got := moduleVersion(&info, true); got != c.want {
			t.Errorf("%q is version %q, want %q", c.stamped, got, c.want)
		}
	}
	if got := moduleVersion(nil, false); got != "0.0.0-dev" {
		t.Errorf("a program without build info is version %q", got)
	}
}
