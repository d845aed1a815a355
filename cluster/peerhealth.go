package cluster

import (
	"sync"
	"time"
)

// peerHealth holds the reports of the other nodes while this node leads.
type peerHealth struct {
	// grace is the time in which a new leader takes no node for silent: all live nodes have
	// reported by then.
	grace time.Duration

	mu    sync.Mutex
	since time.Time // when leading began; zero: not leading
	heard map[string]heard
}

type heard struct {
	report
	at       time.Time
	reported bool // false: it was only let in
}

// reachableFor is the age of a last report up to which a node counts as reachable.
const reachableFor = 3 * time.Second

// maxGrace bounds a peer health's grace, which is no longer than a name is kept.
const maxGrace = 5 * time.Second

// begin takes over what the last leader had heard, as its view said at viewed,
// so that a silence does not begin anew with every leader. Members that it did
// not know of are silent from now on.
func (r *peerHealth) begin(members []string, last view, viewed, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.heard = now, make(map[string]heard)
	for _, node := range members {
		r.heard[node] = heard{at: now}
		if h, ok := last.Nodes[node]; ok {
			at := viewed.Add(-time.Duration(h.Age) * time.Millisecond)
			r.heard[node] = heard{report: h.report, at: at, reported: !h.Silent}
		}
	}
}

func (r *peerHealth) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.heard = time.Time{}, nil
}

// note keeps a node's newest report.
func (r *peerHealth) note(node string, what report, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard != nil {
		r.heard[node] = heard{report: what, at: now, reported: true}
	}
}

// welcome counts a node's silence from its joining on.
func (r *peerHealth) welcome(node string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.heard[node]; !ok && r.heard != nil {
		r.heard[node] = heard{at: now}
	}
}

// sinceHeard returns how long a node has not been heard of, by this leader or the ones
// before it.
func (r *peerHealth) sinceHeard(node string, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.since) < r.grace {
		return 0
	}
	if h, ok := r.heard[node]; ok {
		return now.Sub(h.at)
	}
	return now.Sub(r.since)
}

// reachable returns the last report of a node that was heard of lately.
func (r *peerHealth) reachable(node string, now time.Time) (report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.heard[node]
	return h.report, ok && h.reported && now.Sub(h.at) < reachableFor
}

// led returns for how long this node has led.
func (r *peerHealth) led(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		return 0
	}
	return now.Sub(r.since)
}

// silentAfter is how long a leader waits for a node before it counts as silent.
const silentAfter = 10 * time.Second

// silence returns for how long no leader has heard of a node, as of the answer. It is 0 until
// the one that answered has itself waited for silentAfter: by then a node without a report has
// no proof of freshness left, however old what this leader took over from others is.
func (v view) silence(node string) time.Duration {
	h, known := v.Nodes[node]
	age := time.Duration(h.Age) * time.Millisecond
	if led := time.Duration(v.Led) * time.Millisecond; !known || min(age, led) < silentAfter {
		return 0
	}
	return age
}

// view returns everything for an answer.
func (r *peerHealth) view(now time.Time) map[string]leaderHeard {
	r.mu.Lock()
	defer r.mu.Unlock()
	nodes := make(map[string]leaderHeard, len(r.heard))
	for node, h := range r.heard {
		nodes[node] = leaderHeard{report: h.report, Age: now.Sub(h.at).Milliseconds(), Silent: !h.reported}
	}
	return nodes
}
