package node

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// threeVoters are as n1 sees them at noon: those that are gone were last heard so long ago.
func threeVoters(gone map[string]time.Duration) situation {
	s := situation{node: "n1", led: noon, lately: true, started: noon.Add(-time.Hour), now: noon}
	for _, name := range []string{"n1", "n2", "n3"} {
		ago, missing := gone[name]
		m := cluster.Member{ID: name, Name: name, Voter: true, Leader: name == "n1", Alive: !missing}
		if ago != 0 || !missing {
			m.LastHeard = noon.Add(-ago)
		}
		s.members = append(s.members, m)
	}
	return s
}

func TestSituationIsSaidInPlainSentences(t *testing.T) {
	unled := func(s situation, led time.Duration) situation {
		s.lately, s.led = false, noon.Add(-led)
		return s
	}
	restarted := unled(threeVoters(map[string]time.Duration{"n2": 0, "n3": 0}), 0)
	restarted.led, restarted.started = time.Time{}, noon.Add(-20*time.Second)
	alone := threeVoters(nil)
	alone.members = alone.members[:1]
	for _, test := range []struct {
		name        string
		situation   situation
		text, brief string
	}{
		{"all is well", threeVoters(nil), "n1 leads, 3 of 3 voters are alive; 1 more may fail.", ""},
		{"a single node", alone, "n1 leads, 1 of 1 voters are alive.", ""},
		{
			"one is missing", threeVoters(map[string]time.Duration{"n3": 12 * time.Second}),
			"n1 leads, 2 of 3 voters are alive; no other may fail.", "",
		},
		{
			"no majority", unled(threeVoters(map[string]time.Duration{"n2": 40 * time.Second, "n3": 12 * time.Second}),
				12*time.Second),
			"No majority: n1 sees 1 of 3 voters alive, and 2 are needed. " +
				"Missing: n2 since 2026-07-01 11:59:20 UTC (40s); n3 since 2026-07-01 11:59:48 UTC (12s). " +
				"Nothing can be published or changed until one of them is back.",
			"no majority for 12s: 1 of 3 nodes can be reached, n2, n3 missing",
		},
		{
			"no majority since the start", restarted,
			"No majority: n1 sees 1 of 3 voters alive, and 2 are needed. " +
				"Missing: n2 since before n1 started at 2026-07-01 11:59:40 UTC; n3 since before n1 started at 2026-07-01 " +
				"11:59:40 UTC. " +
				"Nothing can be published or changed until one of them is back.",
			"no majority for 20s: 1 of 3 nodes can be reached, n2, n3 missing",
		},
		{
			"an election", unled(threeVoters(nil), 4*time.Second),
			"No leader since 2026-07-01 11:59:56 UTC (4s): 3 of 3 voters can be reached, so one of them is about to be elected.",
			"no leader for 4s",
		},
		{
			"no election succeeds", unled(threeVoters(nil), 30*time.Second),
			"No leader since 2026-07-01 11:59:30 UTC (30s), though 3 of 3 voters can be reached: " +
				"look at the logs of all nodes for what keeps them from electing one.",
			"no leader for 30s",
		},
		{
			"no cluster yet",
			situation{node: "n1", started: noon, now: noon},
			"This node belongs to no cluster yet. Its log says for whom it waits.", "the node belongs to no cluster yet",
		},
	} {
		if got := test.situation.text(); got != test.text {
			t.Errorf("%s:\n%s, want\n%s", test.name, got, test.text)
		}
		if got := test.situation.brief(); got != test.brief {
			t.Errorf("%s: %q, want %q", test.name, got, test.brief)
		}
	}
}

func TestAbsencesAreLoggedOnce(t *testing.T) {
	var written bytes.Buffer
	a := absences{log: slog.New(slog.NewTextHandler(&written, nil)), missing: make(map[string]time.Time)}
	want := func(said ...string) {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(written.String()), "\n")
		if written.Len() == 0 {
			lines = nil
		}
		if len(lines) != len(said) {
			t.Fatalf("want %d lines, got\n%s", len(said), &written)
		}
		for i := range said {
			if !strings.Contains(lines[i], said[i]) {
				t.Errorf("%q is not in %s", said[i], lines[i])
			}
		}
		written.Reset()
	}
	starting := threeVoters(map[string]time.Duration{"n2": 0, "n3": 0})
	starting.started, starting.led, starting.lately = noon.Add(-time.Second), time.Time{}, false
	a.look(starting)
	want() // the others are started, too
	a.look(threeVoters(nil))
	want()
	lost := threeVoters(map[string]time.Duration{"n2": 40 * time.Second, "n3": 12 * time.Second})
	lost.lately, lost.led = false, noon.Add(-12*time.Second)
	a.look(lost)
	a.look(lost)
	want(`level=WARN msg="a node is missing" member=n2`, `level=WARN msg="a node is missing" member=n3`,
		`level=ERROR msg="the cluster has no majority: nothing can be published or changed" missing="n2, n3" alive=1 `+
			`voters=3 needed=2`)
	lost.now = noon.Add(quorumReminder)
	a.look(lost)
	want("the cluster has no majority")
	a.look(threeVoters(map[string]time.Duration{"n2": 40 * time.Second}))
	want(`level=INFO msg="a node is back" member=n3 after=12s`, `msg="the cluster has a majority again" after=12s`)
}
