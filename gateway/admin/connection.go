package admin

import (
	"net/http"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// listConnections serves GET /connections: the connections of the whole cluster, by id.
func (h *Handler) listConnections(r *http.Request) (int, any, error) {
	cursor, limit, query, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	return h.connectionPage(r, ConnectionQuery{
		Project: query.Get("project"), KeyID: query.Get("key"), Cursor: cursor, Limit: limit,
	})
}

// keyConnections serves GET /keys/{id}/connections.
func (h *Handler) keyConnections(r *http.Request) (int, any, error) {
	cursor, limit, _, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	id := r.PathValue("id")
	if _, found := h.cfg.Broker.KeyByID(id); !found {
		return 0, nil, refusal.New(refusal.NotFound, "no key has this id")
	}
	return h.connectionPage(r, ConnectionQuery{KeyID: id, Cursor: cursor, Limit: limit})
}

func (h *Handler) connectionPage(r *http.Request, q ConnectionQuery) (int, any, error) {
	limit := q.Limit
	q.Limit++ // one more tells whether there is a next page
	found, err := h.cfg.Broker.Connections(r.Context(), q)
	if err != nil {
		return 0, nil, err
	}
	found, next := cutPage(found, limit, func(c ConnectionStatus) string { return c.ID })
	if found == nil {
		found = []ConnectionStatus{}
	}
	return http.StatusOK, struct {
		Connections []ConnectionStatus `json:"connections"`
		Next        string             `json:"next"`
	}{found, next}, nil
}

// disconnect serves DELETE /connections/{id}.
func (h *Handler) disconnect(r *http.Request) (int, any, error) {
	id := r.PathValue("id")
	// Noted first, like the removal of a member.
	if err := h.cfg.Broker.Note(r.Context(), actorOf(r), "connection.close", id); err != nil {
		return 0, nil, err
	}
	if err := h.cfg.Broker.Disconnect(r.Context(), id); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}
