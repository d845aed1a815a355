package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/aptlyd/aptlyd/internal/durable"
)

// server is a node as a forming cluster names it.
type server struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Peer string `json:"peer"`
}

// peerRecord holds the last known facts about another node.
type peerRecord struct {
	Name   string `json:"name"`
	Peer   string `json:"peer"`
	Gossip string `json:"gossip"`
	// Feature is the feature level that it last announced.
	Feature uint32 `json:"feature,omitempty"`
}

// identityFile is node.json.
type identityFile struct {
	NodeID    string `json:"nodeId"`
	ClusterID string `json:"clusterId,omitempty"`
	// Starts counts how often the node was started.
	Starts uint64 `json:"starts"`
	// Forming is the agreed first configuration, from its agreement until Raft
	// has stored it.
	Forming []server `json:"forming,omitempty"`
	// Bootstrapped says that this node proposed the cluster.
	Bootstrapped bool `json:"bootstrapped,omitempty"`
	// Member says that Raft has state here: from now on it must never be missing.
	Member bool `json:"member,omitempty"`
	// LogChecked says that the log keeps a checksum of what segments there are.
	LogChecked bool                  `json:"logChecked,omitempty"`
	Peers      map[string]peerRecord `json:"peers,omitempty"`
}

// identity holds the node's lasting identity. It is made together with the data folder. A
// node whose folder is wiped comes back under another id, because a node that forgot its
// votes must not vote again under the same one.
type identity struct {
	path string
	// fatal, if set, is told that the identity cannot be written. A full disk, or a
	// process with too many open files, is no reason to stop: what was written before
	// holds, and the caller tries again.
	fatal func(error)

	mu   sync.Mutex
	file identityFile
}

// openIdentity reads node.json in dir, or makes it when there is none.
func openIdentity(dir string) (*identity, error) {
	id := &identity{path: filepath.Join(dir, IdentityFile)}
	raw, err := os.ReadFile(id.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		for _, other := range []string{"raft", "snapshots"} {
			if entries, err := os.ReadDir(filepath.Join(dir, other)); err == nil && len(entries) > 0 {
				return nil, fmt.Errorf("open identity: %s is missing but %s is not empty; restore it or empty the data folder",
					id.path, filepath.Join(dir, other))
			}
		}
		id.file.NodeID = uuid.NewString()
		return id, id.write(id.file)
	case err != nil:
		return nil, fmt.Errorf("read identity: %w", err)
	}
	if _, err := durable.UnsealJSON(raw, &id.file); err != nil {
		return nil, fmt.Errorf("parse %s: %w", id.path, err)
	}
	for _, text := range []string{id.file.NodeID, id.file.ClusterID} {
		if text == "" && text != id.file.NodeID {
			continue
		}
		if _, err := uuid.Parse(text); err != nil {
			return nil, fmt.Errorf("parse %s: %w: %q: %w", id.path, durable.ErrDamaged, text, err)
		}
	}
	return id, nil
}

// read returns a copy.
func (id *identity) read() identityFile {
	id.mu.Lock()
	defer id.mu.Unlock()
	file := id.file
	file.Peers = maps.Clone(file.Peers)
	return file
}

// update changes the identity, durably, before it returns.
func (id *identity) update(change func(*identityFile)) error {
	err := id.rewrite(change)
	if err != nil && id.fatal != nil && !passes(err) {
		id.fatal(err)
	}
	return err
}

// passes reports whether an error is about a lack of something that comes back, and
// leaves what was written before.
func passes(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

func (id *identity) rewrite(change func(*identityFile)) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	next := id.file
	next.Peers = maps.Clone(next.Peers)
	change(&next)
	if err := id.write(next); err != nil {
		return err
	}
	id.file = next
	return nil
}

func (id *identity) write(file identityFile) error {
	raw, err := durable.SealJSON(file)
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	if err := durable.Write(id.path, raw); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}
