package node

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// electionTime is how long a cluster without a leader may well be electing one.
const electionTime = 10 * time.Second

// situation is what one node knows about the majority of its cluster.
type situation struct {
	node    string
	members []cluster.Member
	led     time.Time // when a leader last proved that a majority follows it; zero: never
	lately  bool      // it is so recent that a leader is there
	started time.Time // of this node
	now     time.Time
}

func (n *Node) situation() situation {
	led, lately := n.cluster.Led()
	return situation{n.cfg.NodeName, n.cluster.Members(), led, lately, n.startedAt, time.Now()}
}

// count returns how many members vote, how many of these answer, and which do not.
func (s situation) count() (voters, alive int, missing []cluster.Member) {
	for _, m := range s.members {
		switch {
		case !m.Voter:
		case m.Alive:
			voters++
			alive++
		default:
			voters++
			missing = append(missing, m)
		}
	}
	return voters, alive, missing
}

// names joins the names of members.
func names(members []cluster.Member) string {
	all := make([]string, len(members))
	for i, m := range members {
		all[i] = m.Name
	}
	return strings.Join(all, ", ")
}

// needed returns how many voters are a majority.
func needed(voters int) int { return voters/2 + 1 }

// quorum returns the situation as operators are told it.
func (s situation) quorum() admin.Quorum {
	voters, alive, missing := s.count()
	q := admin.Quorum{Held: s.lately, Voters: voters, Alive: alive, Needed: needed(voters), Missing: []string{}}
	for _, m := range missing {
		q.Missing = append(q.Missing, m.Name)
	}
	if !s.lately && !s.led.IsZero() {
		q.LastHeldAt = s.led.UnixMilli()
	}
	q.Text = s.text()
	return q
}

// text says in plain sentences who leads, or who is missing and since when.
func (s situation) text() string {
	voters, alive, missing := s.count()
	switch {
	case voters == 0:
		return "This node belongs to no cluster yet. Its log says for whom it waits."
	case s.lately:
		return fmt.Sprintf("%s leads, %d of %d voters are alive%s.", s.leader(), alive, voters, s.spare(alive, voters))
	case alive < needed(voters):
		gone := make([]string, len(missing))
		for i, m := range missing {
			gone[i] = m.Name + " " + s.missingSince(m)
		}
		back := "one of them is"
		if short := needed(voters) - alive; short > 1 {
			back = fmt.Sprintf("%d of them are", short)
		}
		return fmt.Sprintf("No majority: %s sees %d of %d voters alive, and %d are needed. Missing: %s. "+
			"Nothing can be published or changed until %s back.",
			s.node, alive, voters, needed(voters), strings.Join(gone, "; "), back)
	case s.now.Sub(s.ledOrStarted()) < electionTime:
		return fmt.Sprintf("No leader %s: %d of %d voters can be reached, so one of them is about to be elected.",
			s.since(s.led), alive, voters)
	}
	return fmt.Sprintf("No leader %s, though %d of %d voters can be reached: "+
		"look at the logs of all nodes for what keeps them from electing one.", s.since(s.led), alive, voters)
}

// brief is text for clients: one line that fits into a close frame; empty while there is a
// leader.
func (s situation) brief() string {
	voters, alive, missing := s.count()
	lasts := s.now.Sub(s.ledOrStarted()).Round(time.Second)
	switch {
	case s.lately:
		return ""
	case voters == 0:
		return "the node belongs to no cluster yet"
	case alive < needed(voters):
		return fmt.Sprintf("no majority for %v: %d of %d nodes can be reached, %s missing", lasts, alive, voters,
			names(missing))
	}
	return fmt.Sprintf("no leader for %v", lasts)
}

// lasting reports whether there will be no leader until somebody acts.
func (s situation) lasting() bool {
	voters, alive, _ := s.count()
	unled := s.now.Sub(s.ledOrStarted())
	return !s.lately && (unled > electionTime || alive < needed(voters) && unled > electionTime/2)
}

func (s situation) leader() string {
	for _, m := range s.members {
		if m.Leader {
			return m.Name
		}
	}
	return "A node that is about to be named" // Raft and the last answer differ for a moment
}

func (s situation) spare(alive, voters int) string {
	switch spare := alive - needed(voters); {
	case voters == 1:
		return ""
	case spare <= 0:
		return "; no other may fail"
	default:
		return fmt.Sprintf("; %d more may fail", spare)
	}
}

// missingSince says since when a member is missing.
func (s situation) missingSince(m cluster.Member) string {
	if m.LastHeard.IsZero() {
		return fmt.Sprintf("since before %s started at %s", s.node, clock(s.started))
	}
	return s.since(m.LastHeard)
}

// since says how long something lasts, as a time and as a span.
func (s situation) since(t time.Time) string {
	if t.IsZero() {
		t = s.started
	}
	return fmt.Sprintf("since %s (%v)", clock(t), s.now.Sub(t).Round(time.Second))
}

func (s situation) ledOrStarted() time.Time {
	if s.led.IsZero() {
		return s.started
	}
	return s.led
}

// clock formats a time for people who may be elsewhere than the node.
func clock(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }

// obstacle remembers for a moment why a node is not up to date. Many clients that come back
// at once are told it.
type obstacle struct {
	mu      sync.Mutex
	at      time.Time
	brief   string
	lasting bool
}

// obstaclePause is how long the words are good for.
const obstaclePause = 500 * time.Millisecond

// asRefusal is asRefusal with the reason why the cluster cannot answer, if one is known.
func (n *Node) asRefusal(err error) error {
	refused := asRefusal(err)
	var known *refusal.Error
	if errors.As(refused, &known) && known.Code == refusal.Unavailable {
		if obstacle, _ := n.Obstacle(); obstacle != "" {
			named := *known
			named.Reason = obstacle
			return &named
		}
	}
	return refused
}

// Obstacle implements gateway.Broker.
func (n *Node) Obstacle() (reason string, lasting bool) {
	select {
	case <-n.member:
	default:
		return "", false // the cluster is yet to be built
	}
	o := &n.obstacle
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); now.Sub(o.at) > obstaclePause {
		s := n.situation()
		o.at, o.brief, o.lasting = now, s.brief(), s.lasting()
	}
	return o.brief, o.lasting
}
