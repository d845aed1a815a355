package node

import (
	"cmp"
	"context"
	"slices"

	"github.com/aptlyd/aptlyd/gateway/admin"
)

// Connections implements admin.Operator.
func (n *Node) Connections(ctx context.Context, q admin.ConnectionQuery) ([]admin.ConnectionStatus, error) {
	all := n.gateway.Connections(q)
	others, err := askPeers[connectionList](ctx, n, question{Connections: &q})
	if err != nil {
		return nil, err
	}
	for _, list := range others {
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b admin.ConnectionStatus) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(q.Limit, len(all))], nil
}
