package gateway

import (
	"fmt"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// action is what somebody wants to do.
type action uint8

const (
	toDoNothing   action = iota
	toConnect            // be served at all
	toSubscribe          // to a channel, with what it retains
	toPublish            // to a channel
	toReadHistory        // of a channel, over HTTP
	toView               // in the admin API: what each role may do
	toOperate
	toOwn
)

var actionNames = [...]string{"", "connect", "subscribe", "publish", "history", "view", "operate", "own"}

func (a action) String() string { return actionNames[a] }

// Roles and actions of the admin API stand for each other.
var (
	roleFor  = [...]fsm.Role{toView: fsm.Viewer, toOperate: fsm.Operator, toOwn: fsm.Owner}
	actionOf = map[fsm.Role]action{fsm.Viewer: toView, fsm.Operator: toOperate, fsm.Owner: toOwn}
)

// authorise decides what anybody may do: every frame and every route asks it,
// once who asks is known to be who they say. project is the one that channel
// belongs to; the admin API asks about none. The refusal names the rule.
func authorise(who principal, do action, project *fsm.Project, channel string) *refusal.Error {
	var reason, detail string
	switch {
	case who.kind == nobody:
		return refusal.New(refusal.AuthRequired, "authenticate first").Of(who.attempt(do, channel))
	case who.kind == admin && roleFor[do] == "":
		reason = "an admin token may not act as a client"
	case who.kind == admin:
		if who.role.Includes(roleFor[do]) {
			return nil
		}
		reason = fmt.Sprintf("this needs the role %s", roleFor[do])
		detail = fmt.Sprintf("%s, and admin token %s has the role %s", reason, who.key, who.role)
	case roleFor[do] != "":
		reason = "this needs an admin token"
	case project == nil || who.project != project.ID:
		reason = "the key belongs to another project"
	case who.kind == serverKey || do == toConnect:
		return nil
	case who.kind == bearer:
		if who.token.may(do, channel) {
			return nil
		}
		reason = "the token does not allow to " + do.verb() + " here"
		detail = fmt.Sprintf("token of %q: none of its %d patterns allows %s on channel %s",
			who.token.subject, len(who.token.scopes), do, channel)
	case do == toPublish:
		if _, granted := project.Access.PublishGrant(channel); granted {
			return nil
		}
		reason = "a public key may not publish here"
		detail = fmt.Sprintf("%s: none of the project's %d grants matches channel %s", reason, len(project.Access.Publish), channel)
	default:
		if project.Access.MaySubscribe(channel) {
			return nil
		}
		reason = "a public key may not " + do.verb() + " here"
		detail = fmt.Sprintf("%s: none of the project's %d patterns for public keys matches channel %s",
			reason, len(project.Access.Subscribe), channel)
	}
	r := &refusal.Error{Code: refusal.Forbidden, Reason: reason, Detail: detail}
	return r.Of(who.attempt(do, channel))
}

// mayPublishAnywhere reports whether there can be a channel that somebody may
// publish to. It is asked before a message is read that would be refused.
func mayPublishAnywhere(who principal, project *fsm.Project) bool {
	switch who.kind {
	case serverKey:
		return true
	case bearer:
		return slices.ContainsFunc(who.token.scopes, func(s scope) bool { return s.actions[toPublish] })
	case publicKey:
		return project != nil && len(project.Access.Publish) > 0
	}
	return false
}

// verb is the action as a sentence wants it.
func (a action) verb() string {
	if a == toReadHistory {
		return "read"
	}
	return a.String()
}
