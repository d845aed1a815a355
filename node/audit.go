package node

import (
	"context"

	"github.com/aptlyd/aptlyd/fsm"
)

// Audit implements admin.Operator.
func (n *Node) Audit(before uint64, limit int) []fsm.AuditRecord { return n.state.Audit(before, limit) }

// Note implements admin.Operator.
func (n *Node) Note(ctx context.Context, by fsm.Actor, action, target string) error {
	return n.change(ctx, by, fsm.Note{By: by, Action: action, Target: target}.Encode())
}
