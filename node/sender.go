package node

import "github.com/aptlyd/aptlyd/fsm"

// senderLevel is the feature level from which on commands carry their sender.
const senderLevel = 2

// updateLevel finds out the cluster's feature level: what the members say, or what they
// have proved, since a node that has just started may not have heard of all of them.
func (n *Node) updateLevel() uint32 {
	level := max(n.cluster.FeatureLevel(), n.state.Level())
	n.level.Store(level)
	return level
}

// withSender returns a command with its sender, as far as the cluster knows of senders.
func (n *Node) withSender(by fsm.Sender, command []byte) []byte {
	if n.level.Load() < senderLevel {
		return command
	}
	by.Since = n.state.Stamp()
	return by.Send(command)
}

// Alive implements gateway.Broker.
func (n *Node) Alive(from fsm.Sender) error { return refusalTo(from.Kind, n.state.Alive(from)) }
