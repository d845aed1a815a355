package gateway

import (
	"cmp"
	"context"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func (b *fakeBroker) AdminToken(text string) (fsm.AdminToken, bool) {
	defer b.judged.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	token, found := b.admins[text]
	return token, found
}

func (b *fakeBroker) AdminTokenByID(id string) (fsm.AdminToken, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, token := range b.admins {
		if token.ID == id {
			return token, true
		}
	}
	return fsm.AdminToken{}, false
}

func (b *fakeBroker) Alive(from fsm.Sender) error {
	switch from.Kind {
	case fsm.KeySender, fsm.TokenSender:
		if _, live := b.KeyByID(from.ID); !live {
			return refusal.New(refusal.KeyRevoked, "the API key has ended")
		}
	case fsm.AdminSender:
		if _, live := b.AdminTokenByID(from.ID); !live {
			return refusal.New(refusal.InvalidKey, "the admin token is not valid any more")
		}
	}
	if from.Until != 0 && from.Until <= b.Stamp() {
		return refusal.New(refusal.TokenExpired, "the token has expired")
	}
	return nil
}

func (b *fakeBroker) AdminTokens(cursor string, limit int) []fsm.AdminToken {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []fsm.AdminToken
	for _, token := range b.admins {
		if token.Parent == "" && token.ID > cursor {
			found = append(found, token)
		}
	}
	slices.SortFunc(found, func(a, b fsm.AdminToken) int { return cmp.Compare(a.ID, b.ID) })
	return found[:min(limit, len(found))]
}

func (b *fakeBroker) CreateAdminToken(_ context.Context, by fsm.Actor, spec admin.TokenSpec) (fsm.AdminToken,
	string, error,
) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.createErr != nil {
		return fsm.AdminToken{}, "", b.createErr
	}
	token := fsm.AdminToken{ID: b.id("adm"), Name: spec.Name, Role: spec.Role, CreatedAt: b.clock, Parent: spec.Parent}
	for _, parent := range b.admins {
		if parent.ID == spec.Parent {
			token.Name, token.Role = parent.Name, parent.Role
		}
	}
	if spec.Lifetime > 0 {
		token.ExpiresAt = b.clock + spec.Lifetime.Milliseconds()
	}
	text := "text-of-" + token.ID
	b.admins[text] = token
	b.record(by, "token.create", token.ID)
	return token, text, nil
}

func (b *fakeBroker) RevokeAdminToken(_ context.Context, by fsm.Actor, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.revokeErr != nil {
		return b.revokeErr
	}
	for text, token := range b.admins {
		if token.ID == id {
			delete(b.admins, text)
			b.record(by, "token.revoke", id)
			b.observer.AdminTokenEnded(id)
			return nil
		}
	}
	return refusal.New(refusal.NotFound, "no such admin token")
}

// record is called with mu held.
func (b *fakeBroker) record(by fsm.Actor, action, target string) {
	b.audit = append(b.audit, fsm.AuditRecord{
		Seq: uint64(len(b.audit) + 1), At: b.clock, By: by, Action: action,
		Target: target,
	})
}

func (b *fakeBroker) Note(_ context.Context, by fsm.Actor, action, target string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.noteErr == nil {
		b.record(by, action, target)
	}
	return b.noteErr
}

func (b *fakeBroker) Audit(before uint64, limit int) []fsm.AuditRecord {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []fsm.AuditRecord
	for _, record := range slices.Backward(b.audit) {
		if (before == 0 || record.Seq < before) && len(found) < limit {
			found = append(found, record)
		}
	}
	return found
}
