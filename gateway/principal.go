package gateway

import (
	"unique"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// principalKind tells what somebody has shown to say who they are.
type principalKind uint8

const (
	nobody    principalKind = iota
	publicKey               // a bare public key: on people's devices, bound to origins
	serverKey               // a bare server key: a backend
	bearer                  // a token that a backend signed, or a node for its console
	admin                   // an admin token or a console session
)

// principal is who asks. Equal ones are shared, since most connections have
// theirs in common with many.
type principal struct {
	kind    principalKind
	key     string // id of the key that it is, or that signed it
	prefix  string // first characters of that key, safe to show
	project string
	token   *token   // what a bearer may do
	role    fsm.Role // what an admin may do
}

// sender is the principal as who sends a command.
func (p principal) sender() fsm.Sender {
	switch session := p.session(); {
	case session != "":
		return fsm.Sender{Kind: fsm.AdminSender, ID: session, Until: p.token.endsAt}
	case p.kind == bearer:
		return fsm.Sender{Kind: fsm.TokenSender, ID: p.key, Until: p.token.endsAt, Subject: p.token.person}
	case p.kind == publicKey, p.kind == serverKey:
		return fsm.Sender{Kind: fsm.KeySender, ID: p.key}
	}
	return fsm.Sender{} // operators send as the admin token that they act with
}

// session is the console session or admin token with which a console token lives,
// "" for anybody else.
func (p principal) session() string {
	if p.kind != bearer || p.key != consoleTokenID {
		return ""
	}
	return p.token.subject
}

// nobodyYet is who has not said who they are.
var nobodyYet = unique.Make(principal{})

func keyPrincipal(k fsm.Key) principal {
	kind := publicKey
	if k.Kind == fsm.ServerKey {
		kind = serverKey
	}
	return principal{kind: kind, key: k.ID, prefix: k.Prefix, project: k.Project}
}

// someone is somebody who has shown a text that is no key, as far as it may be
// shown to an operator.
func someone(text string) principal {
	const shown = 8
	if len(text) > shown && (text[:3] == publicKeyPrefix || text[:3] == serverKeyPrefix) {
		return principal{prefix: text[:shown]}
	}
	return principal{}
}

// attempt says that the principal tried to do something, for operators.
func (p principal) attempt(do action, channel string) refusal.Attempt {
	return refusal.Attempt{KeyID: p.key, KeyPrefix: p.prefix, Project: p.project, Channel: channel, Action: do.String()}
}
