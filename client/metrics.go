package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// MetricsHistory counts what a cluster did lately, in steps of equal length, oldest
// first. A reading is nil where nothing was recorded.
type MetricsHistory struct {
	StepSeconds int   `json:"stepSeconds"`
	From        int64 `json:"from"` // Unix ms at which the first step began
	Series      struct {
		Connections []*float64 `json:"connections"` // open at the end of the step
		Publishes   []*float64 `json:"publishes"`   // per second
		Deliveries  []*float64 `json:"deliveries"`  // per second
		LatencyP50  []*float64 `json:"latencyP50"`  // ms from a publish to its acknowledgement
		LatencyP99  []*float64 `json:"latencyP99"`  // ms
		BytesOut    []*float64 `json:"bytesOut"`    // per second, to clients over every transport
		Refusals    []*float64 `json:"refusals"`    // per second
	} `json:"series"`
}

// MetricsHistory returns the last minutes, at most 60, over all nodes.
func (a *Admin) MetricsHistory(ctx context.Context, minutes int) (MetricsHistory, error) {
	query := url.Values{"minutes": {strconv.Itoa(minutes)}}
	return request[MetricsHistory](ctx, a, call{method: http.MethodGet, path: "/metrics/history", query: query})
}
