package node

import (
	"context"
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// applyTimeout bounds how long a change waits until all fresh nodes have applied it. A
// slower node fails closed.
const applyTimeout = time.Second

// change commits a control command. It returns once this node and every fresh one has
// applied it, or applyTimeout after the commit.
func (n *Node) change(ctx context.Context, by fsm.Actor, command []byte) error {
	if need, have := fsm.LevelOf(command), n.updateLevel(); need > have {
		return refusal.New(refusal.Conflict,
			fmt.Sprintf("this takes feature level %d and a member of the cluster has %d: upgrade all nodes first", need, have))
	}
	sender := by.Sender()
	result := n.cluster.Apply(ctx, n.withSender(sender, command))
	if result.Err != nil {
		return n.asRefusal(result.Err)
	}
	if err := fsm.DecodeResult(result.Data); err != nil {
		return refusalTo(sender.Kind, err)
	}
	if err := n.cluster.WaitApplied(ctx, result.Index); err != nil {
		return asRefusal(err)
	}
	settle, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	if err := n.cluster.WaitEverywhere(settle, result.Index); err != nil && settle.Err() == nil {
		return asRefusal(err)
	}
	return nil
}

// selfActor returns this node as the author of a change.
func (n *Node) selfActor() fsm.Actor { return fsm.Actor{Name: n.cfg.NodeName, Via: "node"} }
