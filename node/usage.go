package node

import (
	"context"
	"time"

	"github.com/aptlyd/aptlyd/gateway/quota"
	"github.com/aptlyd/aptlyd/internal/repeat"
)

// usageInterval is the pause between two exchanges of the nodes' use of quotas. Use within one interval
// may exceed a quota.
const usageInterval = time.Second

// shareUsage tells the gateway how much the clients of other nodes use of projects with
// quotas. It asks nobody if there are no such projects.
func (n *Node) shareUsage(ctx context.Context) {
	for range repeat.Every(ctx, usageInterval) {
		if !n.gateway.MeasureUsage() {
			continue
		}
		others, err := askPeers[usages](ctx, n, question{Usage: &usageQuestion{}})
		if err != nil {
			n.log.Warn("the usage of quotas is not known", "err", err)
			continue
		}
		used := make([]map[string]quota.Usage, len(others))
		for i, u := range others {
			used[i] = u
		}
		n.gateway.DivideQuotas(used)
	}
}

// usageQuestion asks for a node's use of quotas. The answer maps project ids to
// quota.Usage.
type usageQuestion struct{}
