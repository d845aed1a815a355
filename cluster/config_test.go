package cluster

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/cluster/gossip"
	"github.com/aptlyd/aptlyd/cluster/peer"
)

func TestConfigNamesTheFieldThatIsWrong(t *testing.T) {
	local, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	good := Config{
		Nothing:      []byte("nothing"),
		Dir:          "x",
		NodeName:     "n",
		PeerListener: local,
		GossipAddr:   "127.0.0.1:0",
		Fatal:        func(error) {},
		Receive:      func(string, []byte) ([]byte, error) { return nil, nil },
		Handle:       func(context.Context, string, []byte) ([]byte, error) { return nil, nil },
		Logger:       testLogger(),
	}
	if err := good.withDefaults().Validate(); err != nil {
		t.Fatalf("a good configuration is refused: %v", err)
	}
	for _, test := range []struct {
		field  string
		change func(*Config)
	}{
		{"Dir", func(c *Config) { c.Dir = "" }},
		{"NodeName", func(c *Config) { c.NodeName = strings.Repeat("n", peer.MaxNameBytes+1) }},
		{"NodeName", func(c *Config) { c.NodeName = "n\xff" }},
		{"bytes of gossip", func(c *Config) {
			c.NodeName, c.Advertise = strings.Repeat("<", peer.MaxNameBytes), strings.Repeat("h", peer.MaxHostBytes)
			c.Secrets = []string{"s"}
		}},
		{"Version", func(c *Config) { c.Version = strings.Repeat("v", gossip.MaxVersionBytes+1) }},
		{"PeerListener", func(c *Config) { c.PeerListener = nil }},
		{"Advertise", func(c *Config) { c.Advertise = strings.Repeat("h", peer.MaxHostBytes+1) }},
		{"BootstrapExpect", func(c *Config) { c.BootstrapExpect = -1 }},
		{"Fatal", func(c *Config) { c.Fatal = nil }},
		{"Receive", func(c *Config) { c.Receive = nil }},
		{"Handle", func(c *Config) { c.Handle = nil }},
		{"Logger", func(c *Config) { c.Logger = nil }},
		{"LeaderLease", func(c *Config) { c.LeaderLease = 2 * c.withDefaults().ElectionTimeout }},
		{"MaxCommandBytes", func(c *Config) { c.MaxCommandBytes = peer.MaxFrameBytes }},
		{"GossipAddr", func(c *Config) { c.GossipAddr = "nowhere" }},
		{"without Secrets GossipAddr", func(c *Config) { c.GossipAddr = "0.0.0.0:0" }},
		{"without Secrets Advertise", func(c *Config) { c.Advertise = "192.0.2.1" }},
		{"without Secrets Join", func(c *Config) { c.Join = []string{"192.0.2.1:7401"} }},
	} {
		t.Run(test.field, func(t *testing.T) {
			c := good
			test.change(&c)
			if err := c.withDefaults().Validate(); err == nil || !strings.Contains(err.Error(), test.field) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("with a secret any address will do", func(t *testing.T) {
		c := good
		c.Secrets, c.Advertise, c.GossipAddr, c.Join = []string{"s"}, "192.0.2.1", "0.0.0.0:0", []string{"192.0.2.2:7401"}
		if err := c.withDefaults().Validate(); err != nil {
			t.Error(err)
		}
	})
}

func TestIdentityIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := openIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.update(func(f *identityFile) { f.ClusterID = first.file.NodeID }); err != nil {
		t.Fatal(err)
	}
	second, err := openIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second.read().NodeID != first.read().NodeID || second.read().ClusterID != first.read().ClusterID {
		t.Errorf("%+v became %+v", first.read(), second.read())
	}
	info, err := os.Stat(filepath.Join(dir, "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("node.json has mode %o", mode)
	}
}

// TestAnIdentityThatCannotBeWrittenStopsTheNode: it is storage like any other.
func TestAnIdentityThatCannotBeWrittenStopsTheNode(t *testing.T) {
	id, err := openIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var fatal error
	id.fatal = func(err error) { fatal = err }
	id.path = filepath.Join(t.TempDir(), "gone", IdentityFile)
	if err := id.update(func(f *identityFile) { f.Member = true }); err == nil || fatal == nil {
		t.Errorf("update gives %v, fatal was %v", err, fatal)
	}
	if id.read().Member {
		t.Error("what was not written holds")
	}
}

func TestALogWithoutItsIdentityIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "raft"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "raft", "wal-meta.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openIdentity(dir); err == nil {
		t.Error("a new identity was made for an old log")
	}
}
