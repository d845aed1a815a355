package gateway

import (
	"cmp"
	"maps"
	"slices"
)

// connectionsPerTurn is how many connections a loop looks at for a list before it
// serves its clients again, and channelsPerTurn about how many names it copies.
const (
	connectionsPerTurn = 512
	channelsPerTurn    = 4096
)

// Connections lists connections of this node by id. The loops look at their
// connections a part a turn, and describe only those that are listed.
func (s *Server) Connections(q ConnectionQuery) []ConnectionStatus {
	found := make(map[uint64]*conn)
	for i, l := range s.loops {
		for at, more := -1, true; more; {
			more = s.askOne(i, func() func() {
				part, next := l.listed(q, at)
				return func() {
					for _, c := range part {
						found[c.id] = c // whoever moved to a place ahead is met twice
					}
					at = next
				}
			}) && at > 0
		}
	}
	listed := slices.SortedFunc(maps.Values(found), func(a, b *conn) int { return cmp.Compare(a.id, b.id) })
	return s.describe(listed[:min(q.Limit, len(listed))])
}

// listed returns the connections that a query asks for among those before a place,
// -1 for all, and the place where to go on, 0 at the end. It goes from the last to the
// first: one that leaves makes the last one take its place, which was looked at before.
func (l *loop) listed(q ConnectionQuery, at int) (part []*conn, next int) {
	if at < 0 || at > len(l.conns) {
		at = len(l.conns)
	}
	next = max(at-connectionsPerTurn, 0)
	for _, c := range l.conns[next:at] {
		who := c.who.Value()
		if c.state != stateOpen || q.KeyID != "" && who.key != q.KeyID || q.Project != "" && who.project != q.Project {
			continue
		}
		if q.Cursor == "" || l.server.connectionName(c.id) > q.Cursor {
			part = append(part, c)
		}
	}
	return part, next
}

// describe returns how connections are, in their order, without those that have
// ended meanwhile.
func (s *Server) describe(listed []*conn) []ConnectionStatus {
	of := make([]*ConnectionStatus, len(listed))
	for i, l := range s.loops {
		for at := 0; at < len(listed); {
			from := at
			asked := s.askOne(i, func() func() {
				part, names, next := make(map[int]ConnectionStatus), 0, from
				for ; next < len(listed) && names < channelsPerTurn; next++ {
					if c := listed[next]; c.loop == l && c.state == stateOpen {
						part[next] = c.status()
						names += len(c.subs)
					}
				}
				return func() {
					for place, status := range part {
						of[place] = &status
					}
					at = next
				}
			})
			if !asked {
				break
			}
		}
	}
	all := make([]ConnectionStatus, 0, len(listed))
	for _, status := range of {
		if status != nil {
			all = append(all, *status)
		}
	}
	return all
}

// Disconnect closes the connection with an id, if this node has it. Its client may
// come back.
func (s *Server) Disconnect(id string) (found bool) {
	s.ask(func(l *loop) func() {
		mine := false
		for _, c := range l.conns {
			if c.state == stateOpen && s.connectionName(c.id) == id {
				c.close(closeDisconnected, "disconnected")
				c.hasten()
				mine = true
			}
		}
		return func() { found = found || mine }
	})
	return found
}

// KeyConnections counts the connections on this node of each key of a project that has
// any; those with a token count for the key that signed it.
func (s *Server) KeyConnections(project string) map[string]int {
	count := make(map[string]int)
	s.ask(func(l *loop) func() {
		mine := make(map[string]int)
		for _, c := range l.conns {
			if who := c.who.Value(); c.state == stateOpen && who.project == project {
				mine[who.key]++
			}
		}
		return func() {
			for key, n := range mine {
				count[key] += n
			}
		}
	})
	return count
}

// Subscribers counts the subscribers on this node of each channel of a project
// that has any.
func (s *Server) Subscribers(project string) map[string]int {
	count := make(map[string]int)
	s.ask(func(l *loop) func() {
		mine := make(map[string]int)
		for key, t := range l.topics {
			if key.Project == project {
				mine[key.Name] = len(t.subs)
			}
		}
		return func() {
			for name, n := range mine {
				count[name] += n
			}
		}
	})
	return count
}

// askOne is ask for one loop. It reports whether the loop has answered.
func (s *Server) askOne(i int, question func() func()) bool {
	answer := make(chan func(), 1)
	if !s.loops[i].mail.post(func() { answer <- question() }) {
		return false
	}
	select {
	case use := <-answer:
		use()
		return true
	case <-s.ctx.Done():
		return false
	}
}

// ask runs question on every loop and what it returns on the caller's goroutine.
func (s *Server) ask(question func(l *loop) func()) {
	answers := make(chan func(), len(s.loops))
	asked := 0
	for _, l := range s.loops {
		if l.mail.post(func() { answers <- question(l) }) {
			asked++
		}
	}
	for range asked {
		select {
		case use := <-answers:
			use()
		case <-s.ctx.Done():
			return
		}
	}
}

// status is the connection as the admin API shows it.
func (c *conn) status() ConnectionStatus {
	s := c.loop.server
	status := ConnectionStatus{
		ID:       s.connectionName(c.id),
		Node:     s.cfg.Broker.NodeName(),
		Address:  c.peer.address,
		Origin:   c.peer.origin.Value(),
		KeyID:    c.who.Value().key,
		SDK:      c.announced.Value().sdk,
		Since:    c.since,
		Channels: make([]string, 0, len(c.subs)),
		State:    "live",
	}
	for _, sub := range c.subs {
		status.Channels = append(status.Channels, sub.topic.key.Name)
		if !sub.joining && sub.next <= sub.topic.head {
			status.Behind += sub.topic.head + 1 - sub.next
		}
	}
	if status.Behind > 0 {
		status.State = "catching_up"
	}
	return status
}
