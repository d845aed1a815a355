package node

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNodeAloneMakesItsSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := start(t, testConfig(t, dir))
	path := filepath.Join(dir, secretFile)
	secret, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// A hello in plain text was once all that it took to act as a node.
	conn, err := net.Dial("tcp", n.cluster.PeerAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testDeadline)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(append([]byte("Captlyd1"), make([]byte, 48)...)); err != nil {
		t.Fatal(err)
	}
	if got, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("an unauthenticated client is sent %d bytes", got)
	}
	creds, _ := n.Credentials()
	key, _ := n.state.KeyByText(creds.ServerKey)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = start(t, testConfig(t, dir))
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, secret) {
		t.Errorf("the secret became %q, %v", again, err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	// Recovery leaves it, and so does rebuilding. What the state holds opens without.
	if _, err := Recover(dir, false, testConfig(t, dir).Logger); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, secret) {
		t.Errorf("after a recovery: %q, %v", again, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	n = start(t, testConfig(t, dir)) // as a folder from before
	if _, ok := n.SigningSecret(key.ID); !ok {
		t.Error("the signing secret is lost with the file")
	}
	if again, err := os.ReadFile(path); err != nil || bytes.Equal(again, secret) {
		t.Errorf("a folder without a secret gets none: %q, %v", again, err)
	}
}

func TestNodesThatMeetOthersMakeNoSecret(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"it expects others":  func(c *Config) { c.BootstrapExpect = 3 },
		"it joins others":    func(c *Config) { c.Join = []string{"127.0.0.1:7411", "127.0.0.1:7401"} },
		"it joins elsewhere": func(c *Config) { c.Join = []string{"192.0.2.1:7401"} },
	} {
		cfg := DefaultConfig()
		cfg.DataDir = t.TempDir()
		change(&cfg)
		if secret, err := cfg.localSecret(); secret != "" || err != nil {
			t.Errorf("%s: %q, %v", name, secret, err)
		}
	}
	cfg := DefaultConfig()
	cfg.DataDir, cfg.Join, cfg.GossipListen = t.TempDir(), []string{"127.0.0.1:7401"}, "127.0.0.1:7401"
	if secret, err := cfg.localSecret(); len(secret) != 64 || err != nil {
		t.Errorf("a node that joins itself: %q, %v", secret, err)
	}
	if err := os.WriteFile(filepath.Join(cfg.DataDir, secretFile), []byte(strings.Repeat("a", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.localSecret(); err == nil {
		t.Error("what is no secret is taken")
	}
}
