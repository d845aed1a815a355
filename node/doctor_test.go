package node

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
)

// A voter that has just come back answers before the leader has heard of it.
func TestDoctorWaitsUntilTheLeaderHasHeardOfWhoAnswers(t *testing.T) {
	t.Parallel()
	asked, answers := 0, false
	list := func() []cluster.Member {
		asked++
		return []cluster.Member{
			{ID: "a", Name: "n1", Voter: true, Alive: true, Leader: true},
			{ID: "b", Name: "n2", Voter: true, Alive: true},
			{ID: "c", Name: "n3", Voter: true, Alive: answers && asked > 3},
		}
	}
	for _, test := range []struct {
		name     string
		answered map[string]bool
		want     string
	}{
		{"it answers", map[string]bool{"a": true, "b": true, "c": true}, "1 more may fail"},
		{"it does not", map[string]bool{"a": true, "b": true}, "no other may fail"},
	} {
		asked, answers = 0, test.answered["c"]
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		e := &doctor{node: "n1"}
		awaitHeard(ctx, list, test.answered)
		now := time.Now()
		e.quorum(situation{node: "n1", members: list(), led: now, lately: true, started: now, now: now})
		cancel()
		if len(e.findings) != 1 || !strings.Contains(e.findings[0].Text, test.want) {
			t.Errorf("%s: %+v", test.name, e.findings)
		}
	}
}
