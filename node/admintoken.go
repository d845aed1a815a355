package node

import (
	"context"
	"crypto/rand"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// AdminToken implements gateway.Broker.
func (n *Node) AdminToken(text string) (fsm.AdminToken, bool) {
	token, ok := n.state.AdminTokenByText(text)
	if ok {
		n.KeyUsed(token.ID)
	}
	return token, ok
}

// AdminTokenByID implements gateway.Broker.
func (n *Node) AdminTokenByID(id string) (fsm.AdminToken, bool) { return n.state.AdminToken(id) }

// AdminTokens implements admin.Operator.
func (n *Node) AdminTokens(cursor string, limit int) []fsm.AdminToken {
	return n.state.AdminTokens(cursor, limit)
}

// CreateAdminToken implements admin.Operator.
func (n *Node) CreateAdminToken(ctx context.Context, by fsm.Actor,
	spec admin.TokenSpec,
) (fsm.AdminToken, string, error) {
	text := newAdminToken()
	token := fsm.AdminToken{
		ID: newID("adm"), Name: spec.Name, Role: spec.Role, Hash: fsm.HashKey(text), Parent: spec.Parent,
	}
	if spec.Lifetime > 0 {
		token.ExpiresAt = n.state.Stamp() + spec.Lifetime.Milliseconds()
	}
	if err := n.change(ctx, by, fsm.CreateAdminToken{By: by, Token: token}.Encode()); err != nil {
		return fsm.AdminToken{}, "", err
	}
	token, ok := n.state.AdminToken(token.ID)
	if !ok {
		return fsm.AdminToken{}, "", refusal.New(refusal.Conflict, "the admin token ended while it was made")
	}
	return token, text, nil
}

// RevokeAdminToken implements admin.Operator.
func (n *Node) RevokeAdminToken(ctx context.Context, by fsm.Actor, id string) error {
	return n.change(ctx, by, fsm.RevokeAdminToken{By: by, ID: id}.Encode())
}

// newAdminToken returns a token of 260 random bits.
func newAdminToken() string { return "adm_" + rand.Text() + rand.Text() }

// isOwner reports whether text is an admin token with all rights.
func (n *Node) isOwner(text string) bool {
	token, ok := n.state.AdminTokenByText(text)
	return ok && token.Role == fsm.Owner && token.Parent == ""
}
