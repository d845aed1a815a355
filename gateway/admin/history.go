package admin

import (
	"encoding/json"
	"math"
	"net/http"

	"github.com/aptlyd/aptlyd/gateway/httpio"
)

// maxHistoryMinutes is the age at which a node forgets its measurements.
const maxHistoryMinutes = 60

// History has measurements of the cluster in steps of equal length, oldest first.
type History struct {
	StepSeconds int           `json:"stepSeconds"`
	From        int64         `json:"from"` // Unix ms at which the first step began
	Series      HistorySeries `json:"series"`
}

// HistorySeries has one reading of each kind for every step, over all nodes.
type HistorySeries struct {
	Connections []Reading `json:"connections"` // open at the end of the step
	Publishes   []Reading `json:"publishes"`   // per second
	Deliveries  []Reading `json:"deliveries"`  // per second
	LatencyP50  []Reading `json:"latencyP50"`  // ms from a publish to its acknowledgement
	LatencyP99  []Reading `json:"latencyP99"`  // ms
	BytesOut    []Reading `json:"bytesOut"`    // per second, to clients over every transport
	Refusals    []Reading `json:"refusals"`    // per second
}

// Reading is a measured value; NaN, which JSON shows as null, where there is none.
type Reading float64

// MarshalJSON implements json.Marshaler.
func (r Reading) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(r)) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(r))
}

// metricsHistory serves GET /metrics/history.
func (h *Handler) metricsHistory(r *http.Request) (int, any, error) {
	query := r.URL.Query()
	minutes, err := httpio.QueryNumber(query, "minutes", maxHistoryMinutes, maxHistoryMinutes)
	if err != nil {
		return 0, nil, err
	}
	history, err := h.cfg.Broker.History(r.Context(), max(int(minutes), 1))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, history, nil
}
