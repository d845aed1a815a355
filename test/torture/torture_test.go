package torture

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

var (
	seed     = flag.Uint64("seed", 0, "torture with this seed only; 0 means those of every day")
	seeds    = flag.Int("seeds", 1, "how many seeds to torture with, from -seed on")
	duration = flag.Duration("duration", 12*time.Second, "how long a seed's faults last")
	nodes    = flag.Int("nodes", 3, "nodes of the cluster")
	faults   = flag.String("faults", "", "kinds of faults to torture with, like torn,isolate; empty means all")
	sdk      = flag.Bool("sdk", false,
		"have one more client that follows and publishes with the JavaScript SDK (make sdk)")
	judge = flag.String("judge", "", "a history to judge again, instead of any torture")
	keep  = flag.String("keep", os.TempDir(), "folder for the histories and logs of failed runs")
)

// harness makes of this tree what is tortured.
const harness = "harness.patch"

// aptlyd is the path of what is tortured, built by TestMain.
var aptlyd string

// total is of the seeds of TestTorture. TestMain says it last.
var total tally

func TestMain(m *testing.M) {
	flag.Parse()
	code := lab.Main(m, &aptlyd, []string{harness})
	if total.begun > 0 {
		fmt.Println(&total)
	}
	os.Exit(code)
}

// TestTorture is the everyday run, and with -seed any other.
func TestTorture(t *testing.T) {
	if *judge != "" {
		t.Skip("a history is judged")
	}
	first, count := *seed, *seeds
	if first == 0 {
		first = 1
	}
	for s := first; s < first+uint64(count); s++ {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			total.begun++
			report := torture(t, Options{Seed: s, Length: *duration, Nodes: *nodes, Faults: kinds(), SDK: sdkFolder(t)})
			total.add(report)
			if len(report.Violations) > 0 {
				t.Errorf("first of %d violations:\n%s", len(report.Violations), report.Violations[0])
				for _, v := range report.Violations[1:min(len(report.Violations), 8)] {
					t.Log(v)
				}
				t.Logf("again: go test ./test/torture -run TestTorture -seed %d -duration %v -nodes %d", s, *duration, *nodes)
			}
		})
	}
}

// sdkFolder is where the JavaScript SDK is, where it was asked for.
func sdkFolder(t *testing.T) string {
	t.Helper()
	if !*sdk {
		return ""
	}
	lab.NeedTool(t, "node")
	folder, err := filepath.Abs("../../sdk/js")
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, "dist"))
	}
	if err != nil {
		t.Fatalf("the SDK is not built (make sdk): %v", err)
	}
	return folder
}

// kinds are those that were asked for.
func kinds() (kinds []FaultKind) {
	for name := range strings.FieldsFuncSeq(*faults, func(r rune) bool { return r == ',' }) {
		kinds = append(kinds, FaultKind(name))
	}
	return kinds
}

// TestJudge judges a history that an earlier run has left.
func TestJudge(t *testing.T) {
	if *judge == "" {
		t.Skip("there is no -judge history")
	}
	file, err := os.Open(*judge)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	history, err := ReadHistory(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range Check(history) {
		t.Error(v)
	}
}

// torture runs in a folder that stays when the test fails.
func torture(t *testing.T, o Options) Report {
	t.Helper()
	o.Dir, o.Binary = t.TempDir(), aptlyd
	if o.Bug != "" {
		o.Binary = filepath.Join(t.TempDir(), "aptlyd")
		if err := lab.Build(o.Binary, []string{harness, bugPatch(o.Bug)}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("history and logs are in %s", preserve(t, o))
		}
	})
	report := Run(t, o)
	for _, step := range report.Plan {
		t.Log(step)
	}
	t.Logf("seed %d, %d nodes: %d events, %d publishes acknowledged, %d not; live %v after the faults, "+
		"and %v later all showed the same members", o.Seed, o.Nodes, len(report.History), report.Published, report.Refused,
		report.Recovery.Round(10*time.Millisecond), report.Agreement.Round(10*time.Millisecond))
	if report.Published == 0 {
		t.Error("nothing was acknowledged: the run shows nothing")
	}
	return report
}

// preserve copies the history and the logs out of the test's folder.
func preserve(t *testing.T, o Options) string {
	t.Helper()
	to := filepath.Join(*keep, fmt.Sprintf("aptlyd-torture-seed-%d-nodes-%d%s", o.Seed, o.Nodes, o.Bug))
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Error(err)
		return ""
	}
	paths, err := filepath.Glob(filepath.Join(o.Dir, "*"))
	if err != nil {
		t.Error(err)
	}
	for _, path := range paths {
		if !strings.HasSuffix(path, ".log") && !strings.HasSuffix(path, ".jsonl") {
			continue
		}
		content, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(path)), content, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	return to
}

// TestClockThatJumpsStampsNothing sets the leader's clock an hour ahead, with all
// nodes up and with one down. Stamps never go back, so a single one of them would
// end what keys and ids there are.
func TestClockThatJumpsStampsNothing(t *testing.T) {
	if os.Getenv("APTLYD_LONG") == "" {
		t.Skip("NOT TESTED: APTLYD_LONG=1 sets clocks")
	}
	const anHourAhead = 7 // of the offsets of skew
	report := torture(t, Options{Seed: 1, Length: 18 * time.Second, Nodes: 3, Plan: Plan{
		{Fault: Clock, At: 2 * time.Second, For: 4 * time.Second, Node: leaderNode, Other: 1, Luck: anHourAhead},
		{Fault: Clock, At: 8 * time.Second, For: 3 * time.Second, Node: leaderNode, Other: 1, Luck: anHourAhead},
		{Fault: Kill, At: 11 * time.Second, For: 6 * time.Second, Node: 0, Other: 1},
		{Fault: Clock, At: 13 * time.Second, For: 3 * time.Second, Node: leaderNode, Other: 1, Luck: anHourAhead},
	}})
	for _, v := range report.Violations {
		t.Error(v)
	}
	limit := time.Now().Add(10 * time.Second).UnixMilli()
	for _, e := range report.History {
		if e.Kind == Read && e.Stamp > limit {
			t.Fatalf("%s@%d of %s is stamped %v ahead", e.Channel, e.Offset, e.Node, time.Until(time.UnixMilli(e.Stamp)))
		}
	}
}
