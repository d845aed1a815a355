package torture

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

// bugPatch returns the patch that plants a bug.
func bugPatch(bug string) string { return filepath.Join("planted", bug+".patch") }

type plantedBug struct {
	bug    string
	length time.Duration
	plan   Plan
	rules  []string
}

// planted are the bugs that can be planted, each with faults that bring it to
// light and the rules of which one at least must find it.
var planted = []plantedBug{
	{"ack-before-sync", 14 * time.Second, Plan{
		{Fault: Blackout, At: 3 * time.Second, For: time.Second, Other: 1},
		{Fault: Blackout, At: 9 * time.Second, For: time.Second, Other: 1},
	}, []string{"what is acknowledged is there"}},
	{"deliver-before-commit", 12 * time.Second, Plan{
		{Fault: Cut, At: 3 * time.Second, For: 5 * time.Second, Node: leaderNode, Other: 1},
	}, []string{"one message per offset", "what is delivered stays"}},
	{"no-dedup", 12 * time.Second, Plan{
		{Fault: Kill, At: 3 * time.Second, For: time.Second, Node: leaderNode, Other: 1},
		{Fault: Kill, At: 8 * time.Second, For: time.Second, Node: leaderNode, Other: 1},
	}, []string{"no repeat"}},
	{"replay-off-by-one", 6 * time.Second, Plan{}, []string{"a subscriber gets everything once and in order"}},
	{"cursor-ahead", 6 * time.Second, Plan{}, []string{"a subscriber gets everything once and in order"}},
	{"revocation-missed", revokedWithin + 10*time.Second, Plan{}, []string{"a revoked key is dead"}},
	{"batch-lost-at-leader-change", 12 * time.Second, Plan{
		{Fault: Kill, At: 3 * time.Second, For: time.Second, Node: leaderNode, Other: 1},
		{Fault: Pause, At: 8 * time.Second, For: 3 * time.Second, Node: leaderNode, Other: 1},
	}, []string{"what is acknowledged is there"}},
	{"no-checksum", 10 * time.Second, Plan{
		{Fault: Flip, At: 5 * time.Second, For: time.Second, Node: 1, Other: 2, Luck: 2_001},
	}, []string{"nobody is sent what nobody published"}},
	{"stale-batch", 32 * time.Second, Plan{
		{Fault: Isolate, At: 3 * time.Second, For: idWindow + 11*time.Second, Node: 1, Other: 2, Luck: 1},
	}, []string{"no repeat"}},
	{"revoked-acts", 10 * time.Second, Plan{}, []string{"a revoked key is dead"}},
	{"state-hang-unnoticed", 25 * time.Second, Plan{
		{Fault: StateHang, At: 3 * time.Second, For: 20 * time.Second, Node: leaderNode, Other: 1},
	}, []string{"a majority goes on"}},
	{"slow-leader-stays", 30 * time.Second, Plan{
		{Fault: SlowLeader, At: 3 * time.Second, For: 25 * time.Second, Node: leaderNode, Other: 1},
	}, []string{"a slow leader hands over"}},
	{"bound-left-out", 24 * time.Second, Plan{
		{Fault: TornPair, At: 3 * time.Second, For: 3500 * time.Millisecond, Node: leaderNode, Other: 1, Luck: 2},
		{Fault: TornPair, At: 15 * time.Second, For: 3500 * time.Millisecond, Node: leaderNode, Other: 1, Luck: 3},
	}, []string{"what is acknowledged is there"}},
	{"grace-unheard", 26 * time.Second, Plan{
		{Fault: Deaf, At: 3 * time.Second, For: 8 * time.Second, Node: 1, Other: 2},
		{Fault: Deaf, At: 15 * time.Second, For: 8 * time.Second, Node: 2, Other: 0},
	}, []string{"nobody is said to have left who has not"}},
	{"change-lost", 12 * time.Second, Plan{
		{Fault: Mute, At: 3 * time.Second, For: 8 * time.Second, Node: 1, Other: 2},
		{Fault: Mute, At: 3 * time.Second, For: 8 * time.Second, Node: 2, Other: 0},
	}, []string{"every node shows the members", "nobody is said to have left who has not"}},
	{"restore-without-swap", 30 * time.Second, Plan{
		{Fault: Kill, At: 2 * time.Second, For: 24 * time.Second, Node: 1, Other: 2},
	}, []string{"what is acknowledged is there"}},
}

// TestPlantedBugsAreFound shows that the rules find what they are for, and that
// without a bug the same faults break nothing.
func TestPlantedBugsAreFound(t *testing.T) {
	if os.Getenv("APTLYD_LONG") == "" {
		t.Skip("NOT TESTED: APTLYD_LONG=1 plants bugs, for some minutes")
	}
	for _, p := range planted {
		t.Run(p.bug, func(t *testing.T) {
			for _, step := range p.plan {
				switch step.Fault {
				case Blackout:
					lab.NeedDisks(t)
				case TornPair:
					lab.NeedDisks(t)
					lab.NeedNetworks(t)
					lab.NeedTool(t, "strace")
				case Cut, Isolate, Deaf, Mute:
					lab.NeedNetworks(t)
				case StateHang, SlowLeader:
					lab.NeedTool(t, "strace")
				}
			}
			o := Options{Seed: 1, Length: p.length, Nodes: 3, Plan: p.plan}
			if found := torture(t, o).Violations; len(found) > 0 {
				t.Errorf("without the bug: %v", found[0])
			}
			o.Bug = p.bug
			report := torture(t, o)
			count := make(map[string]int)
			for _, v := range report.Violations {
				if count[v.Rule]++; count[v.Rule] == 1 {
					t.Logf("found: %s", v)
				}
			}
			for rule, n := range sorted(count) {
				t.Logf("%s: %d", rule, n)
			}
			if !slices.ContainsFunc(p.rules, func(rule string) bool { return count[rule] > 0 }) {
				t.Errorf("not found by %q", p.rules)
			}
		})
	}
}

// TestPatchesApply shows that the tree has not moved away under a patch, and that what a
// patch makes of it compiles.
func TestPatchesApply(t *testing.T) {
	lab.NeedTool(t, "git")
	patches, err := filepath.Glob(bugPatch("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range planted {
		if !slices.Contains(patches, bugPatch(p.bug)) {
			t.Errorf("there is no patch for %s", p.bug)
		}
	}
	for _, path := range patches {
		if !slices.ContainsFunc(planted, func(p plantedBug) bool { return bugPatch(p.bug) == path }) {
			t.Errorf("no test plants %s", path)
		}
	}
	for _, path := range append(patches, filepath.Join("..", "next.patch")) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".patch"), func(t *testing.T) {
			t.Parallel()
			overlay, folders, err := lab.Overlay(t.TempDir(), harness, path)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("go",
				append([]string{"vet", "-overlay", overlay}, folders...)...).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
