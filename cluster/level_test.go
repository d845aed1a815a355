package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func (tc *testCluster) expectLevel(want uint32) {
	tc.t.Helper()
	eventually(tc.t, func() error {
		for _, node := range tc.running() {
			if got := node.FeatureLevel(); got != want {
				return fmt.Errorf("%s says %d, not %d", node.cfg.NodeName, got, want)
			}
		}
		return nil
	})
}

// expectCompression says whether the batches of a node are to be compressed.
func (tc *testCluster) expectCompression(node *testNode, want bool) {
	tc.t.Helper()
	given, left := node.Compression()
	text := bytes.Repeat([]byte("the same text "), 1000)
	told := make(chan Result, 1)
	node.Submit([][]byte{text}, func(_ int, r Result) { told <- r })
	if r := <-told; r.Err != nil {
		tc.t.Fatal(r.Err)
	}
	givenThen, leftThen := node.Compression()
	given, left = givenThen-given, leftThen-left
	if got := left < given/2; got != want || given < uint64(len(text)) {
		tc.t.Errorf("%d bytes became %d, want them compressed: %t", given, left, want)
	}
}

func TestFeatureLevelIsThatOfTheOldestMember(t *testing.T) {
	t.Parallel()
	tc := &testCluster{t: t, root: t.TempDir()}
	t.Cleanup(func() {
		for _, node := range tc.nodes {
			node.stop(t)
		}
	})
	level := func(n uint32) { tc.tune = func(c *Config) { c.FeatureLevel = n } }
	level(2)
	tc.start("node1", 3, "node1")
	tc.start("node2", 3, "node2")
	level(1)
	old := tc.start("node3", 3, "node3")
	tc.ready()
	tc.expectLevel(1)
	tc.expectCompression(tc.nodes[0], false)
	// Away is not gone: it will come back and must know what it finds.
	old.stop(t)
	for _, node := range tc.running() {
		if _, gossiping := node.gossip.Find(old.id); gossiping {
			eventually(t, func() error {
				if _, still := node.gossip.Find(old.id); still {
					return errors.New("it is still in gossip")
				}
				return nil
			})
		}
	}
	tc.expectLevel(1)
	level(3)
	upgraded := tc.start("node3", 3, "node3")
	tc.ready()
	tc.expectLevel(2)
	eventually(t, func() error {
		for _, node := range tc.others(upgraded) {
			if got := node.identity.read().Peers[upgraded.id].Feature; got != 3 {
				return fmt.Errorf("%s remembers %d of it", node.cfg.NodeName, got)
			}
		}
		return nil
	})
	for _, node := range tc.running() {
		tc.expectCompression(node, true)
	}
	upgraded.stop(t)
	tc.expectLevel(2)

	level(1)
	late := tc.start("node4", 3, "node4")
	if err := late.Ready(within(t)); !errors.Is(err, ErrTooOld) {
		t.Errorf("a node of the old version joins: %v", err)
	}
	late.stop(t)
	members := tc.running()[0].Members()
	if slices.ContainsFunc(members, func(m Member) bool { return m.Name == "node4" }) {
		t.Errorf("it is a member: %+v", members)
	}
}
