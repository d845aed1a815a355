package node

import (
	"context"
	"slices"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// disconnectQuestion asks a node to close a connection. The answer is whether the node had
// it.
type disconnectQuestion struct {
	ID string `json:"id"`
}

// Disconnect implements admin.Operator.
func (n *Node) Disconnect(ctx context.Context, id string) error {
	if n.gateway.Disconnect(id) {
		return nil
	}
	others, err := askPeers[disconnected](ctx, n, question{Disconnect: &disconnectQuestion{id}})
	if err != nil {
		return err
	}
	if !slices.Contains(others, true) {
		return refusal.New(refusal.NotFound, "no connection has this id")
	}
	return nil
}
