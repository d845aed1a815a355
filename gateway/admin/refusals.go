package admin

import (
	"net/http"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// listRefusals serves GET /refusals: the refusals of the whole cluster, newest first.
func (h *Handler) listRefusals(r *http.Request) (int, any, error) {
	cursor, limit, query, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	found, err := h.cfg.Broker.Refusals(r.Context(), refusal.Query{
		Project: query.Get("project"), KeyID: query.Get("key"), Code: refusal.Code(query.Get("code")),
		Cursor: cursor, Limit: limit + 1,
	})
	if err != nil {
		return 0, nil, err
	}
	found, next := cutPage(found, limit, func(r refusal.Record) string { return r.Cursor() })
	if found == nil {
		found = []refusal.Record{}
	}
	return http.StatusOK, struct {
		Refusals []refusal.Record `json:"refusals"`
		Next     string           `json:"next"`
	}{found, next}, nil
}
