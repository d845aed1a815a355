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

// credentialsFile holds the first credentials and the command that creates them, until they
// were shown. A node that is killed in between proposes the same command again.
const credentialsFile = "first-credentials.json"

type firstCredentials struct {
	ClusterID   string      `json:"clusterId"`
	Credentials Credentials `json:"credentials"`
	Init        []byte      `json:"init"`
}

// keptCredentials returns this cluster's credentials that were not shown yet, nil for none.
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

// recallCredentials loads credentials that are still to be shown. It discards them if
// another node's first state won.
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

// CredentialsShown deletes the stored first credentials.
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

// Credentials are shown once to the operator of a new cluster, by the node that formed it.
type Credentials struct {
	AdminToken    string // empty if the operator gave it
	PublicKey     string
	ServerKey     string
	SigningSecret string // of the server key
}

// Credentials returns the first credentials if this node made them and they were not shown
// yet; see CredentialsShown. It is valid once Ready has returned.
func (n *Node) Credentials() (Credentials, bool) {
	if n.credentials == nil {
		return Credentials{}, false
	}
	return *n.credentials, true
}
