package test

import (
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
)

// Everybody watches and enters one channel of three nodes, which has more members than are
// named for a while. All end up with the same view, nobody is cut, and what one of them is told
// and what the nodes hold stays small. With APTLYD_LONG they are 10,000 within 10 s.
func TestPresenceStorm(t *testing.T) {
	storm := bench.Presence{
		Clients: 1500, Named: 100, Stay: 50, Within: 2 * time.Second, Data: 20, InFlight: 200, Settle: deadline,
	}
	if long() {
		storm.Clients, storm.Named, storm.Stay, storm.Within = 10_000, 1000, 500, 10*time.Second
	}
	c := startCluster(t, 3)
	target, _, err := bench.MakeProject(within(t, deadline), c.Target(), storm.Rule())
	if err != nil {
		t.Fatal(err)
	}
	report, err := storm.Run(within(t, 5*time.Minute), target)
	if err != nil {
		t.Fatal(err)
	}
	if report.Broken() {
		t.Errorf("%d disconnected, %q", report.Disconnected, report.Problems)
	}
	for _, p := range report.Phases[1:] {
		// About as much as one list of all that are named, and each of them once by itself.
		most := float64(storm.Named) * 200
		t.Logf("%s: %.0f bytes a watcher, %.0f µs of CPU, %.1f moves, %.2f lists, %.1f numbers, at most %d MB in all nodes",
			p.Name, p.Bytes, p.CPU, p.Moves, p.Lists, p.Numbers, p.PeakRSS>>20)
		if p.Numbers == 0 || p.Bytes > most {
			t.Errorf("%s: a watcher is told %.0f bytes, at most %.0f are expected, and %.1f numbers", p.Name, p.Bytes, most,
				p.Numbers)
		}
	}
	if last := report.Phases[2]; last.Lists < 1 {
		t.Errorf("the members are named to %.2f of the watchers", last.Lists)
	}
	const most = 400 << 20 // what waits for each of 10,000 sockets by itself is a gigabyte
	if peak := report.Phases[2].PeakRSS; peak > most {
		t.Errorf("the nodes had %d MB", peak>>20)
	}
}

// A member takes a bounded memory of each node, of those that do not have its connection, too.
func TestMembersTakeLittleMemory(t *testing.T) {
	load := bench.MemberMemory{Members: 100_000, Channels: 10_000, Clients: 30, Data: 20, Most: 500, Rest: 2 * time.Second}
	c := startCluster(t, 3)
	target, _, err := bench.MakeProject(within(t, deadline), c.Target(), load.Rule())
	if err != nil {
		t.Fatal(err)
	}
	report, err := load.Run(within(t, 5*time.Minute), target)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range report.Servers {
		t.Logf("node %d: %.0f bytes a member besides its id and data", i+1, s.PerMember)
	}
	if report.Broken() {
		t.Error(report.Problems)
	}
}
