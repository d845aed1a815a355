package torture

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// Options say what to run.
type Options struct {
	Seed   uint64
	Length time.Duration // of the faults; healing and reading come on top
	Nodes  int
	Binary string      // of aptlyd, built with harness.patch
	Bug    string      // that is planted in it; empty for none
	Plan   Plan        // instead of the seed's
	Faults []FaultKind // that the seed may have; empty means all
	SDK    string      // folder of the JavaScript SDK, with which one more client runs; empty for none
	Dir    string      // for the history and the nodes' data and logs
}

// Report is what came of a run.
type Report struct {
	Plan       Plan
	Made       map[FaultKind]int // what came of it
	History    []Event
	Violations []Violation
	Published  int64         // acknowledged
	Refused    int64         // failed or unknown
	Recovery   time.Duration // from the end of the faults until every node served
	Agreement  time.Duration // from then until every node showed the same members, the right ones
}

// Run tortures a cluster. It fails the test only when it could not do so: what it
// found is in the report.
func Run(t testing.TB, o Options) Report {
	t.Helper()
	recorder, err := NewRecorder(filepath.Join(o.Dir, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	// What a run that fails has begun is over when its nodes are gone.
	var w *workload
	t.Cleanup(func() {
		if w != nil && t.Failed() {
			w.abandon()
			_, _ = recorder.Close() // has been closed if the run came to its end
		}
	})
	s := newSite(t, recorder, o.Binary, o.Dir, o.Nodes)
	w = newWorkload(recorder, s.cluster.ServerKey, s.cluster.AdminToken, s.prepareProject(), s.doors)
	w.sdk, w.roomDoors = o.SDK, s.roomDoors
	report := Report{Plan: o.Plan, Made: s.made}
	if report.Plan == nil {
		report.Plan = NewPlan(o.Seed, o.Length, o.Nodes, func(kind FaultKind) bool {
			return s.able(kind) && (len(o.Faults) == 0 || slices.Contains(o.Faults, kind))
		})
	}
	w.start(o.Seed, s.allDoors())
	s.suffer(time.Now(), report.Plan, o.Length)
	report.Recovery = s.heal(w)
	report.Agreement = s.agreeOnMembers(w)
	w.end()
	heads := s.settle(w)
	s.readAll(w)
	w.drain(heads, 20*time.Second)
	s.resumeAll(w, heads, o.Seed)
	if report.History, err = recorder.Close(); err != nil {
		t.Fatal(err)
	}
	report.Violations = Check(report.History)
	report.Published, report.Refused = w.published.Load(), w.refused.Load()
	return report
}

// prepareProject sets the rules of the project that a cluster begins with, under
// which nothing expires during a run, and returns its id.
func (s *site) prepareProject() string {
	s.t.Helper()
	grace := client.Duration(memberGrace)
	rules := []client.Rule{
		{Pattern: "p:*", Presence: &client.PresenceRule{Grace: &grace}},
		{Pattern: "m:*", Durability: "memory"},
		{
			Pattern: "*", KeepMessages: 1_000_000, KeepFor: client.Duration(10 * 365 * 24 * time.Hour),
			Initial: &client.Initial{All: true},
		},
	}
	for project, err := range s.admin(0).Projects(s.t.Context()) {
		if err == nil {
			_, err = s.admin(0).UpdateProject(s.t.Context(), project.ID, client.ProjectChange{Rules: &rules})
		}
		if err != nil {
			s.t.Fatal(err)
		}
		return project.ID
	}
	s.t.Fatal("the cluster has no project")
	return ""
}
