package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aptlyd/aptlyd/cluster"
)

// answerPeer answers another node of the cluster, which may ask while this one is
// still being built.
func (n *Node) answerPeer(ctx context.Context, from string, request []byte) ([]byte, error) {
	select {
	case <-n.member:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	q, err := decodeQuestion(request)
	if err != nil {
		return nil, err
	}
	switch {
	case q.Connections != nil:
		return json.Marshal(n.gateway.Connections(*q.Connections))
	case q.Subscribers != nil:
		return json.Marshal(n.gateway.Subscribers(q.Subscribers.Project))
	case q.KeyConnections != nil:
		return json.Marshal(n.gateway.KeyConnections(q.KeyConnections.Project))
	case q.History != nil:
		return json.Marshal(n.history.list(q.History.First, q.History.Last))
	case q.Interest != nil:
		return json.Marshal(n.relay.SetInterest(from, *q.Interest, time.Now()))
	case q.Refusals != nil:
		list, err := n.gateway.Refusals(*q.Refusals)
		if err != nil {
			return nil, err
		}
		return json.Marshal(list)
	case q.Disconnect != nil:
		return json.Marshal(n.gateway.Disconnect(q.Disconnect.ID))
	case q.Replace != nil:
		return json.Marshal(n.gateway.Replace(*q.Replace))
	case q.ProjectUsage != nil:
		return json.Marshal(n.projectUsage(*q.ProjectUsage))
	case q.Usage != nil:
		return json.Marshal(n.gateway.Usage())
	case q.Check:
		return json.Marshal(n.checkSelf(ctx))
	}
	return nil, errQuestion
}

// askPeers asks every other reachable member at once and returns the valid answers. A member
// that does not answer has no clients to tell of: it is down, or it fails closed.
func askPeers[Answer answer](ctx context.Context, n *Node, q question) ([]Answer, error) {
	request, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encode question to peers: %w", err)
	}
	self, _ := n.cluster.ID()
	members := slices.DeleteFunc(n.cluster.Members(), func(m cluster.Member) bool { return m.ID == self || !m.Alive })
	answers := make([]Answer, len(members))
	answered := make([]bool, len(members))
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	var group errgroup.Group
	for i, m := range members {
		group.Go(func() error {
			reply, err := n.cluster.Query(ctx, m.ID, request)
			if err != nil {
				n.log.Warn("a peer did not answer", "peer", m.Name, "err", err)
				return nil
			}
			if answers[i], err = decodeAnswer[Answer](reply); err != nil {
				n.log.Warn("a peer answered nonsense", "peer", m.Name, "err", err)
				return nil
			}
			answered[i] = true
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	kept := answers[:0]
	for i, a := range answers {
		if answered[i] {
			kept = append(kept, a)
		}
	}
	return kept, nil
}
