package gateway

import (
	"cmp"
	"slices"
)

// Connections lists connections of this node by id.
func (s *Server) Connections(q ConnectionQuery) []ConnectionStatus {
	var all []ConnectionStatus
	s.ask(func(l *loop) func() {
		var mine []ConnectionStatus
		for _, c := range l.conns {
			who := c.who.Value()
			if c.state != stateOpen || q.KeyID != "" && who.key != q.KeyID || q.Project != "" && who.project != q.Project {
				continue
			}
			if status := c.status(); status.ID > q.Cursor {
				mine = append(mine, status)
			}
		}
		return func() { all = append(all, mine...) }
	})
	slices.SortFunc(all, func(a, b ConnectionStatus) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(q.Limit, len(all))]
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
