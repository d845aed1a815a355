package cluster

import (
	"sync"
	"time"
)

// roster is what this node heard of the others while it leads.
type roster struct {
	mu    sync.Mutex
	since time.Time // when leading began; zero: not leading
	heard map[string]heard
}

type heard struct {
	report
	at       time.Time
	reported bool // false: it was only let in
}

// reachableFor is how long after its last report a node counts as reachable.
const reachableFor = 3 * time.Second

// begin forgets what was heard before.
func (r *roster) begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.heard = now, make(map[string]heard)
}

func (r *roster) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.heard = time.Time{}, nil
}

// note keeps a node's newest report.
func (r *roster) note(node string, what report, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard != nil {
		r.heard[node] = heard{report: what, at: now, reported: true}
	}
}

// welcome counts a node's silence from its joining on.
func (r *roster) welcome(node string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.heard[node]; !ok && r.heard != nil {
		r.heard[node] = heard{at: now}
	}
}

// silence is how long a node has not been heard of. A leader that is new in
// office counts from there.
func (r *roster) silence(node string, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h, ok := r.heard[node]; ok {
		return now.Sub(h.at)
	}
	return now.Sub(r.since)
}

// reachable returns the last report of a node that was heard of lately.
func (r *roster) reachable(node string, now time.Time) (report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.heard[node]
	return h.report, ok && h.reported && now.Sub(h.at) < reachableFor
}

// view returns everything for an answer.
func (r *roster) view(now time.Time) map[string]leaderHeard {
	r.mu.Lock()
	defer r.mu.Unlock()
	nodes := make(map[string]leaderHeard, len(r.heard))
	for node, h := range r.heard {
		if !h.reported {
			continue
		}
		nodes[node] = leaderHeard{report: h.report, Age: now.Sub(h.at).Milliseconds()}
	}
	return nodes
}
