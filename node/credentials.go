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
	var kept firstCredentials
	path := filepath.Join(n.cfg.DataDir, credentialsFile)
	found, err := readJSON(path, "remove it, and make a token with aptlyd admin reset", &kept)
	if err != nil || !found {
		return nil, err
	}
	if _, id := n.cluster.ID(); kept.ClusterID != id {
		return nil, nil
	}
	return &kept, nil
}

// readJSON reads a file that may not exist. Its error says what mends a damaged one.
func readJSON(path, mend string, into any) (found bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return false, fmt.Errorf("parse %s: it is damaged; %s: %w", path, mend, err)
	}
	return true, nil
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
	KeyID         string // of the server key: the "kid" of tokens that SigningSecret signs
}

// Credentials returns the first credentials if this node made them and they were not shown
// yet; see CredentialsShown. It is valid once Ready has returned.
func (n *Node) Credentials() (Credentials, bool) {
	if n.credentials == nil {
		return Credentials{}, false
	}
	return *n.credentials, true
}
