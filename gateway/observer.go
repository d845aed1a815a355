package gateway

import (
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

var _ fsm.Observer = (*Server)(nil)

// Appended hands new messages to the loops that have subscribers for them. The
// state must show a message to readers before it is announced here.
func (s *Server) Appended(batch []fsm.Appended) {
	commits := make([]commit, 0, len(batch))
	for _, a := range batch {
		if len(a.Messages) > 0 {
			commits = append(commits, commit{channel: a.Channel, messages: a.Messages})
		}
	}
	s.hand(commits)
}

// Transient delivers messages that are never logged and have no offset. They go to the
// subscribers of this node that can take them now. It does not block, and keeps the
// messages.
func (s *Server) Transient(batch []fsm.Appended) {
	commits := make([]commit, len(batch))
	for i, a := range batch {
		commits[i] = commit{channel: a.Channel, messages: a.Messages, transient: true}
	}
	s.hand(commits)
}

// HasSubscribers reports whether a channel has subscribers here.
func (s *Server) HasSubscribers(channel fsm.ChannelKey) bool { return s.interest.has(channel) }

// SubscribedChannels returns the channels that have subscribers here.
func (s *Server) SubscribedChannels() []fsm.ChannelKey { return s.interest.list() }

func (s *Server) hand(commits []commit) {
	var room [maxLoops][]commit
	perLoop := room[:len(s.loops)]
	s.interest.sort(commits, perLoop)
	for i, mine := range perLoop {
		if len(mine) > 0 {
			if dropped := s.loops[i].mail.postCommits(mine); dropped > 0 {
				s.metrics.commitsDropped.Add(float64(dropped))
			}
		}
	}
}

// KeyEnded closes the connections of a key.
func (s *Server) KeyEnded(key fsm.Key) {
	s.failures.KeyEnded(key.ID, key.Prefix)
	s.onLoops(func(l *loop) {
		for _, c := range l.conns {
			if c.state == stateOpen && c.who.Value().KeyID == key.ID {
				c.revoke()
			}
		}
	})
}

// AdminTokenEnded closes the connections of the console tokens that lived with an
// admin token or console session.
func (s *Server) AdminTokenEnded(id string) {
	s.onLoops(func(l *loop) {
		for _, c := range l.conns {
			if c.state == stateOpen && c.who.Value().Session() == id {
				c.revoke()
			}
		}
	})
}

// ProjectChanged judges the connections of a project anew.
func (s *Server) ProjectChanged(id string) {
	if !s.open.Load() {
		return // nobody to judge, and no Broker to ask yet
	}
	s.onLoops(func(l *loop) {
		project, found := s.cfg.Broker.Project(id)
		known := make(originCache)
		for _, c := range l.conns {
			if c.state != stateOpen || c.who.Value().Project != id {
				continue
			}
			if !found {
				c.revoke()
			} else {
				c.recheckOrigin(project, known)
			}
		}
		if len(l.counted) > 0 || found && project.HasPresence() {
			for key, ch := range l.channels {
				if key.Project == id {
					l.countSubscribers(ch)
				}
			}
		}
		l.recheckSubscriptions(id)
	})
}

// Reset judges every connection anew and lets every subscription look at the log. With
// another epoch all offsets have lost their meaning, and all clients come again.
func (s *Server) Reset() {
	if !s.open.Load() {
		return // nobody to judge, and no Broker to ask yet
	}
	s.onLoops(func(l *loop) {
		if epoch := s.cfg.Broker.Epoch(); epoch != l.epoch {
			l.epoch = epoch
			l.closeAll(closeRestart, "epoch changed")
			return
		}
		known := make(originCache)
		for _, c := range l.conns {
			if c.state != stateOpen {
				continue
			}
			who := c.who.Value()
			project, found := s.cfg.Broker.Project(who.Project)
			if !found || !s.stillLives(who) {
				c.revoke()
			} else {
				c.recheckOrigin(project, known)
			}
		}
		l.recheckSubscriptions("")
		l.resets++
		l.pageCache.clear()
		for _, t := range l.channels {
			t.recheck()
		}
	})
}

// onLoops runs task on every loop without waiting for it.
func (s *Server) onLoops(task func(l *loop)) {
	for _, l := range s.loops {
		l.mail.post(func() { task(l) })
	}
}

// stillLives reports whether the key or console session of a principal has not ended.
func (s *Server) stillLives(who auth.Principal) bool {
	if session := who.Session(); session != "" {
		_, found := s.cfg.Broker.AdminTokenByID(session)
		return found
	}
	_, found := s.cfg.Broker.KeyByID(who.KeyID)
	return found
}

// revoke refuses a client whose key or session has ended.
func (c *conn) revoke() {
	who, reason := c.who.Value(), "the API key was revoked"
	if who.Session() != "" {
		reason = "the console session has ended"
	}
	c.refuse(refusal.New(refusal.KeyRevoked, reason).Of(who.Attempt(auth.Connect, "")), "", "")
	c.withhold()
}
