package node

import (
	"context"
	"slices"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Refusals implements admin.Operator. It asks every node and returns the newest first.
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
