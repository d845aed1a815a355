package logbridge

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// While a peer is away Raft complains several times a second; once in a while is
// enough. What is no failure is not worth a warning.
func TestLibrariesDoNotFillTheLog(t *testing.T) {
	var written bytes.Buffer
	log := Hclog(slog.New(slog.NewTextHandler(&written, nil)), "raft")
	for range 10 {
		log.Error("failed to heartbeat to", "peer", "a")
		log.Warn("no known peers, aborting election")
		log.Info("entering follower state")
	}
	log.Error("failed to make requestVote RPC", "peer", "a")
	lines := strings.Split(strings.TrimSpace(written.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "heartbeat") || !strings.Contains(lines[1], "requestVote") {
		t.Errorf("want one line of each failure, got\n%s", &written)
	}
	if !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "library=raft") {
		t.Errorf("unexpected line %s", lines[0])
	}
}
