package node

import (
	"context"

	"github.com/aptlyd/aptlyd/fsm"
)

// Settings implements admin.Operator.
func (n *Node) Settings() fsm.Settings { return n.state.Settings() }

// UpdateSettings implements admin.Operator.
func (n *Node) UpdateSettings(ctx context.Context, change fsm.UpdateSettings) (fsm.Settings, error) {
	if err := n.change(ctx, change.By, change.Encode()); err != nil {
		return fsm.Settings{}, err
	}
	return n.state.Settings(), nil
}
