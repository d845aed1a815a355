package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/internal/durable"
)

// secretFile is the file of the data folder that holds the cluster secret of a node that
// was given none. Its ports then take nobody who cannot read the folder.
const secretFile = "cluster-secret"

// localSecret returns the secret in the data folder, or makes it. It returns "" for a
// node that meets others, because they were not given this secret.
func (c *Config) localSecret() (string, error) {
	path := filepath.Join(c.DataDir, secretFile)
	text, err := os.ReadFile(path)
	if err == nil {
		secret := strings.TrimSpace(string(text))
		if isGuessable(secret) {
			return "", &ConfigError{"data-dir", path + " holds no cluster secret"}
		}
		return secret, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", &ConfigError{"data-dir", err.Error()}
	}
	if c.BootstrapExpect > 1 || c.joinsOthers() || knowsOthers(c.DataDir) {
		return "", nil
	}
	var random [32]byte
	rand.Read(random[:]) // never fails
	secret := hex.EncodeToString(random[:])
	if err := durable.Write(path, []byte(secret+"\n")); err != nil {
		return "", fmt.Errorf("make cluster secret: %w", err)
	}
	return secret, nil
}

// joinsOthers reports whether --join names more than this node's own gossip address.
func (c *Config) joinsOthers() bool {
	_, own, err := net.SplitHostPort(c.GossipListen)
	if err != nil {
		return true
	}
	for _, seed := range c.Join {
		host, port, err := net.SplitHostPort(seed)
		if err != nil || port != own || !isLoopback(host) {
			return true
		}
	}
	return false
}

// knowsOthers reports whether a data folder may be one of a member of a larger cluster.
func knowsOthers(dir string) bool {
	owner, err := Inspect(dir)
	if errors.Is(err, cluster.ErrNoIdentity) {
		return false
	}
	return err != nil || len(owner.Members) > 1 // what is wrong is said later
}
