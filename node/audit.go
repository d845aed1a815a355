package node

import (
	"context"

	"github.com/aptlyd/aptlyd/fsm"
)

// Audit implements gateway.Operator.
func (n *Node) Audit(before uint64, limit int) []fsm.AuditRecord { return n.state.Audit(before, limit) }

// Note implements gateway.Operator.
func (n *Node) Note(ctx context.Context, by fsm.Actor, action, target string) error {
	return n.change(ctx, by, fsm.Note{By: by, Action: action, Target: target}.Encode())
}
