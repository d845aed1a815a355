package node

import (
	"context"
	"slices"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Refusals implements gateway.Operator. Every node is asked, whose answers are
// gateway.RefusalRecord lists, newest first.
func (n *Node) Refusals(ctx context.Context, q refusal.Query) ([]refusal.Record, error) {
	all, err := n.gateway.Refusals(q)
	if err != nil {
		return nil, err
	}
	others, err := askPeers[refusalList](ctx, n, question{Refusals: &q})
	if err != nil {
		return nil, err
	}
	for _, list := range others {
		all = append(all, list...)
	}
	slices.SortFunc(all, refusal.Compare)
	return all[:min(q.Limit, len(all))], nil
}

// disconnectQuestion tells a node to close a connection; the answer is whether it
// had it.
type disconnectQuestion struct {
	ID string `json:"id"`
}

// Disconnect implements gateway.Operator.
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
