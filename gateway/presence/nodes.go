package presence

import "time"

// dead reports whether the leader, or the list of members, says that the node is gone.
func (s *slice) dead() bool { return s.silence >= deadAfter || !s.leftAt.IsZero() }

// gone returns for how long the node has not been heard of, if it is dead.
func (s *slice) gone(now time.Time) time.Duration {
	if s.leftAt.IsZero() {
		return s.silence
	}
	return max(s.silence, now.Sub(s.leftAt))
}

// certain reports whether a member whose grace ended at a time (Unix ms) is nowhere: every
// other node was heard after that, and nobody can be within the grace who was on a node that
// died unheard.
func (m *Members) certain(now time.Time, grace time.Duration, ended int64) bool {
	for node, s := range m.slices {
		if m.nodes[node] && !s.dead() && s.heard.UnixMilli() <= ended {
			return false
		}
		if s.dead() && s.gone(now) < max(deadAfter, closedAfter+grace) ||
			!s.began.IsZero() && now.Sub(s.began) < grace {
			return false
		}
	}
	return m.current(now)
}

// current reports whether this node knows what the others had a moment ago, except those
// that are gone. Only then it can tell that a member is nowhere.
func (m *Members) current(now time.Time) bool {
	for node := range m.nodes {
		s := m.slices[node]
		if s == nil {
			return false
		}
		if !s.dead() && !s.current(now) {
			return false
		}
	}
	return true
}

// current reports whether what the node had a moment ago is known.
func (s *slice) current(now time.Time) bool {
	return s.complete && !s.deaf && now.Sub(s.heard) <= currentFor
}

// Complete reports whether this node knows the slices of all nodes that are not gone.
func (m *Members) Complete(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current(now)
}

// SetNodes tells which other nodes the cluster has, and for how long the leader has not
// heard of them. A node that the leader hears, or of which nothing is known, has 0.
func (m *Members) SetNodes(silence map[string]time.Duration, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.nodes)
	for node, silent := range silence {
		m.nodes[node] = true
		s := m.slices[node]
		if s == nil {
			s = &slice{node: node}
			m.slices[node] = s
		}
		s.silence, s.leftAt = silent, time.Time{}
		if s.dead() {
			m.cfg.Changed() // Tick may have something to end
		}
	}
	for node, s := range m.slices {
		if _, is := silence[node]; !is && s.leftAt.IsZero() {
			s.leftAt = now
		}
	}
}

// endSlices removes what nodes that are gone have left, each part when the grace of its
// channel is over. For each such node it looks at all members, so it does not do that at once
// again.
func (m *Members) endSlices(now time.Time) {
	if now.Sub(m.ended) < retryPause {
		return
	}
	for node, s := range m.slices {
		gone := s.gone(now)
		if !s.orphaned && gone < deadAfter {
			continue
		}
		m.ended = now
		left, orphans := 0, 0
		m.each(s, func(ch *channel, mem *member, p *part) {
			grace := m.cfg.Rule(ch.key).Grace
			over := gone >= max(deadAfter, closedAfter+grace) || p.orphan && p.until <= now.UnixMilli()
			if over && m.certain(now, grace, p.until) {
				m.touch(ch, mem)
				m.removePart(ch, mem, s, NodeDied)
				return
			}
			left++
			if p.orphan {
				orphans++
			}
		})
		s.orphaned = orphans > 0
		if gone < deadAfter {
			continue
		}
		// It has missed what came since, so it is told everything if it comes back.
		s.complete, s.piece = false, 0
		m.forgetSubscribers(s)
		if left == 0 && !m.nodes[node] {
			delete(m.slices, node)
		}
	}
}

func (m *Members) forgetSubscribers(s *slice) {
	for _, ch := range m.channels {
		if _, counted := ch.elsewhere[s]; counted {
			delete(ch.elsewhere, s)
			m.numbersChanged(ch)
			m.prune(ch)
		}
	}
}
