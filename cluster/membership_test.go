package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/gossip"
)

// membershipCluster is just enough of a Cluster to decide about members.
func membershipCluster(t *testing.T, names map[string]string) *Cluster {
	t.Helper()
	dir := t.TempDir()
	who, err := openIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{
		id:        "self",
		cfg:       Config{}.withDefaults(),
		identity:  who,
		directory: &directory{identity: who, gossip: named(names)},
		applier:   &applier{consumed: 5000, waiters: make(map[*waiter]struct{})},
	}
	return c
}

// named are neighbours by id, with their names.
type named map[string]string

func (n named) All() (all []gossip.Neighbour) {
	for id := range n {
		one, _ := n.Find(id)
		all = append(all, one)
	}
	return all
}

func (n named) Find(id string) (gossip.Neighbour, bool) {
	name, found := n[id]
	return gossip.Neighbour{ID: id, Meta: gossip.Meta{Name: name}}, found
}

func TestNextStep(t *testing.T) {
	names := map[string]string{
		"self": "one", "b": "two", "c": "three", "c2": "three", "d": "four", "e": "five",
		"f": "six",
	}
	voter := func(id string) raft.Server { return raft.Server{ID: raft.ServerID(id), Suffrage: raft.Voter} }
	learner := func(id string) raft.Server { return raft.Server{ID: raft.ServerID(id), Suffrage: raft.Nonvoter} }
	type news struct {
		id      string
		applied uint64
		ago     time.Duration
	}
	long := time.Minute
	for _, test := range []struct {
		name    string
		servers []raft.Server
		heard   []news
		want    step
	}{
		{
			name:    "nothing to do",
			servers: []raft.Server{voter("self"), voter("b"), voter("c")},
			heard:   []news{{"self", 5000, 0}, {"b", 5000, 0}, {"c", 5000, 0}},
		},
		{
			name:    "a silent member without an replacement stays",
			servers: []raft.Server{voter("self"), voter("b"), voter("c")},
			heard:   []news{{"self", 5000, 0}, {"b", 5000, 0}},
		},
		{
			name:    "a learner that has caught up",
			servers: []raft.Server{voter("self"), learner("b")},
			heard:   []news{{"self", 5000, 0}, {"b", 4500, 0}},
			want:    step{promote: "b"},
		},
		{
			name:    "a learner that is behind",
			servers: []raft.Server{voter("self"), learner("b")},
			heard:   []news{{"self", 5000, 0}, {"b", 3000, 0}},
		},
		{
			name:    "a learner that is silent",
			servers: []raft.Server{voter("self"), learner("b")},
			heard:   []news{{"self", 5000, 0}, {"b", 5000, 10 * time.Second}},
		},
		{
			name:    "an replacement votes first",
			servers: []raft.Server{voter("self"), voter("b"), voter("c"), learner("c2")},
			heard:   []news{{"self", 5000, 0}, {"b", 5000, 0}, {"c2", 5000, 0}},
			want:    step{promote: "c2"},
		},
		{
			name:    "then the silent one goes",
			servers: []raft.Server{voter("self"), voter("b"), voter("c"), voter("c2")},
			heard:   []news{{"self", 5000, 0}, {"b", 5000, 0}, {"c2", 5000, 0}},
			want:    step{remove: "c"},
		},
		{
			name:    "but not while it is heard of",
			servers: []raft.Server{voter("self"), voter("b"), voter("c"), voter("c2")},
			heard:   []news{{"self", 5000, 0}, {"b", 5000, 0}, {"c2", 5000, 0}, {"c", 10, 29 * time.Second}},
		},
		{
			name:    "five voters are enough",
			servers: []raft.Server{voter("self"), voter("b"), voter("c"), voter("d"), voter("e"), learner("f")},
			heard:   []news{{"self", 5000, 0}, {"f", 5000, 0}},
		},
		{
			name:    "among five, the silent one makes room for its replacement",
			servers: []raft.Server{voter("self"), voter("b"), voter("c"), voter("d"), voter("e"), learner("c2")},
			heard:   []news{{"self", 5000, 0}, {"c2", 5000, 0}},
			want:    step{remove: "c"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := membershipCluster(t, names)
			now := time.Now()
			c.health.begin(nil, view{}, time.Time{}, now.Add(-long))
			for _, n := range test.heard {
				c.health.note(n.id, report{Applied: n.applied}, now.Add(-n.ago))
			}
			if got := c.nextStep(raft.Configuration{Servers: test.servers}, now); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// A silence that spans several leaders is one silence, but none of them may take
// for silent whoever had nobody to report to.
func TestASilenceOutlivesTheLeader(t *testing.T) {
	members := []string{"a", "b", "c", "d"}
	start := time.Now()
	const grace = 5 * time.Second
	first, second := peerHealth{grace: grace}, peerHealth{grace: grace}
	first.begin(members, view{}, time.Time{}, start)
	first.note("b", report{Applied: 7}, start.Add(8*time.Second))

	viewed := start.Add(10 * time.Second)
	elected := viewed.Add(time.Minute) // there was no leader for long
	known := first.view(viewed)
	delete(known, "d") // it joined a moment ago
	second.begin(members, view{Nodes: known}, viewed, elected)
	for node, want := range map[string]time.Duration{"b": 62 * time.Second, "c": 70 * time.Second, "d": 0} {
		if got := second.sinceHeard(node, elected.Add(grace-1)); got != 0 {
			t.Errorf("%s is silent for %s right after an election", node, got)
		}
		if got := second.sinceHeard(node, elected.Add(grace)).Round(time.Millisecond); got != want+grace {
			t.Errorf("%s is silent for %s, want %s", node, got, want+grace)
		}
		if what, ok := second.reachable(node, elected); ok {
			t.Errorf("%s can be reached: %+v", node, what)
		}
	}
	second.note("c", report{}, elected.Add(time.Second))
	if got := second.sinceHeard("c", elected.Add(grace)); got != grace-time.Second {
		t.Errorf("c is silent for %s although it reports", got)
	}
	if nodes := second.view(elected); nodes["b"].Silent || nodes["b"].Applied != 7 || !nodes["d"].Silent ||
		len(nodes) != 4 {
		t.Errorf("the next leader is told %+v", nodes)
	}
}
