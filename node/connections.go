package node

import (
	"cmp"
	"context"
	"slices"

	"github.com/aptlyd/aptlyd/gateway"
)

// Connections implements gateway.Operator.
func (n *Node) Connections(ctx context.Context, q gateway.ConnectionQuery) ([]gateway.ConnectionStatus, error) {
	all := n.gateway.Connections(q)
	others, err := askPeers[connectionList](ctx, n, question{Connections: &q})
	if err != nil {
		return nil, err
	}
	for _, list := range others {
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b gateway.ConnectionStatus) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(q.Limit, len(all))], nil
}
