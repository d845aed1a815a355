package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/durable"
)

// resetFile holds the hash of an admin token that was made offline. It stays until the
// cluster has taken the token.
const resetFile = "admin-reset.json"

type adminReset struct {
	ID   string      `json:"id"`
	Hash fsm.KeyHash `json:"hash"`
	By   string      `json:"by"` // author, as the audit shows it
}

// ResetAdmin makes a new owner's token for the cluster of the node in dir. The node must
// not run. The token counts once the node runs in a majority, and replaces no other token.
func ResetAdmin(dir, by string) (id, text string, err error) {
	err = withFolder(dir, func(folder *cluster.Folder) error {
		if exists(dir, stagingDir) {
			return errUnfinished
		}
		if _, err := folder.Owner(); err != nil {
			return err
		}
		text = newAdminToken()
		reset := adminReset{newID("adm"), fsm.HashKey(text), by}
		id = reset.ID
		content, err := json.Marshal(reset)
		if err != nil {
			return fmt.Errorf("encode the reset: %w", err)
		}
		return durable.Write(filepath.Join(dir, resetFile), content)
	})
	return id, text, err
}

// applyReset makes the cluster take an admin token that was made offline. It reports
// whether nothing is left to do.
func (n *Node) applyReset(ctx context.Context) (done bool, err error) {
	path := filepath.Join(n.cfg.DataDir, resetFile)
	var reset adminReset
	found, err := readJSON(path, "make another with aptlyd admin reset", &reset)
	if err != nil || !found {
		return err == nil, err
	}
	if _, taken := n.state.AdminToken(reset.ID); !taken {
		by := fsm.Actor{Name: reset.By, Via: "node"}
		err := n.change(ctx, by, fsm.CreateAdminToken{By: by, Token: fsm.AdminToken{
			ID: reset.ID, Name: "reset", Role: fsm.Owner, Hash: reset.Hash,
		}}.Encode())
		var refused *refusal.Error
		if errors.As(err, &refused) && refused.Code == refusal.Conflict {
			err = nil // an earlier run made it, and it may be revoked by now
		}
		if err != nil {
			return false, fmt.Errorf("make the owner's token that admin reset asked for: %w", err)
		}
		n.log.Warn("an owner's token was made by admin reset; revoke the lost one", "id", reset.ID, "by", reset.By)
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("remove the reset of the admin token: %w", err)
	}
	return true, durable.Sync(n.cfg.DataDir)
}
