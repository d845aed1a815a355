package cluster

import (
	"bytes"
	"encoding/gob"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestClusterClock(t *testing.T) {
	const (
		hour = 3_600_000 // ms
		last = 10 * hour // the last stamp
	)
	for _, test := range []struct {
		name   string
		voters int
		stamp  int64   // the last one, when this node begins to lead
		own    int64   // its clock then
		set    int64   // its clock is set by this after a second
		others []int64 // clocks of the voters that can be asked then
		want   int64   // what time it is after that second
		ahead  int64   // of its own clock
		wrong  bool
	}{
		{"all three agree", 3, last, last + 2000, 0, []int64{last + 3000, last + 3100}, last + 3000, 0, false},
		{"two of three are up and agree", 3, last, last + 2000, 0, []int64{last + 3000}, last + 3000, 0, false},
		{
			"after hours without a leader", 3, last, last + 5*hour, 0,
			[]int64{last + 5*hour + 900},
			last + 5*hour + 1000, 0,
			false,
		},
		{"the leader's clock jumps while one is down", 3, last, last, hour, []int64{last + 1000}, last + 1000, hour, false},
		{
			"the leader's clock jumps back while one is down", 3, last, last, -hour,
			[]int64{last + 1000},
			last + 1000, -hour,
			false,
		},
		{"the leader's clock jumps, nobody is heard", 3, last, last, hour, nil, last + 1000, hour, false},
		{
			"the leader's clock jumps, two contradict", 3, last, last, hour,
			[]int64{last + 1000, last + 1200},
			last + 1200,
			hour - 200, true,
		},
		{
			"the leader's clock was wrong, two contradict", 3, last, last - hour, 0,
			[]int64{last + 1000, last + 1200},
			last + 1200, -hour - 200, true,
		},
		{"the other one's clock is wrong", 3, last, last, 0, []int64{last + hour}, last + 1000, 0, false},
		{"one of two others is wrong", 3, last, last, 0, []int64{last + hour, last + 1000}, last + 1000, 0, false},
		{"all three differ", 3, last, last + 2*hour, 0, []int64{last, last + hour}, last + 1000, 2 * hour, false},
		{"two of two agree", 2, last, last + hour, 0, []int64{last + hour}, last + hour + 1000, 0, false},
		{"two of two differ", 2, last, last + hour, 0, []int64{last}, last + 1000, hour, false},
		{"three of five agree", 5, last, last, 0, []int64{last + hour, last - hour, last, last}, last + 1000, 0, false},
		{
			"three of five, all that are up", 5, last, last + hour, 0,
			[]int64{last + hour, last + hour},
			last + hour + 1000,
			0, false,
		},
		{"two of five agree", 5, last, last + hour, 0, []int64{last + hour, last, last}, last + 1000, hour, false},
		{
			"three of five contradict", 5, last, last + hour, 0,
			[]int64{last, last + 10, last + 20},
			last + 10, hour + 990,
			true,
		},
		{"alone, after hours", 1, last, last + 5*hour, 0, nil, last + 5*hour + 1000, 0, false},
		{"alone, its clock is corrected", 1, last, last, 3000, nil, last + 4000, 0, false},
		{"alone, its clock jumps", 1, last, last, hour, nil, last + 1000, hour, false},
		{"a new cluster, nobody is heard", 3, 0, last, 0, nil, last + 1000, 0, false},
		{"a new cluster, all three differ", 3, 0, last, 0, []int64{last - hour, last + hour}, last + 1000, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c clusterClock
			const boot = time.Hour
			c.seedFromStamp(boot, test.own, test.stamp, test.voters)
			own := test.own + 1000 + test.set
			heard := make(map[string]leaderHeard)
			var nodes []string
			for i, clock := range test.others {
				id := string(rune('b' + i))
				nodes = append(nodes, id)
				heard[id] = leaderHeard{report: report{Clock: clock - 40}, Age: 40}
			}
			ahead, wrong := c.look(boot+time.Second, own, test.voters, otherClocks(heard, nodes, own))
			if got := c.at(boot + time.Second); got != test.want {
				t.Errorf("it is %+d ms after the last stamp, want %+d", got-test.stamp, test.want-test.stamp)
			}
			if ahead.Milliseconds() != test.ahead || wrong != test.wrong {
				t.Errorf("its own clock is %v ahead, wrong: %v; want %d ms, %v", ahead, wrong, test.ahead, test.wrong)
			}
			if got := c.at(boot + time.Minute); got != test.want+59_000 {
				t.Errorf("a minute later it is %+d ms after the last stamp", got-test.stamp)
			}
		})
	}
}

func TestOnlyVotersHeardOfLatelyAreAsked(t *testing.T) {
	const own = 1_000_000
	node := func(clock, age int64) leaderHeard { return leaderHeard{report: report{Clock: clock}, Age: age} }
	got := otherClocks(map[string]leaderHeard{
		"b":          node(own+500, 100),
		"silent":     {report: report{Clock: own}, Silent: true},
		"long ago":   node(own, 60_000),
		"no voter":   node(own, 0),
		"other node": node(own, 0),
	}, []string{"b", "silent", "long ago", "unheard of"}, own)
	if len(got) != 1 || got[0] != 600 {
		t.Errorf("they are ahead by %v, want 600", got)
	}
}

// TestTheFirstLeaderAsksForTheTime starts a cluster whose last stamp is old, as it is
// when all nodes were down.
func TestTheFirstLeaderAsksForTheTime(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	tc := newTestCluster(t, 3, func(c *Config) {
		var state bytes.Buffer
		if err := gob.NewEncoder(&state).Encode(testState{Stamp: begun.Add(-5 * time.Hour).UnixMilli()}); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Dir, "machine"), state.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	tc.nodes[0].submitAll(10, "command %d")
	tc.agree(10)
	for _, node := range tc.nodes {
		node.machine.mu.Lock()
		if first := time.UnixMilli(node.machine.firstStamp); first.Before(begun.Add(-maxClockSkew)) {
			t.Errorf("%s applied something that was stamped %v ago", node.cfg.NodeName, begun.Sub(first))
		}
		node.machine.mu.Unlock()
	}
}
