package auth

import (
	"unique"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Kind is the kind of credential that a principal has shown.
type Kind uint8

// The kinds of credentials.
const (
	Nobody    Kind = iota
	PublicKey      // a bare public key: on people's devices, bound to origins
	ServerKey      // a bare server key: a backend
	Bearer         // a token that a backend signed, or a node for its console
	Admin          // an admin token or a console session
)

// Principal says on whose behalf a request or connection acts. Connections share equal
// principals, since many connections have the same.
type Principal struct {
	Kind      Kind
	KeyID     string // id of the key, or of the key that signed the token
	KeyPrefix string // first characters of that key, safe to show
	Project   string
	Token     *Token   // rights of a bearer
	Role      fsm.Role // role of an admin
}

// Sender returns the principal as the sender of a command.
func (p Principal) Sender() fsm.Sender {
	switch session := p.Session(); {
	case session != "":
		return fsm.Sender{Kind: fsm.AdminSender, ID: session, Until: p.Token.EndsAt}
	case p.Kind == Bearer:
		return fsm.Sender{Kind: fsm.TokenSender, ID: p.KeyID, Until: p.Token.EndsAt, Subject: p.Token.person}
	case p.Kind == PublicKey, p.Kind == ServerKey:
		return fsm.Sender{Kind: fsm.KeySender, ID: p.KeyID}
	}
	return fsm.Sender{} // operators send as the admin token that they act with
}

// Credential names what the principal has shown: "public", "server", "token" or "console".
func (p Principal) Credential() string {
	switch {
	case p.Session() != "":
		return "console"
	case p.Kind == Bearer:
		return "token"
	case p.Kind == PublicKey:
		return string(fsm.PublicKey)
	case p.Kind == ServerKey:
		return string(fsm.ServerKey)
	}
	return ""
}

// Session returns the id of the console session or admin token that a console token ends
// with; "" for all other principals.
func (p Principal) Session() string {
	if p.Kind != Bearer || p.KeyID != consoleKeyID {
		return ""
	}
	return p.Token.subject
}

// Member returns the id under which the principal is a member of channels: the subject of its
// token. It is empty where a token has none, and for keys.
func (p Principal) Member() string {
	if p.Kind != Bearer || p.KeyID == consoleKeyID {
		return ""
	}
	return p.Token.subject
}

// Unauthenticated is the principal before any credential was shown.
var Unauthenticated = unique.Make(Principal{})

func ofKey(k fsm.Key) Principal {
	kind := PublicKey
	if k.Kind == fsm.ServerKey {
		kind = ServerKey
	}
	return Principal{Kind: kind, KeyID: k.ID, KeyPrefix: k.Prefix, Project: k.Project}
}

// Unknown returns the principal of a text that is no live key. It has as much of the text as
// an operator may see.
func Unknown(text string) Principal {
	const shown = 8
	if len(text) > shown && (text[:3] == publicKeyPrefix || text[:3] == serverKeyPrefix) {
		return Principal{KeyPrefix: text[:shown]}
	}
	return Principal{}
}

// Attempt describes for operators what the principal tried to do.
func (p Principal) Attempt(do Action, channel string) refusal.Attempt {
	return refusal.Attempt{
		KeyID: p.KeyID, KeyPrefix: p.KeyPrefix, Project: p.Project, Channel: channel, Action: do.String(),
	}
}
