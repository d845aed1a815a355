package cluster

import (
	"fmt"
	"maps"

	"github.com/aptlyd/aptlyd/cluster/gossip"
)

// neighbours are the nodes that gossip knows.
type neighbours interface {
	All() []gossip.Neighbour
	Find(id string) (gossip.Neighbour, bool)
}

// directory knows where a node is reached: by gossip, else where it was last.
type directory struct {
	self     string
	identity *identity
	gossip   neighbours
}

// resolve returns host and port of a node's peer port.
func (d *directory) resolve(node string) (string, error) {
	if n, ok := d.gossip.Find(node); ok && n.Peer != "" {
		return n.Peer, nil
	}
	if record, ok := d.identity.read().Peers[node]; ok {
		return record.Peer, nil
	}
	return "", fmt.Errorf("no address is known for node %s", node)
}

// name returns what people call a node, or its id as long as its name is not known.
func (c *Cluster) name(node string) string {
	if d := c.names.Load(); d != nil {
		return d.name(node)
	}
	return node
}

// name returns a node's name, or its id where no name is known.
func (d *directory) name(node string) string {
	if n, ok := d.gossip.Find(node); ok {
		return n.Name
	}
	if record, ok := d.identity.read().Peers[node]; ok {
		return record.Name
	}
	return node
}

// feature returns the feature level that a node announces, or last did; 0 where
// nothing is known of it.
func (d *directory) feature(node string) uint32 {
	if n, ok := d.gossip.Find(node); ok {
		return n.Feature
	}
	return d.identity.read().Peers[node].Feature
}

// remember writes down where the members are, for a start at which nobody
// answers at the configured addresses. Members that are gone are forgotten.
func (d *directory) remember(members map[string]bool) error {
	known := d.identity.read().Peers
	next := make(map[string]peerRecord)
	for id := range members {
		if record, ok := known[id]; ok {
			next[id] = record
		}
		if n, ok := d.gossip.Find(id); ok {
			next[id] = peerRecord{Name: n.Name, Peer: n.Peer, Gossip: n.Addr, Feature: n.Feature}
		}
	}
	if maps.Equal(known, next) {
		return nil
	}
	return d.identity.update(func(f *identityFile) { f.Peers = next })
}

// seeds returns addresses to gossip with: the configured ones and the remembered.
func (d *directory) seeds(configured []string) []string {
	seeds := append([]string(nil), configured...)
	for id, record := range d.identity.read().Peers {
		if id != d.self && record.Gossip != "" {
			seeds = append(seeds, record.Gossip)
		}
	}
	return seeds
}
