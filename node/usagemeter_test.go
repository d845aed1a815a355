package node

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/traffic"
)

func counted(open map[string]int, counts map[string]traffic.Counts) func() (map[string]int, map[string]traffic.Counts) {
	return func() (map[string]int, map[string]traffic.Counts) { return open, counts }
}

func TestMeterCountsByMinute(t *testing.T) {
	m := newUsageMeter()
	m.read(100, counted(map[string]int{"p": 2}, map[string]traffic.Counts{"p": {Opened: 2, Publishes: 5}}))
	m.read(100, counted(map[string]int{"p": 1}, map[string]traffic.Counts{"p": {Opened: 2, Publishes: 7, Deliveries: 3}}))
	m.read(101, counted(map[string]int{"p": 1}, map[string]traffic.Counts{"p": {Opened: 2, Publishes: 7, Deliveries: 3}}))
	m.read(102, counted(nil, map[string]traffic.Counts{"p": {Opened: 2, Publishes: 7, Deliveries: 3}, "q": {Refusals: 1}}))
	want := []fsm.UsagePeriod{
		{At: 6_000_000, Usage: fsm.Usage{Connections: 2, Opened: 2, Publishes: 7, Deliveries: 3}},
		{At: 6_060_000, Usage: fsm.Usage{Connections: 1}},
	}
	if got := m.list("p", 50); !slices.Equal(got, want) {
		t.Errorf("minutes %+v, want %+v", got, want)
	}
	if got, want := m.of("p"), (fsm.Usage{Connections: 1, Opened: 2, Publishes: 7, Deliveries: 3}); got != want {
		t.Errorf("untold %+v, want %+v", got, want)
	}
	told := m.take()
	if len(told) != 2 || told["q"].Refusals != 1 || m.of("p") != (fsm.Usage{}) {
		t.Errorf("took %+v and left %+v", told, m.of("p"))
	}
	m.read(162, counted(nil, map[string]traffic.Counts{"p": {Opened: 2, Publishes: 8, Deliveries: 3}}))
	if got := m.list("p", 103); len(got) != 1 || got[0].Publishes != 1 {
		t.Errorf("an hour later %+v", got)
	}
	m.putBack("p", told["p"])
	if got := m.of("p"); got.Publishes != 8 || got.Connections != 1 {
		t.Errorf("with a report that failed %+v are untold", got)
	}
}

// Nothing is counted twice, or back, when several ask at once.
func TestMeterIsReadByMany(t *testing.T) {
	const reads = 200
	m := newUsageMeter()
	var publishes atomic.Uint64
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range reads {
				m.read(100, func() (map[string]int, map[string]traffic.Counts) {
					n := publishes.Add(1)
					runtime.Gosched()
					return nil, map[string]traffic.Counts{"p": {Publishes: n}}
				})
			}
		})
	}
	running.Wait()
	if got := m.of("p").Publishes; got != 8*reads {
		t.Errorf("%d publishes are counted, want %d", got, 8*reads)
	}
}

func TestUsageOfSeveralNodesIsAdded(t *testing.T) {
	nodes := []projectUsage{
		{[]fsm.UsagePeriod{{At: 120_000, Usage: fsm.Usage{Connections: 2}}}, fsm.Usage{Publishes: 1}},
		{
			[]fsm.UsagePeriod{{At: 60_000, Usage: fsm.Usage{Publishes: 1}}, {At: 120_000, Usage: fsm.Usage{Connections: 3}}},
			fsm.Usage{Publishes: 2},
		},
	}
	want := []fsm.UsagePeriod{
		{At: 60_000, Usage: fsm.Usage{Publishes: 1}},
		{At: 120_000, Usage: fsm.Usage{Connections: 5}},
	}
	if got := sumMinutes(nodes); !slices.Equal(got, want) {
		t.Errorf("minutes %+v, want %+v", got, want)
	}
	const hour = 3_600_000
	known := []fsm.UsagePeriod{{At: hour, Usage: fsm.Usage{Publishes: 10}}}
	if got := withUntold(known, hour+5, 3_600_000_000_000, nodes); len(got) != 1 || got[0].Publishes != 13 {
		t.Errorf("in the hour of the last report %+v", got)
	}
	if got := withUntold(known, 2*hour+5, 3_600_000_000_000, nodes); len(got) != 2 || got[1].At != 2*hour ||
		got[1].Publishes != 3 {
		t.Errorf("in the hour after it %+v", got)
	}
}
