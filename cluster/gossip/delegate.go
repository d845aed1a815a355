package gossip

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/hashicorp/memberlist"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// delegate is called by memberlist under its locks, so it calls nothing of
// memberlist and never waits.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(limit int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	meta, err := json.Marshal(d.g.self)
	if err != nil || len(meta) > limit {
		return nil // CheckSize has seen to it that this cannot be; memberlist would panic
	}
	return meta
}

// NotifyAlive keeps out nodes of another cluster, which a node without a cluster may
// pass on.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	var theirs Meta
	if json.Unmarshal(n.Meta, &theirs) != nil || theirs.check(n.Name) != nil {
		return errors.New("it is no aptlyd")
	}
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	if own := d.g.self.Cluster; theirs.Cluster != own && theirs.Cluster != "" && own != "" {
		return peer.ErrWrongCluster
	}
	return nil
}

func (d delegate) NotifyMsg([]byte)                {}
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d delegate) LocalState(bool) []byte          { return nil }
func (d delegate) MergeRemoteState([]byte, bool)   {}
func (d delegate) NotifyJoin(n *memberlist.Node)   { d.note(n) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.note(n) }

func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.g.mu.Lock()
	delete(d.g.neighbours, n.Name)
	d.g.mu.Unlock()
	d.rouse()
}

// NotifyConflict notes a node at another address whose name in gossip is this node's own.
func (d delegate) NotifyConflict(known, other *memberlist.Node) {
	var theirs Meta
	if json.Unmarshal(other.Meta, &theirs) != nil || theirs.check(other.Name) != nil {
		return
	}
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	if id, _, _ := strings.Cut(known.Name, "/"); id == d.g.id {
		d.g.conflict = theirs.Peer
	}
}

func (d delegate) note(n *memberlist.Node) {
	id, _, _ := strings.Cut(n.Name, "/")
	next := Neighbour{ID: id, Addr: n.Address()}
	if json.Unmarshal(n.Meta, &next.Meta) != nil || next.check(n.Name) != nil {
		return // not one of ours
	}
	d.g.mu.Lock()
	d.g.neighbours[n.Name] = next
	d.g.mu.Unlock()
	d.rouse()
}

func (d delegate) rouse() {
	select {
	case d.g.changed <- struct{}{}:
	default:
	}
}
