package cluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestEveryNodeAppliesTheSameSequence(t *testing.T) {
	tc := newTestCluster(t, 3, nil)
	const each = 200
	var submitting sync.WaitGroup
	for _, node := range tc.nodes {
		submitting.Go(func() {
			for i, r := range node.submitAll(each, node.cfg.NodeName+" %d") {
				if r.Err != nil {
					t.Errorf("%s, command %d: %v", node.cfg.NodeName, i, r.Err)
				}
			}
		})
	}
	submitting.Wait()
	commands := tc.agree(3 * each)
	if len(commands) != 3*each {
		t.Fatalf("%d commands were applied, want %d", len(commands), 3*each)
	}
	for _, node := range tc.nodes {
		assertOrder(t, commands, node.cfg.NodeName, each)
	}
}

// assertOrder checks that a submitter's commands are all there, once and in
// order.
func assertOrder(t *testing.T, commands []string, submitter string, count int) {
	t.Helper()
	var own []string
	for _, command := range commands {
		if strings.HasPrefix(command, submitter+" ") {
			own = append(own, command)
		}
	}
	want := make([]string, count)
	for i := range want {
		want[i] = fmt.Sprintf("%s %d", submitter, i)
	}
	if !slices.Equal(own, want) {
		t.Errorf("commands of %s are lost, doubled or out of order: %d of %d, %v", submitter, len(own), count, firstDifference(own, want))
	}
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("at %d %q instead of %q", i, got[i], want[i])
		}
	}
	return "at the end"
}
