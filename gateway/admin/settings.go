package admin

import (
	"fmt"
	"net/http"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

var settingsShape = strictjson.Shape{Strict: true, Names: []string{"maxBytes"}}

type settingsJSON struct {
	MaxBytes int64 `json:"maxBytes"`
}

func (h *Handler) getSettings(r *http.Request) (int, any, error) {
	return http.StatusOK, settingsJSON(h.cfg.Broker.Settings()), nil
}

func (h *Handler) updateSettings(r *http.Request) (int, any, error) {
	var values [1][]byte
	if err := h.body(r, &settingsShape, values[:]); err != nil {
		return 0, nil, err
	}
	change := fsm.UpdateSettings{By: actorOf(r)}
	if values[0] != nil {
		n, ok := strictjson.WholeNumber(values[0])
		if !ok || n > 0 && n < fsm.MinMaxBytes {
			return 0, nil, refusal.New(refusal.InvalidMessage,
				fmt.Sprintf("maxBytes is neither 0 nor a whole number from %d to 2^53-1", fsm.MinMaxBytes))
		}
		limit := int64(n)
		change.MaxBytes = &limit
	}
	settings, err := h.cfg.Broker.UpdateSettings(r.Context(), change)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, settingsJSON(settings), nil
}
