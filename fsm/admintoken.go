package fsm

import (
	"crypto/subtle"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// Role is the set of rights of an admin token. Each role includes those before it.
type Role string

// The roles. A viewer reads; an operator also changes projects, keys, channels and
// connections; an owner also changes admin tokens, members and settings.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Owner    Role = "owner"
)

func (r Role) rank() int { return slices.Index([]Role{Viewer, Operator, Owner}, r) }

// Valid reports whether there is such a role.
func (r Role) Valid() bool { return r.rank() >= 0 }

// Includes reports whether the role has all rights of needed.
func (r Role) Includes(needed Role) bool { return r.Valid() && r.rank() >= needed.rank() }

// FirstAdminToken is the id of the admin token that Init makes.
const FirstAdminToken = "adm_first"

// AdminToken is a credential of the admin API. Its text is not part of it.
type AdminToken struct {
	ID         string
	Name       string
	Role       Role
	Hash       KeyHash
	CreatedAt  int64  // Unix ms
	ExpiresAt  int64  // Unix ms by the cluster's stamp; 0 means never
	LastUsedAt int64  // Unix ms, coarsely; 0 means never
	Parent     string // of a console session: id of the token that signed in, with which it ends
}

// Bounds of the table. A sign-in above maxSessions ends the oldest session of its token.
const (
	maxAdminTokens = 100
	maxSessions    = 100 // per token
)

// adminTable holds all admin tokens. State.mu guards it; the tokens never change.
type adminTable struct {
	byID     map[string]*AdminToken
	byHash   map[KeyHash]*AdminToken
	deadline int64 // Unix ms at which the next one ends, 0 when none does
}

func newAdminTable() *adminTable {
	return &adminTable{byID: make(map[string]*AdminToken), byHash: make(map[KeyHash]*AdminToken)}
}

// byText returns the token with a text. The map finds the candidate. The comparison that
// decides takes the same time wherever the hashes differ.
func (t *adminTable) byText(text string) (*AdminToken, bool) {
	hash := HashKey(text)
	token, ok := t.byHash[hash]
	if !ok || subtle.ConstantTimeCompare(token.Hash[:], hash[:]) != 1 {
		return nil, false
	}
	return token, true
}

func (t *adminTable) set(token *AdminToken) {
	t.byID[token.ID], t.byHash[token.Hash] = token, token
	t.setDeadline()
}

func (t *adminTable) remove(token *AdminToken) {
	delete(t.byID, token.ID)
	delete(t.byHash, token.Hash)
	t.setDeadline()
}

func (t *adminTable) setDeadline() {
	t.deadline = 0
	for _, token := range t.byID {
		if at := token.ExpiresAt; at != 0 && (t.deadline == 0 || at < t.deadline) {
			t.deadline = at
		}
	}
}

// expired returns the tokens that end at or before the stamp, by id.
func (t *adminTable) expired(stamp int64) []*AdminToken {
	if t.deadline == 0 || t.deadline > stamp {
		return nil
	}
	return t.list(func(token *AdminToken) bool { return token.ExpiresAt != 0 && token.ExpiresAt <= stamp })
}

// sessions returns the console sessions of a token, oldest first.
func (t *adminTable) sessions(parent string) []*AdminToken {
	list := t.list(func(token *AdminToken) bool { return token.Parent == parent })
	slices.SortStableFunc(list, func(a, b *AdminToken) int {
		return int(min(max(a.CreatedAt-b.CreatedAt, -1), 1))
	})
	return list
}

// list returns the tokens that match, by id.
func (t *adminTable) list(match func(*AdminToken) bool) []*AdminToken {
	var list []*AdminToken
	for _, id := range slices.Sorted(maps.Keys(t.byID)) {
		if match(t.byID[id]) {
			list = append(list, t.byID[id])
		}
	}
	return list
}

func (a *application) createAdminToken(c *CreateAdminToken) *refusal {
	token := c.Token
	if token.ID == "" || !token.Role.Valid() {
		return refuse(codeInvalid, "admin token %q with role %q", token.ID, token.Role)
	}
	if _, taken := a.admins.byID[token.ID]; taken {
		return refuse(codeConflict, "admin token %q exists", token.ID)
	}
	if _, taken := a.admins.byHash[token.Hash]; taken {
		return refuse(codeConflict, "text of admin token %q exists", token.ID)
	}
	if token.ExpiresAt != 0 && token.ExpiresAt <= a.stamp {
		return refuse(codeInvalid, "admin token %q that ends before it begins", token.ID)
	}
	token.CreatedAt = a.stamp
	if token.Parent != "" {
		return a.createSession(c.By, &token)
	}
	named := a.admins.list(func(t *AdminToken) bool { return t.Parent == "" })
	if len(named) >= maxAdminTokens {
		return refuse(codeRateLimited, "%d admin tokens", maxAdminTokens)
	}
	a.setAdminToken(&token)
	a.record(c.By, "token.create", token.ID, nil, showAdminToken(&token))
	return nil
}

// createSession adds the console session of a sign-in with its parent.
func (a *application) createSession(by Actor, session *AdminToken) *refusal {
	parent, ok := a.admins.byID[session.Parent]
	if !ok || parent.Parent != "" {
		return refuse(codeNotFound, "admin token %q", session.Parent)
	}
	session.Name, session.Role = parent.Name, parent.Role
	if parent.ExpiresAt != 0 && (session.ExpiresAt == 0 || session.ExpiresAt > parent.ExpiresAt) {
		session.ExpiresAt = parent.ExpiresAt
	}
	if live := a.admins.sessions(parent.ID); len(live) >= maxSessions {
		a.removeAdminToken(live[0])
	}
	a.setAdminToken(session)
	a.record(by, "session.create", session.ID, nil, showAdminToken(session))
	return nil
}

func (a *application) revokeAdminToken(c *RevokeAdminToken) *refusal {
	token, ok := a.admins.byID[c.ID]
	if !ok {
		return refuse(codeNotFound, "admin token %q", c.ID)
	}
	if token.Parent != "" {
		a.endAdminToken(token)
		a.record(c.By, "session.end", c.ID, showAdminToken(token), nil)
		return nil
	}
	lasting := a.admins.list(func(t *AdminToken) bool {
		return t.Parent == "" && t.Role == Owner && t.ExpiresAt == 0 && t.ID != c.ID
	})
	if token.Role == Owner && len(lasting) == 0 {
		return refuse(codeConflict, "admin token %q is the last owner", c.ID)
	}
	a.endAdminToken(token)
	a.record(c.By, "token.revoke", c.ID, showAdminToken(token), nil)
	return nil
}

func (s *State) setAdminToken(token *AdminToken) {
	s.admins.set(token)
	s.gathering.set(bucketAdmins, token.ID, appendAdminToken(nil, token))
}

// endAdminToken removes a token and its console sessions.
func (s *State) endAdminToken(token *AdminToken) {
	for _, session := range s.admins.sessions(token.ID) {
		s.removeAdminToken(session)
	}
	s.removeAdminToken(token)
}

func (s *State) removeAdminToken(token *AdminToken) {
	s.admins.remove(token)
	s.gathering.set(bucketAdmins, token.ID, nil)
	s.events = append(s.events, func(o Observer) { o.AdminTokenEnded(token.ID) })
}

// AdminTokenByText returns the live admin token with this text.
func (s *State) AdminTokenByText(text string) (AdminToken, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	token, ok := s.admins.byText(text)
	if !ok {
		return AdminToken{}, false
	}
	return *token, true
}

// AdminToken returns the live admin token with this id.
func (s *State) AdminToken(id string) (AdminToken, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	token, ok := s.admins.byID[id]
	if !ok {
		return AdminToken{}, false
	}
	return *token, true
}

// AdminTokens returns live admin tokens by id, without console sessions: at most limit,
// from the first id above after.
func (s *State) AdminTokens(after string, limit int) []AdminToken {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []AdminToken
	for _, token := range s.admins.list(func(t *AdminToken) bool { return t.Parent == "" && t.ID > after }) {
		list = append(list, *token)
	}
	return list[:min(len(list), max(limit, 0))]
}

func appendAdminToken(dst []byte, t *AdminToken) []byte {
	dst = wire.AppendBytes(dst, t.ID)
	dst = wire.AppendBytes(dst, t.Name)
	dst = wire.AppendBytes(dst, string(t.Role))
	dst = append(dst, t.Hash[:]...)
	dst = binary.AppendVarint(dst, t.CreatedAt)
	dst = binary.AppendVarint(dst, t.ExpiresAt)
	dst = binary.AppendVarint(dst, t.LastUsedAt)
	return wire.AppendBytes(dst, t.Parent)
}

func (d *decoder) adminToken() AdminToken {
	return AdminToken{
		ID:         d.string(),
		Name:       d.string(),
		Role:       Role(d.string()),
		Hash:       d.hash(),
		CreatedAt:  d.Varint(),
		ExpiresAt:  d.Varint(),
		LastUsedAt: d.Varint(),
		Parent:     d.string(),
	}
}
