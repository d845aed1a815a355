package admin

import (
	"net/http"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func (h *Handler) clusterStatus(r *http.Request) (int, any, error) {
	status, err := h.cfg.Broker.Status(r.Context())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, status, nil
}

func (h *Handler) diagnosis(r *http.Request) (int, any, error) {
	findings, err := h.cfg.Broker.Diagnose(r.Context())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, struct {
		Findings []Finding `json:"findings"`
	}{findings}, nil
}

func (h *Handler) removeMember(r *http.Request) (int, any, error) {
	name := r.URL.Query().Get("name")
	if name == "" {
		return 0, nil, refusal.New(refusal.InvalidMessage, "name is missing in the query")
	}
	// Noted first: an act without its record would be hidden, a record without its act is not.
	if err := h.cfg.Broker.Note(r.Context(), actorOf(r), "member.remove", name); err != nil {
		return 0, nil, err
	}
	if err := h.cfg.Broker.RemoveMember(r.Context(), name); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}
