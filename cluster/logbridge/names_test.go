package logbridge

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// Logs name nodes as people do, whoever wrote the line.
func TestNamesStandForIDs(t *testing.T) {
	const n2, other = "60a34a50-b652-4990-ab69-f7f49f0b900e", "d99b23a3-591a-4770-88cb-c1a9fc00d358"
	var written bytes.Buffer
	log := WithNames(slog.New(slog.NewTextHandler(&written, nil)), func(id string) string {
		if id == n2 {
			return "n2"
		}
		return id
	})
	Hclog(log, "raft").Error("failed to appendEntries to", "peer", "{Voter "+n2+" "+n2+"}", "error", "EOF")
	Standard(log, "gossip").Print("[WARN] memberlist: Suspect " + n2 + "/17 has failed")
	log.With("component", "cluster").Warn("x", "err", errors.New("dial "+n2), "id", n2, "peer", other)
	for _, want := range []string{"peer=\\\"n2\\\"", "Suspect n2 has failed", "dial n2", "id=" + n2, "peer=" + other} {
		if !strings.Contains(written.String(), want) {
			t.Errorf("%q is not in\n%s", want, &written)
		}
	}
	if n := strings.Count(written.String(), n2); n != 1 {
		t.Errorf("the id is told %d times, want once\n%s", n, &written)
	}
}
