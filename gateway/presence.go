package gateway

import (
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/presence"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/quota"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// memberships are the members of channels that a connection holds.
type memberships struct {
	presence ratelimit.Bucket
	held     map[membership]bool // false: another connection takes this one's place, see uncount
	unseen   []*subscription     // whose watcher may have to be told more once the socket has taken the rest
}

// membership is a member of a channel.
type membership struct{ channel, id string }

// presenceRate bounds the presence frames of a connection.
var presenceRate = ratelimit.PerSecond(5, 20)

// more returns what only few connections need, made when there is none.
func (c *conn) more() *connExtras {
	if c.extras == nil {
		c.extras = &connExtras{}
	}
	return c.extras
}

func (c *conn) channelKey(name string) fsm.ChannelKey {
	return fsm.ChannelKey{Project: c.who.Value().Project, Name: name}
}

// presenceRule returns how the members of a channel are kept, which is the zero value for a
// channel without any.
func (s *Server) presenceRule(key fsm.ChannelKey) fsm.Presence {
	if !s.open.Load() {
		return fsm.Presence{}
	}
	project, found := s.cfg.Broker.Project(key.Project)
	if !found {
		return fsm.Presence{}
	}
	return project.Rule(key.Name).Presence
}

// presence answers a presence frame.
func (c *conn) presence(req protocol.Request) {
	id, refused := c.mayPresence(&req)
	if refused != nil {
		refused = refused.Of(c.who.Value().Attempt(auth.Enter, req.Channel))
		refused.PresenceAction = string(req.Action)
		c.refuseFrame(refused, req.Channel, req.ID)
		return
	}
	s, key, holds := c.loop.server, c.channelKey(req.Channel), c.more()
	place, now := membership{req.Channel, id}, time.Now()
	counted, held := holds.held[place]
	var number uint64
	switch {
	case req.Action == protocol.Leave && !held:
	case req.Action == protocol.Leave:
		number = c.leaveChannel(place, true)
	case counted, req.Action == protocol.Update:
		number = s.members.Update(key, id, req.Data, now)
	default: // also a connection that goes on though another one was to take its place
		if holds.held == nil {
			holds.held = make(map[membership]bool, 1)
		}
		holds.held[place] = true
		number = s.members.Enter(key, id, req.Data, now)
	}
	answer := func() {
		if c.state == stateOpen {
			c.out.urgent = protocol.AppendPresenceOK(c.out.urgent, c.encoding, req.Channel, req.Action, id)
			c.loop.touch(c)
		}
	}
	if !s.cfg.Broker.AwaitMembers(number, func() { c.loop.mail.post(answer) }) {
		answer()
	}
}

// mayPresence returns the id of the member that a presence frame is about, or why the client
// may not send the frame.
func (c *conn) mayPresence(req *protocol.Request) (id string, refused *refusal.Error) {
	s, who := c.loop.server, c.who.Value()
	project, found := s.cfg.Broker.Project(who.Project)
	if !found {
		return "", refusal.New(refusal.Unavailable, "the project was deleted")
	}
	if s.staleness() > RefuseAfter {
		return "", s.refuseStale()
	}
	if who.Kind != auth.ServerKey {
		if wait := c.more().memberships.presence.Take(presenceRate, c.loop.now); wait > 0 {
			return "", tooMany("of presence on this connection", presenceRate, wait)
		}
	}
	rule := project.Rule(req.Channel).Presence
	if !rule.On() {
		return "", refusePresenceOff()
	}
	if refused := auth.Authorise(who, auth.Enter, project, req.Channel); refused != nil {
		return "", refused
	}
	if id, refused = c.memberID(req, rule); refused != nil {
		return "", refused
	}
	_, held := c.more().held[membership{req.Channel, id}]
	switch {
	case len(req.Data) > rule.DataBytes && req.Data != "null":
		return "", refusal.New(refusal.MessageTooLarge, "data is too large")
	case req.Action == protocol.Update && !held:
		return "", refusal.New(refusal.Conflict, "not a member: enter first")
	case req.Action != protocol.Enter || held:
		return id, nil
	case who.Kind != auth.ServerKey && len(c.more().held) >= s.cfg.MaxChannels:
		return "", refusal.New(refusal.TooManyChannels, "a member of too many channels on one connection")
	}
	most, members := project.Quotas.MostMembers(), s.members.InProject(who.Project)
	if members >= most && !s.members.Has(c.channelKey(req.Channel), id) {
		return "", quota.TooManyMembers(members, most)
	}
	return id, nil
}

func refusePresenceOff() *refusal.Error {
	return &refusal.Error{
		Code: refusal.Forbidden, Reason: "this channel has no members",
		Detail: "no rule with presence matches the channel",
	}
}

// memberID returns the id under which the client is a member: what its token says, what its
// server key says, or its connection where the rule allows that.
func (c *conn) memberID(req *protocol.Request, rule fsm.Presence) (string, *refusal.Error) {
	who := c.who.Value()
	id := who.Member()
	switch {
	case who.Kind == auth.ServerKey && req.ID == "":
		return "", refusal.New(refusal.InvalidMessage, "id is missing: a server key names the member")
	case who.Kind == auth.ServerKey:
		return req.ID, nil
	case id == "" && rule.Anonymous:
		id = "anon:" + c.loop.server.connectionName(c.id)
	case id == "":
		return "", refusal.New(refusal.Forbidden, "only a token with a sub may be a member here")
	case len(id) > protocol.MaxMemberID:
		return "", refusal.New(refusal.Forbidden, "the sub of the token has more than 255 bytes")
	}
	if req.ID != "" && req.ID != id {
		return "", refusal.New(refusal.Forbidden, "only a server key may be another member")
	}
	return id, nil
}

// leaveChannel lets go of a member, at once or with the grace of a connection that broke.
func (c *conn) leaveChannel(place membership, atOnce bool) (number uint64) {
	s, key, now := c.loop.server, c.channelKey(place.channel), time.Now()
	counted := c.extras.held[place]
	delete(c.extras.held, place)
	switch {
	case !counted: // the connection that takes this one's place holds the member
	case atOnce:
		number = s.members.Leave(key, place.id, now)
	default:
		s.members.Break(key, place.id, now.Add(s.presenceRule(key).Grace), now)
	}
	return number
}

// leaveChannels lets go of all members.
func (c *conn) leaveChannels(atOnce bool) {
	if c.extras == nil {
		return
	}
	for place := range c.extras.held {
		c.leaveChannel(place, atOnce)
	}
}

// leaveOnUnsubscribe lets go of the members of a channel that is unsubscribed.
func (c *conn) leaveOnUnsubscribe(channel string) {
	if c.extras == nil {
		return
	}
	for place := range c.extras.held {
		if place.channel == channel {
			c.leaveChannel(place, true)
		}
	}
}

// recheckMembers ends what the client may not be or see any more.
func (c *conn) recheckMembers(project *fsm.Project) {
	who := c.who.Value()
	if c.extras != nil {
		for place := range c.extras.held {
			refused := auth.Authorise(who, auth.Enter, project, place.channel)
			if refused == nil && !project.Rule(place.channel).Presence.On() {
				refused = refusePresenceOff()
			}
			if id := who.Member(); refused == nil && id != "" && id != place.id {
				refused = refusal.New(refusal.Forbidden, "the token names another sub")
			}
			if refused != nil {
				c.leaveChannel(place, true)
				refused = refused.Of(who.Attempt(auth.Enter, place.channel))
				refused.PresenceAction = string(protocol.Enter)
				c.refuse(refused, place.channel, "")
			}
		}
	}
	for _, sub := range c.subs {
		if sub.watch == nil {
			continue
		}
		kind := protocol.WatchMembers
		if sub.watch.cursor.CountOnly {
			kind = protocol.WatchCount
		}
		if refused := mayWatch(who, project, sub.channel.key.Name, kind); refused != nil {
			sub.unwatch()
			c.refuse(refused, sub.channel.key.Name, "")
		}
	}
}

// mayWatch returns why somebody may not see the members of a channel.
func mayWatch(who auth.Principal, project *fsm.Project, channel string, kind protocol.Watch) *refusal.Error {
	refused := auth.Authorise(who, auth.SeeMembers, project, channel)
	if refused == nil && !project.Rule(channel).Presence.On() {
		refused = refusePresenceOff()
	}
	if refused != nil {
		refused = refused.Of(who.Attempt(auth.SeeMembers, channel))
		refused.PresenceWatch = kind.String()
	}
	return refused
}

// uncountMembers hands the members of a connection to the one that takes its place.
func (c *conn) uncountMembers() {
	if c.extras == nil {
		return
	}
	now := time.Now()
	until := now.Add(replacementTime + time.Second) // countMembersAgain comes before
	for place, counted := range c.extras.held {
		if counted {
			c.extras.held[place] = false
			c.loop.server.members.Break(c.channelKey(place.channel), place.id, until, now)
		}
	}
}

// countMembersAgain takes back what uncountMembers has done, on a connection that is still
// there.
func (c *conn) countMembersAgain() {
	if c.extras == nil {
		return
	}
	for place, counted := range c.extras.held {
		if !counted {
			c.extras.held[place] = true
			c.loop.server.members.Hold(c.channelKey(place.channel), place.id)
		}
	}
}

// watch is what a subscriber knows of the members of its channel.
type watch struct {
	cursor presence.Cursor
	waits  bool // stands in loop.watchers
}

// startWatch tells a subscriber the members of its channel from now on.
func (sub *subscription) startWatch(kind protocol.Watch) {
	sub.unwatch()
	sub.watch = &watch{cursor: presence.Cursor{CountOnly: kind == protocol.WatchCount}}
	sub.conn.loop.server.feed.Watch(sub.channel.key)
	sub.tellMembers()
}

func (sub *subscription) unwatch() {
	if sub.watch != nil {
		sub.watch = nil
		sub.conn.loop.server.feed.Unwatch(sub.channel.key)
	}
}

// tellMembers tells a watcher the next of what it has not been told, and returns how many bytes
// that has. What follows waits until it is written, so that a connection holds nothing of it.
func (sub *subscription) tellMembers() (bytes int) {
	c := sub.conn
	if sub.watch == nil || sub.gone {
		return 0
	}
	if !c.out.blocked {
		text := c.loop.server.feed.Next(sub.channel.key, &sub.watch.cursor)
		if text == nil {
			return 0
		}
		bytes = len(text)
		c.queue(delivery{sub: sub, frames: frameRun{text, []int{len(text)}}, members: true})
	}
	if unseen := &c.more().unseen; !slices.Contains(*unseen, sub) {
		*unseen = append(*unseen, sub)
	}
	return bytes
}

// toldMembers notes whether a watcher was told what tellMembers has queued.
func (sub *subscription) toldMembers(d *delivery, told bool) {
	switch {
	case sub.watch == nil:
	case told:
		sub.watch.cursor.Taken(d.frames.bytes)
	default:
		sub.watch.cursor.Back(d.frames.bytes)
	}
}

// tellUnseen goes on where tellMembers had to stop.
func (c *conn) tellUnseen() {
	if c.extras == nil || len(c.extras.unseen) == 0 || c.out.blocked {
		return
	}
	unseen := c.extras.unseen
	c.extras.unseen = nil
	for _, sub := range unseen {
		sub.tellMembers()
	}
}

// tellMoved has the watchers of channels told that something has changed.
func (l *loop) tellMoved(channels []fsm.ChannelKey) {
	for _, key := range channels {
		ch := l.channels[key]
		if ch == nil {
			continue
		}
		for _, sub := range ch.subs {
			if sub.watch != nil && !sub.watch.waits {
				sub.watch.waits = true
				l.watchers = append(l.watchers, sub)
			}
		}
	}
}

// tellBytesPerTurn bounds how much a loop tells watchers before it looks at its sockets again.
const tellBytesPerTurn = 1 << 20

// tellWatchers tells those for whom tellMoved has found something. It reports whether some are
// left for the next turn.
func (l *loop) tellWatchers() (more bool) {
	told, bytes := 0, 0
	for told < len(l.watchers) && bytes < tellBytesPerTurn {
		sub := l.watchers[told]
		told++
		if sub.watch != nil {
			sub.watch.waits = false
			bytes += sub.tellMembers()
		}
	}
	clear(l.watchers[:told])
	if l.watchers = l.watchers[told:]; len(l.watchers) == 0 {
		l.watchers = nil
	}
	return len(l.watchers) > 0
}

// countSubscribers notes how many subscribers the loop has of a channel with members.
func (l *loop) countSubscribers(ch *localChannel) {
	s, want := l.server, 0
	if len(ch.subs) > 0 && s.presenceRule(ch.key).On() {
		want = len(ch.subs)
	}
	was := l.counted[ch.key]
	if want == was {
		return
	}
	if want == 0 {
		delete(l.counted, ch.key)
	} else {
		l.counted[ch.key] = want
	}
	s.members.AddSubscribers(ch.key, want-was)
}

// Members returns the members of channels, for the exchange with other nodes.
func (s *Server) Members() *presence.Members { return s.members }

// flushPause is the least time between two looks at what watchers have to be told. Each looks at
// all channels where something waits.
const flushPause = 20 * time.Millisecond

// keepMembers ends graces that are over and tells watchers of changes, until the server
// ends.
func (s *Server) keepMembers() {
	var flushed time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.membersMoved:
		case <-timer.C:
		case <-s.ctx.Done():
			return
		}
		if !s.open.Load() {
			timer.Reset(time.Second)
			continue
		}
		now := time.Now()
		wait := time.Second // to see what the leader says of other nodes
		if next := s.members.Tick(now); !next.IsZero() {
			wait = min(wait, max(next.Sub(now), time.Millisecond))
		}
		s.cfg.Broker.MembersChanged()
		if rest := flushPause - now.Sub(flushed); rest > 0 {
			timer.Reset(min(wait, rest))
			continue
		}
		flushed = now
		moved, again := s.feed.Flush(now)
		if again > 0 {
			wait = min(wait, again)
		}
		s.tellLoops(moved)
		timer.Reset(wait)
	}
}

// tellLoops has the loops tell the watchers of channels.
func (s *Server) tellLoops(moved []fsm.ChannelKey) {
	if len(moved) == 0 {
		return
	}
	commits := make([]commit, len(moved))
	for i, key := range moved {
		commits[i].channel = key
	}
	var room [maxLoops][]commit
	perLoop := room[:len(s.loops)]
	s.interest.sort(commits, perLoop)
	for i, mine := range perLoop {
		if len(mine) == 0 {
			continue
		}
		keys := make([]fsm.ChannelKey, len(mine))
		for j := range mine {
			keys[j] = mine[j].channel
		}
		l := s.loops[i]
		l.mail.post(func() { l.tellMoved(keys) })
	}
}
