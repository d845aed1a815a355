package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

const (
	// keyUseInterval is the pause between a node's reports of uses of keys, and so the precision of
	// these times in the state.
	keyUseInterval = time.Minute
	// keyringInterval bounds the time after which an old cluster secret is not needed any
	// more.
	keyringInterval = time.Second
)

// maintain runs the node's periodic work on the state until ctx ends.
func (n *Node) maintain(ctx context.Context) {
	uses := time.NewTicker(keyUseInterval)
	defer uses.Stop()
	keyring := time.NewTicker(keyringInterval)
	defer keyring.Stop()
	reset := false // an offline reset of the admin token was looked for
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.failed:
			return
		case <-uses.C:
			if n.state.Initialised() {
				n.reportKeyUses(ctx)
			}
		case <-keyring.C:
			n.updateLevel()
			if !n.state.Initialised() {
				continue
			}
			if !reset {
				var err error
				reset, err = n.applyReset(ctx)
				if n.keyring.changed("reset", err) && err != nil {
					n.log.Warn("an offline reset of the admin token waits", "err", err)
				}
			}
			err := n.resealKeyring(ctx)
			if n.keyring.changed("reseal", err) && err != nil {
				n.log.Warn("the keyring is as it was, trying again", "err", err, "in", keyringInterval)
			}
		}
	}
}

// openKeyring checks that this node can read the cluster's secrets. If it cannot, and
// NewKeyring is set, it begins a new keyring.
func (n *Node) openKeyring(ctx context.Context) error {
	_, err := n.keyring.open(n.state.Keyring())
	if !errors.Is(err, ErrKeyring) || !n.cfg.NewKeyring {
		return err
	}
	sealed, err := n.keyring.make()
	if err != nil {
		return err
	}
	if err := n.change(ctx, n.selfActor(), fsm.Seal{By: n.selfActor(), Keyring: sealed}.Encode()); err != nil {
		return fmt.Errorf("begin a new keyring: %w", err)
	}
	n.log.Warn("began a new keyring: rotate the server keys that sign tokens")
	return nil
}

// resealKeyring seals the keyring under the cluster secret in use, if this node leads and
// it is sealed under another.
func (n *Node) resealKeyring(ctx context.Context) error {
	if leader, ok := n.cluster.Leader(); !ok || leader.Name != n.cfg.NodeName {
		return nil
	}
	sealed, err := n.keyring.reseal(n.state.Keyring())
	if err != nil || sealed == nil {
		return err
	}
	if err := n.change(ctx, n.selfActor(), fsm.Seal{By: n.selfActor(), Keyring: sealed}.Encode()); err != nil {
		return fmt.Errorf("seal keyring: %w", err)
	}
	n.log.Info("keyring sealed under the cluster secret in use")
	return nil
}
