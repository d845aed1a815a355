package node

import "github.com/aptlyd/aptlyd/fsm"

// updateLevel returns and stores the cluster's feature level. A node that has just started
// may not have heard of all members, so the level that the state proves counts too.
func (n *Node) updateLevel() uint32 {
	level := max(n.cluster.FeatureLevel(), n.state.Level())
	n.level.Store(level)
	return level
}

// withSender returns a command with its sender, if the cluster's feature level allows it.
func (n *Node) withSender(by fsm.Sender, command []byte) []byte {
	if n.level.Load() < fsm.SenderLevel {
		return command
	}
	by.Since = n.state.Stamp()
	return by.Send(command)
}

// Alive implements gateway.Broker.
func (n *Node) Alive(from fsm.Sender) error { return refusalTo(from.Kind, n.state.Alive(from)) }
