package node

import (
	"context"

	"github.com/aptlyd/aptlyd/gateway"
)

// Replace implements gateway.Broker.
func (n *Node) Replace(ctx context.Context, r gateway.Replacement) (counts int) {
	others, err := askPeers[replaced](ctx, n, question{Replace: &r})
	if err != nil {
		n.log.Warn("which connection is replaced is not known", "err", err)
	}
	for _, c := range others {
		counts = max(counts, int(c))
	}
	return counts
}
