package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// upkeepInterval is how often a node reports uses of keys, which is how coarsely
// the state knows them, and looks after the keyring.
const upkeepInterval = time.Minute

// upkeep does from time to time what the state needs of its nodes.
func (n *Node) upkeep(ctx context.Context) {
	ticker := time.NewTicker(upkeepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.failed:
			return
		case <-ticker.C:
		}
		if !n.state.Initialised() {
			continue
		}
		n.reportKeyUses(ctx)
		if err := n.resealKeyring(ctx); err != nil {
			n.log.Warn("the keyring is as it was, trying again", "err", err, "in", upkeepInterval)
		}
	}
}

// openKeyring checks that this node can read the cluster's secrets. If it cannot
// and was told so, it begins a new keyring.
func (n *Node) openKeyring(ctx context.Context) error {
	_, err := n.keyring.open(n.state.Keyring())
	if !errors.Is(err, ErrKeyring) || !n.cfg.NewKeyring {
		return err
	}
	sealed, err := n.keyring.make()
	if err != nil {
		return err
	}
	if err := n.change(ctx, fsm.Seal{By: n.self(), Keyring: sealed}.Encode()); err != nil {
		return fmt.Errorf("begin a new keyring: %w", err)
	}
	n.log.Warn("began a new keyring: rotate the server keys that sign tokens")
	return nil
}

// resealKeyring has the leader seal the keyring under the cluster secret in use,
// if it is sealed under another.
func (n *Node) resealKeyring(ctx context.Context) error {
	if leader, ok := n.cluster.Leader(); !ok || leader.Name != n.cfg.NodeName {
		return nil
	}
	sealed, err := n.keyring.reseal(n.state.Keyring())
	if err != nil || sealed == nil {
		return err
	}
	if err := n.change(ctx, fsm.Seal{By: n.self(), Keyring: sealed}.Encode()); err != nil {
		return fmt.Errorf("seal keyring: %w", err)
	}
	n.log.Info("keyring sealed under the cluster secret in use")
	return nil
}
