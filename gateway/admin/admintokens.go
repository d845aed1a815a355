package admin

import (
	"net/http"
	"strconv"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

type adminTokenJSON struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Role       fsm.Role `json:"role"`
	Token      string   `json:"token,omitempty"` // full text, at creation
	CreatedAt  int64    `json:"createdAt"`
	LastUsedAt int64    `json:"lastUsedAt,omitempty"`
	ExpiresAt  int64    `json:"expiresAt,omitempty"`
}

func showAdminToken(t fsm.AdminToken, text string) adminTokenJSON {
	return adminTokenJSON{t.ID, t.Name, t.Role, text, t.CreatedAt, t.LastUsedAt, t.ExpiresAt}
}

// whoAmI shows the token that a call is made with.
func (h *Handler) whoAmI(r *http.Request) (int, any, error) {
	op := operatorOf(r)
	return http.StatusOK, struct {
		ID        string   `json:"id"`
		Name      string   `json:"name"`
		Role      fsm.Role `json:"role"`
		ExpiresAt int64    `json:"expiresAt,omitempty"`
	}{op.actor().ID, op.token.Name, op.token.Role, op.token.ExpiresAt}, nil
}

func (h *Handler) listAdminTokens(r *http.Request) (int, any, error) {
	cursor, limit, _, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	found, next := cutPage(h.cfg.Broker.AdminTokens(cursor, limit+1), limit, func(t fsm.AdminToken) string { return t.ID })
	tokens := make([]adminTokenJSON, len(found))
	for i, t := range found {
		tokens[i] = showAdminToken(t, "")
	}
	return http.StatusOK, struct {
		Tokens []adminTokenJSON `json:"tokens"`
		Next   string           `json:"next"`
	}{tokens, next}, nil
}

var newAdminTokenShape = strictjson.Shape{Strict: true, Names: []string{"name", "role"}}

func (h *Handler) createAdminToken(r *http.Request) (int, any, error) {
	var values [2][]byte
	if err := h.body(r, &newAdminTokenShape, values[:]); err != nil {
		return 0, nil, err
	}
	name, err := parseName(values[0])
	if err != nil {
		return 0, nil, err
	}
	text, _ := strictjson.Unquote(values[1])
	role := fsm.Role(text)
	if !role.Valid() {
		return 0, nil, refusal.New(refusal.InvalidMessage, `role is none of "owner", "operator", "viewer"`)
	}
	token, secret, err := h.cfg.Broker.CreateAdminToken(r.Context(), actorOf(r), TokenSpec{Name: name, Role: role})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, showAdminToken(token, secret), nil
}

func (h *Handler) revokeAdminToken(r *http.Request) (int, any, error) {
	if err := h.cfg.Broker.RevokeAdminToken(r.Context(), actorOf(r), r.PathValue("id")); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}

func (h *Handler) listAudit(r *http.Request) (int, any, error) {
	cursor, limit, _, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	var before uint64
	if cursor != "" {
		if before, err = strconv.ParseUint(cursor, 10, 64); err != nil || before == 0 {
			return 0, nil, refusal.New(refusal.InvalidMessage, "cursor is not one that a list answered with")
		}
	}
	found, next := cutPage(h.cfg.Broker.Audit(before, limit+1), limit,
		func(a fsm.AuditRecord) string { return strconv.FormatUint(a.Seq, 10) })
	return http.StatusOK, struct {
		Audit []fsm.AuditRecord `json:"audit"`
		Next  string            `json:"next"`
	}{found, next}, nil
}
