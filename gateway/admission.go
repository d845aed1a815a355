package gateway

import (
	"errors"
	"strings"
	"time"
	"unique"

	"github.com/golang-jwt/jwt/v5"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/origin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// identify returns who a client says they are with the text of a key or a token,
// or why that is not accepted.
func (s *Server) identify(text string) (principal, *failure) {
	switch {
	case text == "":
		return principal{}, &failure{refusal: refusal.New(refusal.AuthRequired, "the API key is missing")}
	case looksLikeToken(text):
		who, err := readToken(text, s.cfg.Broker)
		if err != nil {
			return who, tokenFailure(who, err)
		}
		return who, nil
	case !looksLikeKey(text):
		return someone(text), &failure{refusal: &refusal.Error{
			Code: refusal.InvalidKey, Reason: invalidKey, Detail: "a text that is not well formed: mistyped, or no key at all"}}
	}
	if key, found := s.cfg.Broker.Key(text); found {
		return keyPrincipal(key), nil
	}
	if CheckKeyText(text) != nil {
		// Where keys were imported, the cluster may know of one that this node does not.
		return someone(text), &failure{unknown: s.cfg.Broker.HasImportedKeys(), refusal: &refusal.Error{
			Code: refusal.InvalidKey, Reason: invalidKey, Detail: "a text with a wrong checksum: mistyped, or a key of elsewhere that was not imported"}}
	}
	return someone(text), &failure{unknown: true, refusal: &refusal.Error{
		Code: refusal.InvalidKey, Reason: invalidKey, Detail: "a well-formed key that the cluster does not know: never made, or ended"}}
}

// tokenFailure says what is wrong with a token.
func tokenFailure(who principal, err error) *failure {
	failed := &failure{
		refusal: &refusal.Error{Code: refusal.TokenInvalid, Reason: "the token is not valid", Detail: err.Error()},
		unknown: errors.Is(err, errKeyOfToken),
		honest:  errors.Is(err, jwt.ErrTokenInvalidClaims), // they are checked once the signature was found good
	}
	if failed.unknown {
		failed.keyID = who.key
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		failed.refusal.Code, failed.refusal.Reason = refusal.TokenExpired, "the token has expired"
	}
	return failed
}

const invalidKey = "the API key is not valid"

// admissible decides whether somebody may come from where they do.
func admissible(who principal, from peer, project *fsm.Project) *refusal.Error {
	var verdict origin.Verdict
	header := from.origin.Value()
	switch {
	case who.kind == publicKey:
		verdict = origin.Judge(project.AllowedOrigins, project.AllowNativeClients, header, from.host.Value())
	case who.kind == bearer && who.token.origins != nil:
		verdict = origin.Judge(who.token.origins, false, header, from.host.Value())
		verdict.Reason = "by the token's own list: " + verdict.Reason
	default:
		return nil
	}
	if verdict.Allowed {
		return nil
	}
	reason := "origin " + refusal.Clip(header) + " is not allowed"
	if header == "" {
		reason = "the project does not allow clients without an origin"
	}
	return &refusal.Error{Code: refusal.OriginNotAllowed, Reason: reason, Detail: verdict.Reason}
}

// places remembers admissible's answers while many connections are judged anew:
// to match an origin with a hundred rules takes 0.1 ms, and most come from few.
type places map[place]*refusal.Error

type place struct {
	project      *fsm.Project
	origin, host unique.Handle[string]
}

func (p places) admissible(who principal, from peer, project *fsm.Project) *refusal.Error {
	if who.kind != publicKey {
		return admissible(who, from, project)
	}
	at := place{project, from.origin, from.host}
	refused, known := p[at]
	if !known {
		refused = admissible(who, from, project)
		p[at] = refused
	}
	return refused
}

// admit decides whether somebody may be served from where they come from.
func (s *Server) admit(who principal, from peer) (*fsm.Project, *refusal.Error) {
	project, found := s.cfg.Broker.Project(who.project)
	if !found {
		return nil, &refusal.Error{Code: refusal.InvalidKey, Reason: invalidKey, Detail: "the key's project was deleted"}
	}
	if refused := admissible(who, from, project); refused != nil {
		return nil, refused
	}
	return project, nil
}

// authenticate admits the client, refuses it, or asks the cluster first whether
// it knows a key that this node does not. On an open connection a fresh token
// takes the place of the one that the client came with.
func (c *conn) authenticate(f authFrame) {
	s, text := c.loop.server, f.apiKey
	if c.hasty {
		c.delay(f)
		return
	}
	if refused := c.mayRefresh(); refused != nil {
		c.refuseFrame(refused.Of(c.who.Value().attempt(toConnect, "")), "", "")
		return
	}
	refused := s.available()
	if refused == nil && c.state == stateNew {
		refused = s.shed()
	}
	if refused != nil && text != "" {
		c.refuse(refused.Of(someone(text).attempt(toConnect, "")), "", "")
		return
	}
	who, failed := s.identify(text)
	if failed == nil {
		c.enterAs(who, f)
		return
	}
	limited := s.failures.count(c.peer.address, text, failed)
	switch {
	case limited != nil:
		c.refuseAs(limited.Of(who.attempt(toConnect, "")))
	case !failed.unknown:
		c.refuseAs(failed.refusal.Of(who.attempt(toConnect, "")))
	default:
		c.checking = true
		s.catchUps.join(s.ctx, func(err error) {
			c.loop.mail.post(func() { c.recheckKey(f, err) })
		})
	}
}

// firstAnswerDelay is how long the answer to the first auth frame of a hasty client
// waits. The published Go client begins to wait for it only after it has sent the
// frame, and an answer that comes before that is lost: it then hangs for 30 s.
const firstAnswerDelay = 20 * time.Millisecond

// isHasty reports whether a client may be the published Go client: a program that names
// itself as Go's HTTP client does, or not at all, and sends the broker's address as its
// origin.
func isHasty(agent, header, host string) bool {
	return (agent == "" || strings.HasPrefix(agent, "Go-http-client/")) && header != "" && origin.IsOwn(header, host)
}

// delay authenticates the client a little later. Until then it is not read.
func (c *conn) delay(f authFrame) {
	c.checking, c.hasty = true, false
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

// mayRefresh refuses another auth on an open connection that did not come with a
// token, or that has sent so many that reading them would be work; they count as
// subscribes do.
func (c *conn) mayRefresh() *refusal.Error {
	if c.state != stateOpen {
		return nil
	}
	if c.who.Value().kind != bearer {
		return refusal.New(refusal.InvalidMessage, "authenticated already")
	}
	r := c.loop.server.throttles[toSubscribe].connection
	if wait := c.subscribes.Take(r, c.loop.now); wait > 0 {
		return tooMany("on this connection", r, wait)
	}
	return nil
}

// recheckKey decides once the node is known to have heard of every key.
func (c *conn) recheckKey(f authFrame, err error) {
	c.checking = false
	if c.state > stateOpen {
		return
	}
	c.loop.touch(c)
	if err != nil {
		c.refuseAs(refusal.New(refusal.Unavailable, "the cluster cannot be asked about the key").Of(someone(f.apiKey).attempt(toConnect, "")))
		return
	}
	who, failed := c.loop.server.identify(f.apiKey)
	if failed != nil {
		// The attempt was counted before the cluster was asked.
		c.refuseAs(failed.refusal.Of(who.attempt(toConnect, "")))
		return
	}
	c.enterAs(who, f)
}

// refuseAs refuses what somebody has shown. A connection that is open already
// keeps the rights that it has.
func (c *conn) refuseAs(r *refusal.Error) {
	if c.state == stateOpen {
		c.loop.server.refused(r, "ws", c.peer)
		c.sendRefusal(r, "", "")
		c.weary(r)
		return
	}
	c.refuse(r, "", "")
}

// enterAs serves the client as somebody from now on.
func (c *conn) enterAs(who principal, f authFrame) {
	s := c.loop.server
	project, refused := s.admit(who, c.peer)
	if refused == nil && c.state == stateOpen && who.project != c.who.Value().project {
		refused = refusal.New(refusal.Forbidden, "the token is for another project")
	}
	if refused == nil {
		refused = authorise(who, toConnect, project, "")
	}
	if refused != nil {
		c.refuseAs(refused.Of(who.attempt(toConnect, "")))
		return
	}
	if c.state == stateOpen {
		c.become(who)
		c.out.urgent = appendAuthSuccess(c.out.urgent)
		c.rejudge(project, make(places))
		return
	}
	refused = s.flooded(who, c.peer.address)
	if refused == nil {
		refused = s.shared(who, toConnect, project, c.peer.address)
	}
	if refused != nil {
		c.refuse(refused.Of(who.attempt(toConnect, "")), "", "")
		return
	}
	c.state, c.controls, c.announced = stateOpen, 0, f.announced
	c.known()
	c.become(who)
	c.nextHeartbeat = c.loop.now + s.cfg.Heartbeat
	c.out.urgent = appendConnected(c.out.urgent, connectedInfo{
		connection:      s.connectionName(c.id),
		node:            s.cfg.Broker.NodeName(),
		epoch:           s.cfg.Broker.Epoch(),
		maxMessageBytes: s.cfg.MaxMessageBytes,
		heartbeatMs:     s.cfg.Heartbeat.Milliseconds(),
	})
	c.loop.wheel.schedule(c, c.nextCheck())
}

// become gives the connection somebody's rights, for as long as they last.
func (c *conn) become(who principal) {
	c.who, c.endsAt = unique.Make(who), 0
	c.allowFrames()
	if who.token != nil {
		const longest = 10 * 365 * 24 * time.Hour // as long as a connection can be thought to live
		left := who.token.endsAt - c.loop.server.cfg.Broker.Stamp()
		c.endsAt = c.loop.now + min(time.Duration(min(left, longest.Milliseconds()))*time.Millisecond, longest)
		c.loop.wheel.schedule(c, c.endsAt)
	}
	c.loop.server.cfg.Broker.KeyUsed(who.key)
	c.loop.touch(c)
}

// rejudge closes a client whose origin its project no longer allows, and takes
// the channels from it that it may no longer follow. One whose subscribe is
// still under way is judged when it is done.
func (c *conn) rejudge(project *fsm.Project, known places) {
	who := c.who.Value()
	if refused := known.admissible(who, c.peer, project); refused != nil {
		c.refuse(refused.Of(who.attempt(toConnect, "")), "", "")
		c.hasten()
		return
	}
	c.allowFrames()
	for i := len(c.subs) - 1; i >= 0; i-- {
		sub := c.subs[i]
		name := sub.topic.key.Name
		if sub.joining {
			continue
		}
		if refused := authorise(who, toSubscribe, project, name); refused != nil {
			c.leave(name)
			c.refuse(refused, name, "")
		}
	}
}
