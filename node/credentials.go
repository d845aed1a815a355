package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aptlyd/aptlyd/internal/durable"
)

// credentialsFile holds the first credentials, and the command that makes them count,
// from before that is proposed until they were shown. A node that is killed in between
// proposes the same again, and shows them at its next start.
const credentialsFile = "first-credentials.json"

type firstCredentials struct {
	ClusterID   string      `json:"clusterId"`
	Credentials Credentials `json:"credentials"`
	Init        []byte      `json:"init"`
}

// keptCredentials returns those of this cluster that were not shown yet, nil for none.
func (n *Node) keptCredentials() (*firstCredentials, error) {
	path := filepath.Join(n.cfg.DataDir, credentialsFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read first credentials: %w", err)
	}
	var kept firstCredentials
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("parse %s: it is damaged; remove it, and make a token with aptlyd admin reset: %w", path, err)
	}
	if _, id := n.cluster.ID(); kept.ClusterID != id {
		return nil, nil
	}
	return &kept, nil
}

func (n *Node) keepCredentials(c *firstCredentials) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode first credentials: %w", err)
	}
	return durable.Write(filepath.Join(n.cfg.DataDir, credentialsFile), text)
}

// recallCredentials finds what is still to be shown. Credentials that another node's
// overtook never count.
func (n *Node) recallCredentials() error {
	kept, err := n.keptCredentials()
	if err != nil || kept == nil {
		return err
	}
	if _, ok := n.state.KeyByText(kept.Credentials.PublicKey); !ok {
		return n.CredentialsShown()
	}
	n.credentials = &kept.Credentials
	return nil
}

// CredentialsShown forgets the first credentials: somebody has them.
func (n *Node) CredentialsShown() error {
	err := os.Remove(filepath.Join(n.cfg.DataDir, credentialsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("forget first credentials: %w", err)
	}
	return durable.Sync(n.cfg.DataDir)
}

// Credentials are what the node that forms a cluster tells its operator, once.
type Credentials struct {
	AdminToken    string // empty when it was given
	PublicKey     string
	ServerKey     string
	SigningSecret string // of the server key
}

// Credentials returns the first credentials of the cluster, if it was this node that
// made them and they were not shown yet: CredentialsShown says so. It is valid once
// Ready has returned.
func (n *Node) Credentials() (Credentials, bool) {
	if n.credentials == nil {
		return Credentials{}, false
	}
	return *n.credentials, true
}
