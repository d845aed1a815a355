package gateway

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/protocol"
)

// A client that moves has two connections for a while. Those two count as one in the
// quotas of its project: the node that has the old one does not count it for so long.

const (
	replacementTime = 15 * time.Second
	// maxReplacements bounds the questions to other nodes that are under way.
	maxReplacements = 64
)

// Replacement says that a connection takes the place of another one.
type Replacement struct {
	Connection string `json:"connection"` // id of the other one
	Project    string `json:"project"`
	Principal  string `json:"principal"` // of both
}

// principalName names a principal; it is the same for two connections of one.
func principalName(who auth.Principal) string {
	sender := who.Sender()
	return fmt.Sprintf("%d:%d:%s:%x", who.Kind, sender.Kind, sender.ID, sender.Subject)
}

// replace asks the node that has the connection that this one replaces not to count
// it, and then goes on with authentication.
func (c *conn) replace(who auth.Principal, f protocol.AuthFrame) {
	s := c.loop.server
	r := Replacement{Connection: f.Replaces, Project: who.Project, Principal: principalName(who)}
	f.Replaces = ""
	select {
	case s.replacing <- struct{}{}:
	default:
		c.enterAs(who, f) // counted as two, as any other
		return
	}
	c.checking = true
	s.running.Go(func() {
		defer func() { <-s.replacing }()
		f.Replaced = s.Replace(r) > 0
		if !f.Replaced {
			ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
			defer cancel()
			if counts := s.cfg.Broker.Replace(ctx, r); counts > 0 {
				f.Replaced = true
				s.quotas.MovedHere(r.Project, counts)
			}
		}
		// The key may have ended meanwhile.
		c.loop.mail.post(func() { c.recheckKey(f, nil) })
	})
}

// Replace stops counting a connection of this node whose place another one of the same
// principal takes. It returns by how much less is counted: one for the connection and one
// for each channel of it, 0 when this node has no such connection.
func (s *Server) Replace(r Replacement) (counts int) {
	id, mine := s.connectionNumber(r.Connection)
	if !mine {
		return 0
	}
	for _, n := range collect(s, func(c *conn) (int, bool) {
		if c.id != id || !c.replaceable(r) {
			return 0, false
		}
		c.uncount()
		return int(c.uncounted), true
	}) {
		counts += n
	}
	return counts
}

// replaceable reports whether a connection may have its place taken. One that has itself
// just taken a place may not, or one client could have any number of connections.
func (c *conn) replaceable(r Replacement) bool {
	who := c.who.Value()
	young := time.Now().UnixMilli()-c.since < replacementTime.Milliseconds()
	return c.state == stateOpen && c.uncounted == 0 && !(c.replacement && young) &&
		who.Project == r.Project && principalName(who) == r.Principal
}

// uncount has the connection not counted in quotas for a while.
func (c *conn) uncount() {
	c.uncounted = int32(1 + len(c.subs))
	c.uncountMembers()
	c.loop.server.quotas.Uncount(c.who.Value().Project, int(c.uncounted))
	time.AfterFunc(replacementTime, func() { c.loop.mail.post(c.countAgain) })
}

// countAgain ends what uncount began.
func (c *conn) countAgain() {
	if c.uncounted > 0 {
		c.loop.server.quotas.Uncount(c.who.Value().Project, -int(c.uncounted))
		c.uncounted = 0
		c.countMembersAgain()
	}
}

// connectionNumber returns the number of a connection of this process, given its name.
func (s *Server) connectionNumber(name string) (id uint64, mine bool) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != 12 || [4]byte(b[:4]) != s.instance {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[4:]), true
}

// bounded reports whether a project has a quota of what connections take, or members.
func bounded(p *fsm.Project) bool {
	return p.Quotas.Connections > 0 || p.Quotas.Subscriptions > 0 || p.HasPresence()
}
