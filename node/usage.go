package node

import (
	"context"
	"time"

	"github.com/aptlyd/aptlyd/gateway"
)

// usageInterval is how often nodes ask each other what their clients use of
// quotas: the sum may be exceeded by what comes within it.
const usageInterval = time.Second

// shareUsage has the gateway know what the clients of other nodes use of the
// projects that have quotas. Without such projects nobody is asked.
func (n *Node) shareUsage(ctx context.Context) {
	ticker := time.NewTicker(usageInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !n.gateway.MeasureUsage() {
			continue
		}
		others, err := askPeers[usages](ctx, n, question{Usage: &usageQuestion{}})
		if err != nil {
			n.log.Warn("the usage of quotas is not known", "err", err)
			continue
		}
		used := make([]map[string]gateway.Usage, len(others))
		for i, u := range others {
			used[i] = u
		}
		n.gateway.DivideQuotas(used)
	}
}

// usageQuestion asks what a node's clients use of quotas; the answer is an
// object, project id to gateway.Usage.
type usageQuestion struct{}
