package auth

import (
	"fmt"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Action is something that a principal asks to do.
type Action uint8

// The actions of clients, and those of operators by role.
const (
	NoAction    Action = iota
	Connect            // be served at all
	Subscribe          // to a channel, with what it retains
	Publish            // to a channel
	ReadHistory        // of a channel, over HTTP
	Enter              // a channel, as a member
	SeeMembers         // of a channel
	View               // in the admin API, as the next two
	Operate
	Own
)

var actionNames = [...]string{
	"", "connect", "subscribe", "publish", "history", "presence", "members", "view",
	"operate", "own",
}

// String implements fmt.Stringer.
func (a Action) String() string { return actionNames[a] }

// roleFor has the least role for each action of the admin API.
var roleFor = [...]fsm.Role{View: fsm.Viewer, Operate: fsm.Operator, Own: fsm.Owner}

// ActionOf has the action that each role allows.
var ActionOf = map[fsm.Role]Action{fsm.Viewer: View, fsm.Operator: Operate, fsm.Owner: Own}

// Authorise decides whether a principal may do something. Every frame and every route asks it
// after authentication. project is the channel's; nil in the admin API. The refusal names the
// rule.
func Authorise(who Principal, do Action, project *fsm.Project, channel string) *refusal.Error {
	var reason, detail string
	switch {
	case who.Kind == Nobody:
		return refusal.New(refusal.AuthRequired, "authenticate first").Of(who.Attempt(do, channel))
	case who.Kind == Admin && roleFor[do] == "":
		reason = "an admin token may not act as a client"
	case who.Kind == Admin:
		if who.Role.Includes(roleFor[do]) {
			return nil
		}
		reason = fmt.Sprintf("this needs the role %s", roleFor[do])
		detail = fmt.Sprintf("%s, and admin token %s has the role %s", reason, who.KeyID, who.Role)
	case roleFor[do] != "":
		reason = "this needs an admin token"
	case project == nil || who.Project != project.ID:
		reason = "the key belongs to another project"
	case who.Kind == ServerKey || do == Connect:
		return nil
	case who.Kind == Bearer:
		if who.Token.May(do, channel) {
			return nil
		}
		reason = "the token does not allow to " + do.verb() + " here"
		detail = fmt.Sprintf("token of %q: none of its %d patterns allows %s on channel %s",
			who.Token.subject, len(who.Token.scopes), do, channel)
	case do == Publish:
		if _, granted := project.Access.PublishGrant(channel); granted {
			return nil
		}
		reason = "a public key may not publish here"
		detail = fmt.Sprintf("%s: none of the project's %d grants matches channel %s",
			reason, len(project.Access.Publish), channel)
	case do == Enter || do == SeeMembers:
		may, patterns := project.Access.MayEnter, project.Access.Presence
		if do == SeeMembers {
			may, patterns = project.Access.MaySeeMembers, project.Access.Members
		}
		if may(channel) {
			return nil
		}
		reason = "a public key may not " + do.verb() + " here"
		detail = fmt.Sprintf("%s: none of the %d patterns of access.%s matches channel %s", reason, len(patterns), do,
			channel)
	default:
		if project.Access.MaySubscribe(channel) {
			return nil
		}
		reason = "a public key may not " + do.verb() + " here"
		detail = fmt.Sprintf("%s: none of the project's %d patterns for public keys matches channel %s",
			reason, len(project.Access.Subscribe), channel)
	}
	r := &refusal.Error{Code: refusal.Forbidden, Reason: reason, Detail: detail}
	return r.Of(who.Attempt(do, channel))
}

// MayPublishAnywhere reports whether there can be a channel to which the principal may publish.
// It is asked before a message is read that would be refused.
func MayPublishAnywhere(who Principal, project *fsm.Project) bool {
	switch who.Kind {
	case ServerKey:
		return true
	case Bearer:
		return slices.ContainsFunc(who.Token.scopes, func(s scope) bool { return s.actions[Publish] })
	case PublicKey:
		return project != nil && len(project.Access.Publish) > 0
	}
	return false
}

// verb returns the action as a verb for sentences.
func (a Action) verb() string {
	switch a {
	case ReadHistory:
		return "read"
	case Enter:
		return "be a member"
	case SeeMembers:
		return "see the members"
	}
	return a.String()
}
