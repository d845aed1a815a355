//go:build next

package node

import (
	"context"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// useNext uses the next version's command once, as soon as it may, and says so.
func (n *Node) useNext(ctx context.Context) {
	for {
		if n.state.Initialised() {
			err := n.change(ctx, fsm.Next{}.Encode())
			if err == nil {
				n.log.Info("the next command was used")
				return
			}
			n.log.Info("the next command has to wait", "err", err)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}
