package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/internal/repeat"
)

const (
	// watchInterval is how often a node looks who is missing.
	watchInterval = time.Second
	// quorumReminder is how often it says again that there is no majority.
	quorumReminder = time.Minute
)

// absences log which members are missing, and whether a majority is left.
type absences struct {
	log     *slog.Logger
	missing map[string]time.Time // by name, since when
	lost    time.Time            // when the majority was lost; zero: it is there
	said    time.Time            // when that was last logged
}

// watchMembers logs who is missing until ctx ends.
func (n *Node) watchMembers(ctx context.Context) {
	a := absences{log: n.log, missing: make(map[string]time.Time)}
	for range repeat.Every(ctx, watchInterval) {
		a.look(n.situation())
	}
}

// look logs what has changed.
func (a *absences) look(s situation) {
	present := make(map[string]cluster.Member)
	for _, m := range s.members {
		present[m.Name] = m
		since, gone := a.missing[m.Name]
		switch {
		case m.Alive && gone:
			delete(a.missing, m.Name)
			a.log.Info("a node is back", "member", m.Name, "after", s.now.Sub(since).Round(time.Second).String())
		case !m.Alive && !gone && s.tellable(m):
			a.missing[m.Name] = s.lastSeen(m)
			a.log.Warn("a node is missing", "member", m.Name, "addr", m.PeerAddr, "since", clock(s.lastSeen(m)))
		}
	}
	for name := range a.missing {
		if _, ok := present[name]; !ok {
			delete(a.missing, name)
		}
	}
	a.lookAtQuorum(s)
}

// tellable reports whether a missing member is worth a warning: not while nodes start.
func (s situation) tellable(m cluster.Member) bool {
	return !m.LastHeard.IsZero() || s.now.Sub(s.started) > electionTime
}

func (s situation) lastSeen(m cluster.Member) time.Time {
	if m.LastHeard.IsZero() {
		return s.started
	}
	return m.LastHeard
}

func (a *absences) lookAtQuorum(s situation) {
	voters, alive, missing := s.count()
	switch {
	case s.lately && !a.lost.IsZero():
		a.log.Info("the cluster has a majority again", "after", s.now.Sub(a.lost).Round(time.Second).String())
		a.lost, a.said = time.Time{}, time.Time{}
	case alive >= needed(voters) || !s.lasting():
	case s.now.Sub(a.said) >= quorumReminder:
		a.lost, a.said = s.ledOrStarted(), s.now
		a.log.Error("the cluster has no majority: nothing can be published or changed",
			"missing", names(missing), "alive", alive, "voters", voters, "needed", needed(voters),
			"since", clock(a.lost))
	}
}
