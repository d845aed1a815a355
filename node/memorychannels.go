package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway"
	"github.com/aptlyd/aptlyd/internal/repeat"
	"github.com/aptlyd/aptlyd/node/presence"
	"github.com/aptlyd/aptlyd/node/relay"
)

// AddInterest implements gateway.Broker.
func (n *Node) AddInterest(channels []fsm.ChannelKey, then func()) bool {
	return n.announcer.Add(channels, then)
}

// DropInterest implements gateway.Broker.
func (n *Node) DropInterest(channel fsm.ChannelKey) { n.announcer.Drop(channel) }

// isMemory reports whether a channel is a memory channel.
func (n *Node) isMemory(channel fsm.ChannelKey) bool {
	project, ok := n.state.Project(channel.Project)
	return ok && project.Rule(channel.Name).Durability == fsm.DurabilityMemory
}

// publishMemory delivers messages of memory channels to subscribers here and on the other
// nodes. It never writes them to the log.
func (n *Node) publishMemory(batch []fsm.Publish, done func(int, fsm.Receipt, error)) {
	now := time.Now()
	receipt := fsm.Receipt{Timestamp: max(n.state.Stamp(), now.UnixMilli())}
	err := cluster.ErrUnavailable
	if n.Staleness() <= gateway.RefuseAfter {
		groups := byChannel(batch, receipt.Timestamp)
		switch err = n.relay.Broadcast(groups, now); {
		case err == nil:
			n.gateway.Transient(groups)
		case errors.Is(err, relay.ErrOverloaded):
			err = cluster.ErrOverloaded
		default:
			err = cluster.ErrUnavailable
		}
	}
	go func() {
		for i := range batch {
			if err != nil {
				done(i, fsm.Receipt{}, asRefusal(err))
			} else {
				done(i, receipt, nil)
			}
		}
	}()
}

// byChannel joins messages of the same channel.
func byChannel(batch []fsm.Publish, stamp int64) []fsm.Appended {
	groups := make([]fsm.Appended, 0, 1)
	at := make(map[fsm.ChannelKey]int, 1)
	for _, p := range batch {
		i, known := at[p.Channel]
		if !known {
			i = len(groups)
			at[p.Channel] = i
			groups = append(groups, fsm.Appended{Channel: p.Channel})
		}
		groups[i].Messages = append(groups[i].Messages, fsm.Message{Timestamp: stamp, Data: p.Data})
	}
	return groups
}

// receive takes messages of memory channels, or of members, that a peer sent.
func (n *Node) receive(from string, message []byte) ([]byte, error) {
	if len(message) > 0 && message[0] == presence.Version {
		return n.receiveMembers(from, message)
	}
	batch, err := relay.Decode(message)
	if err != nil {
		return nil, err
	}
	n.gateway.Transient(batch)
	return nil, nil
}

// sendBatch sends messages of memory channels to a peer.
func (n *Node) sendBatch(ctx context.Context, peer string, batch []byte) error {
	_, err := n.cluster.Send(ctx, peer, batch)
	return err
}

// announce tells a peer a change of this node's interest.
func (n *Node) announce(ctx context.Context, peer string, change relay.Change) (relay.Answer, error) {
	request, err := json.Marshal(question{Interest: &change})
	if err != nil {
		return relay.Answer{}, fmt.Errorf("encode channels for a peer: %w", err)
	}
	reply, err := n.cluster.Query(ctx, peer, request)
	if err != nil {
		return relay.Answer{}, fmt.Errorf("tell a peer of channels: %w", err)
	}
	return decodeAnswer[relay.Answer](reply)
}

// peersInterval is the pause in which a node looks for members that came or went.
const peersInterval = 500 * time.Millisecond

// followMembers tells the relay, the announcer and the presence of clients which nodes are
// there, until ctx ends.
func (n *Node) followMembers(ctx context.Context) {
	n.updatePeers()
	for range repeat.Every(ctx, peersInterval) {
		n.updatePeers()
	}
}

// updatePeers makes the other nodes of the cluster the peers of the relay, the announcer and
// presence. The announcer tells unreachable ones too, since they may still act on old news.
func (n *Node) updatePeers() {
	self, _ := n.cluster.ID()
	var all, alive []string
	silence := make(map[string]time.Duration)
	members := n.cluster.Members()
	for _, m := range members {
		if m.ID == self {
			continue
		}
		all = append(all, m.ID)
		silence[m.ID] = m.Silence
		if m.Alive {
			alive = append(alive, m.ID)
		}
	}
	n.relay.SetPeers(alive, time.Now())
	n.announcer.SetPeers(all)
	n.updateMembers(all, silence, len(members) > 0)
}
