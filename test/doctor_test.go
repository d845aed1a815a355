package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/client"
)

// examine runs the doctor and returns what it found wrong, by check and node. How fast
// the disk is and what the machine allows is not for a test to judge.
func examine(t *testing.T, c site, node int, args ...string) (wrong []string, findings []client.Finding) {
	t.Helper()
	out, code := aptlyd(t, c, node, append([]string{"doctor", "--json"}, args...)...)
	list, _, _ := strings.Cut(out, "\n")
	if err := json.Unmarshal([]byte(list), &findings); err != nil {
		t.Fatalf("exit code %d: %s", code, out)
	}
	any := false
	for _, f := range findings {
		any = any || !f.OK
		if !f.OK && f.Check != "fsync" && f.Check != "descriptors" {
			wrong = append(wrong, f.Check+" "+f.Node)
		}
		if !strings.HasSuffix(f.Text, ".") {
			t.Errorf("no sentence: %s", f.Text)
		}
	}
	if any != (code == 1) || code > 1 {
		t.Errorf("exit code %d: %s", code, out)
	}
	slices.Sort(wrong)
	return wrong, findings
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	awaitVoters(t, c, 3, 3)
	wrong, findings := examine(t, c, 0)
	if len(wrong) > 0 {
		t.Errorf("in a sound cluster: %v", wrong)
	}
	seen := make(map[string]int)
	for _, f := range findings {
		seen[f.Check]++
	}
	for check, want := range map[string]int{
		"quorum": 1, "versions": 1, "clock": 1,
		"data folder": 3, "disk space": 3, "fsync": 3, "descriptors": 3, "reach": 6,
	} {
		if seen[check] != want {
			t.Errorf("%d findings about %s, want %d", seen[check], check, want)
		}
	}

	if err := os.Chmod(filepath.Join(c.Dir(1), "node.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if wrong, _ := examine(t, c, 0); !slices.Equal(wrong, []string{"data folder n2"}) {
		t.Errorf("with a folder that others can read: %v", wrong)
	}
	if err := os.Chmod(filepath.Join(c.Dir(1), "node.json"), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := c.Kill(2); err != nil {
		t.Fatal(err)
	}
	awaitAlive(t, c, 2)
	if wrong, findings := examine(t, c, 0); !slices.Equal(wrong, []string{"answers n3"}) {
		t.Errorf("with a node that is dead: %v\n%+v", wrong, findings)
	}

	// A node that does not run, and a folder that is none.
	if wrong, _ := examine(t, c, 0, "--data-dir", c.Dir(2)); len(wrong) > 0 {
		t.Errorf("of a node that does not run: %v", wrong)
	}
	if wrong, _ := examine(t, c, 0, "--data-dir", filepath.Join(t.TempDir(), "none")); len(wrong) != 1 ||
		!strings.HasPrefix(wrong[0], "data folder") {
		t.Errorf("of no folder: %v", wrong)
	}
}

func TestCommandLineHealthcheck(t *testing.T) {
	c := startCluster(t, 1)
	if out, code := aptlyd(t, c, 0, "healthcheck"); code != 0 || !strings.Contains(out, "is ready") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	if out, code := aptlyd(t, c, 0, "healthcheck"); code != 1 || !strings.Contains(out, "is not ready") {
		t.Errorf("of a dead node: exit code %d: %s", code, out)
	}
}
