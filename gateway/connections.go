package gateway

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
)

// connectionsPerTurn bounds the connections that a loop looks at for a list before it
// serves its clients again, and channelsPerTurn about how many names it copies.
const (
	connectionsPerTurn = 512
	channelsPerTurn    = 4096
)

// Connections lists connections of this node by id.
func (s *Server) Connections(q admin.ConnectionQuery) []admin.ConnectionStatus {
	found := collect(s, func(c *conn) (*conn, bool) {
		who := c.who.Value()
		if q.KeyID != "" && who.KeyID != q.KeyID || q.Project != "" && who.Project != q.Project {
			return nil, false
		}
		return c, q.Cursor == "" || s.connectionName(c.id) > q.Cursor
	})
	listed := slices.SortedFunc(maps.Values(found), func(a, b *conn) int { return cmp.Compare(a.id, b.id) })
	return s.describe(listed[:min(q.Limit, len(listed))])
}

// collect returns, by id, the open connections that pick takes. Each loop looks at a
// part of them in a turn, from its last connection to its first: when one leaves, the
// last one takes its place, which was looked at before.
func collect[T any](s *Server, pick func(*conn) (T, bool)) map[uint64]T {
	found := make(map[uint64]T)
	for i, l := range s.loops {
		for at, more := math.MaxInt, true; more; {
			more = s.askOne(i, func() func() {
				at = min(at, len(l.conns))
				part := make(map[uint64]T)
				for range min(at, connectionsPerTurn) {
					at--
					if c := l.conns[at]; c.state == stateOpen {
						if picked, ok := pick(c); ok {
							part[c.id] = picked
						}
					}
				}
				return func() { maps.Copy(found, part) }
			}) && at > 0
		}
	}
	return found
}

// describe returns the states of connections in their order, without those that have
// ended meanwhile.
func (s *Server) describe(listed []*conn) []admin.ConnectionStatus {
	of := make([]*admin.ConnectionStatus, len(listed))
	for i, l := range s.loops {
		for at := 0; at < len(listed); {
			from := at
			asked := s.askOne(i, func() func() {
				part, names, next := make(map[int]admin.ConnectionStatus), 0, from
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
	all := make([]admin.ConnectionStatus, 0, len(listed))
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
	return len(collect(s, func(c *conn) (closed, mine bool) {
		if s.connectionName(c.id) != id {
			return false, false
		}
		c.close(closeDisconnected, "disconnected")
		c.withhold()
		return true, true
	})) > 0
}

// KeyConnections counts the connections on this node of each key of a project that has
// any. Those with a token count for the key that signed it.
func (s *Server) KeyConnections(project string) map[string]int {
	count := make(map[string]int)
	for _, key := range collect(s, func(c *conn) (string, bool) {
		who := c.who.Value()
		return who.KeyID, who.Project == project
	}) {
		count[key]++
	}
	return count
}

// Subscribers counts the subscribers on this node of each channel of a project
// that has any. The loops look at their channels a part a turn.
func (s *Server) Subscribers(project string) map[string]int {
	count := make(map[string]int)
	for i, l := range s.loops {
		// It reads the map on the loop, which may add and delete channels between two turns.
		next, stop := iter.Pull2(func(yield func(fsm.ChannelKey, *localChannel) bool) { maps.All(l.channels)(yield) })
		for more := true; more; {
			answered := s.askOne(i, func() func() {
				part, some := make(map[string]int), true
				for n := 0; some && n < channelsPerTurn; n++ {
					var key fsm.ChannelKey
					var t *localChannel
					if key, t, some = next(); some && key.Project == project {
						part[key.Name] = len(t.subs)
					}
				}
				return func() {
					for name, n := range part {
						count[name] += n
					}
					more = some
				}
			})
			if !answered {
				return count // the server ends, and may still be at it
			}
		}
		stop()
	}
	return count
}

// askOne runs question on one loop and its result on the caller's goroutine. It reports
// whether the loop has answered.
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

// ask runs question on every loop and its results on the caller's goroutine.
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

// status returns the connection as the admin API shows it.
func (c *conn) status() admin.ConnectionStatus {
	s, who := c.loop.server, c.who.Value()
	status := admin.ConnectionStatus{
		ID:        s.connectionName(c.id),
		Node:      s.cfg.Broker.NodeName(),
		Transport: c.via(),
		Address:   c.peer.address,
		Origin:    c.peer.origin.Value(),
		Project:   who.Project,
		Kind:      who.Credential(),
		KeyID:     who.KeyID,
		SDK:       c.announced.Value().SDK,
		Since:     c.since,
		Channels:  make([]string, 0, len(c.subs)),
		State:     "live",
	}
	if status.Kind == "token" {
		status.Subject = who.Token.Subject()
	}
	for _, sub := range c.subs {
		status.Channels = append(status.Channels, sub.channel.key.Name)
		if !sub.joining && sub.next <= sub.channel.head {
			status.Behind += sub.channel.head + 1 - sub.next
		}
	}
	if status.Behind > 0 {
		status.State = "catching_up"
	}
	return status
}
