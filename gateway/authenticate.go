package gateway

import (
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/origin"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// authenticate admits the client or refuses it. The cluster is asked first when this
// node does not know the key. On an open connection a fresh token takes the place of the
// one that the client came with.
func (c *conn) authenticate(f protocol.AuthFrame) {
	s, text := c.loop.server, f.APIKey
	if c.losesEarly {
		c.delay(f)
		return
	}
	if refused := c.mayRefresh(); refused != nil {
		c.refuseFrame(refused.Of(c.who.Value().Attempt(auth.Connect, "")), "", "")
		return
	}
	refused := s.available()
	if refused == nil && c.state == stateNew {
		refused = s.overloaded()
	}
	if refused != nil && text != "" {
		c.refuse(refused.Of(auth.Unknown(text).Attempt(auth.Connect, "")), "", "")
		return
	}
	who, failed := auth.Identify(text, s.cfg.Broker)
	if failed == nil {
		c.enterAs(who, f)
		return
	}
	limited := s.failures.Count(c.peer.address, text, failed)
	switch {
	case limited != nil:
		c.refuseAs(limited.Of(who.Attempt(auth.Connect, "")))
	case !failed.Unknown:
		c.refuseAs(failed.Refusal.Of(who.Attempt(auth.Connect, "")))
	default:
		c.checking = true
		c.loop.catchUp(func(err error) { c.recheckKey(f, err) })
	}
}

// firstAnswerDelay delays the answer to the first auth frame of a client that would lose
// an early one. The published Go client begins to wait for the answer only after it has sent the frame. An
// earlier answer is lost, and the client hangs for 30 s.
const firstAnswerDelay = 20 * time.Millisecond

// losesEarlyAnswer reports whether a client may be the published Go client. That one names
// itself as Go's HTTP client does, or not at all, and sends the broker's address as its origin.
func losesEarlyAnswer(agent, header, host string) bool {
	return (agent == "" || strings.HasPrefix(agent, "Go-http-client/")) && header != "" && origin.IsOwn(header, host)
}

// delay authenticates the client a little later. Until then it is not read.
func (c *conn) delay(f protocol.AuthFrame) {
	c.checking, c.losesEarly = true, false
	time.AfterFunc(firstAnswerDelay, func() {
		c.loop.mail.post(func() {
			c.checking = false
			if c.state == stateNew {
				c.loop.touch(c)
				c.authenticate(f)
			}
		})
	})
}

// mayRefresh refuses another auth on an open connection that did not come with a token.
// It also refuses too many of them, since reading tokens is work. They count as
// subscribes do.
func (c *conn) mayRefresh() *refusal.Error {
	if c.state != stateOpen {
		return nil
	}
	if c.who.Value().Kind != auth.Bearer {
		return refusal.New(refusal.InvalidMessage, "authenticated already")
	}
	r := c.loop.server.throttles[auth.Subscribe].connection
	if wait := c.subscribes.Take(r, c.loop.now); wait > 0 {
		return tooMany("on this connection", r, wait)
	}
	return nil
}

// recheckKey decides about a key once the node has heard of every key.
func (c *conn) recheckKey(f protocol.AuthFrame, err error) {
	c.checking = false
	if c.state > stateOpen {
		return
	}
	c.loop.touch(c)
	if err != nil {
		refused := refusal.New(refusal.Unavailable, "the cluster cannot be asked about the key")
		c.refuseAs(refused.Of(auth.Unknown(f.APIKey).Attempt(auth.Connect, "")))
		return
	}
	who, failed := auth.Identify(f.APIKey, c.loop.server.cfg.Broker)
	if failed != nil {
		// The attempt was counted before the cluster was asked.
		c.refuseAs(failed.Refusal.Of(who.Attempt(auth.Connect, "")))
		return
	}
	c.enterAs(who, f)
}

// refuseAs refuses a key or token. A connection that is open already keeps the rights
// that it has.
func (c *conn) refuseAs(r *refusal.Error) {
	if c.state == stateOpen {
		c.loop.server.refused(r, "ws", c.peer)
		c.sendRefusal(r, "", "")
		c.countRefusal(r)
		return
	}
	c.refuse(r, "", "")
}

// enterAs serves the client as a principal from now on.
func (c *conn) enterAs(who auth.Principal, f protocol.AuthFrame) {
	s := c.loop.server
	project, refused := auth.Admit(who, c.peer.origin.Value(), c.peer.host.Value(), s.cfg.Broker)
	if refused == nil && c.state == stateOpen && who.Project != c.who.Value().Project {
		refused = refusal.New(refusal.Forbidden, "the token is for another project")
	}
	if refused == nil {
		refused = auth.Authorise(who, auth.Connect, project, "")
	}
	if refused != nil {
		c.refuseAs(refused.Of(who.Attempt(auth.Connect, "")))
		return
	}
	if c.state == stateOpen {
		c.become(who)
		c.out.urgent = protocol.AppendAuthSuccess(c.out.urgent)
		if c.recheckOrigin(project, make(originCache)) {
			c.recheckSubscriptions(project)
		}
		return
	}
	if refused = c.mayStream(who); refused == nil {
		refused = s.flooded(who, c.peer.address)
	}
	if refused == nil && f.Replaces != "" && bounded(project) {
		c.replace(who, f)
		return
	}
	if refused == nil {
		refused = s.shared(who, auth.Connect, project, c.peer.address)
	}
	if refused != nil {
		c.refuse(refused.Of(who.Attempt(auth.Connect, "")), "", "")
		return
	}
	c.state, c.controls, c.announced, c.replacement = stateOpen, 0, f.Announced, f.Replaced
	c.known()
	c.become(who)
	c.nextHeartbeat = c.loop.now + s.cfg.Heartbeat
	if c.stream != nil {
		c.opened()
		c.loop.wheel.schedule(c, c.nextCheck())
		return
	}
	c.out.urgent = protocol.AppendConnected(c.out.urgent, protocol.Connected{
		Connection:      s.connectionName(c.id),
		Node:            s.cfg.Broker.NodeName(),
		Epoch:           s.cfg.Broker.Epoch(),
		MaxMessageBytes: s.cfg.MaxMessageBytes,
		HeartbeatMs:     s.cfg.Heartbeat.Milliseconds(),
	})
	c.loop.wheel.schedule(c, c.nextCheck())
}

// become gives the connection the rights of a principal, for as long as they last.
func (c *conn) become(who auth.Principal) {
	c.who, c.endsAt = unique.Make(who), 0
	c.allowFrames()
	if who.Token != nil {
		const longest = 10 * 365 * 24 * time.Hour // as long as a connection can be thought to live
		left := who.Token.EndsAt - c.loop.server.cfg.Broker.Stamp()
		c.endsAt = c.loop.now + min(time.Duration(min(left, longest.Milliseconds()))*time.Millisecond, longest)
		c.loop.wheel.schedule(c, c.endsAt)
	}
	c.loop.server.cfg.Broker.KeyUsed(who.KeyID)
	c.loop.touch(c)
}

// recheckOrigin judges an open connection by the project as it is now, and closes a client
// whose origin is no longer allowed. It reports whether the client may stay.
func (c *conn) recheckOrigin(project *fsm.Project, known originCache) (stays bool) {
	who := c.who.Value()
	if refused := known.checkOrigin(who, c.peer, project); refused != nil {
		c.refuse(refused.Of(who.Attempt(auth.Connect, "")), "", "")
		c.withhold()
		return false
	}
	c.allowFrames()
	return true
}

// recheckSubscriptions ends the subscriptions that are no longer allowed. A subscribe that
// is still under way is judged when it is done.
func (c *conn) recheckSubscriptions(project *fsm.Project) {
	for _, sub := range slices.Backward(c.subs) { // leave takes them out
		name := sub.channel.key.Name
		if sub.joining {
			continue
		}
		if refused := auth.Authorise(c.who.Value(), auth.Subscribe, project, name); refused != nil {
			c.leave(name)
			if c.refuse(refused, name, ""); c.state != stateOpen {
				return // a stream, of which one refusal is the end
			}
		}
	}
	c.recheckMembers(project)
}

// recheck is a walk over a loop's connections, from the last to the first, that judges their
// subscriptions anew. When a connection leaves, the last one takes its place, which was
// judged before.
type recheck struct {
	project string // empty for all
	at      int
}

// subscriptionsPerTurn bounds about how many subscriptions a loop judges anew before it
// serves its clients again.
const subscriptionsPerTurn = 4096

// recheckSubscriptions has the subscriptions of a project judged anew, or all.
func (l *loop) recheckSubscriptions(project string) {
	l.rechecks = slices.DeleteFunc(l.rechecks, func(r recheck) bool { return r.project == project || project == "" })
	l.rechecks = append(l.rechecks, recheck{project, len(l.conns)})
}

// continueRecheck goes on with the first walk. It reports whether more is left.
func (l *loop) continueRecheck() (more bool) {
	if len(l.rechecks) == 0 {
		return false
	}
	r := &l.rechecks[0]
	r.at = min(r.at, len(l.conns))
	for judged := 0; r.at > 0 && judged < subscriptionsPerTurn; {
		r.at--
		c := l.conns[r.at]
		if who := c.who.Value(); c.state == stateOpen && (r.project == "" || who.Project == r.project) {
			judged += len(c.subs)
			if project, found := l.server.cfg.Broker.Project(who.Project); found {
				c.recheckSubscriptions(project)
			}
		}
	}
	if r.at == 0 {
		l.rechecks = slices.Delete(l.rechecks, 0, 1)
	}
	return len(l.rechecks) > 0
}
