package bench

import (
	"io"
	"maps"
	"slices"
)

// Report is the result of a load.
type Report struct {
	Servers     int     `json:"servers"`
	Subscribers int     `json:"subscribers"`
	Channels    int     `json:"channels"`
	Size        int     `json:"size"`    // bytes of payload
	Seconds     float64 `json:"seconds"` // for which was published

	Published    uint64 `json:"published"`    // messages handed to the client
	Acknowledged uint64 `json:"acknowledged"` // with a receipt
	Failed       uint64 `json:"failed"`       // refused for good
	Unknown      uint64 `json:"unknown"`      // may have been stored
	Repeated     uint64 `json:"repeated"`     // acknowledged after more than one attempt
	Reconnects   uint64 `json:"reconnects"`   // of publishers and subscribers

	Reasons map[string]uint64 `json:"reasons"` // why connections were lost

	Verdict
	Problems []string `json:"problems"` // the first ones, in words

	PublishToAcknowledge Latency `json:"publishToAcknowledge"` // ms
	PublishToDeliver     Latency `json:"publishToDeliver"`     // ms
}

// Broken reports whether a promise was broken or the run proves nothing.
func (r Report) Broken() bool {
	return r.Verdict.Broken() || len(r.Problems) > 0
}

// WriteTable writes the report for people.
func (r Report) WriteTable(w io.Writer) error {
	t := &table{w: w}
	t.count("published", r.Published, r.Seconds)
	t.count("acknowledged", r.Acknowledged, r.Seconds)
	t.count("failed", r.Failed, 0)
	t.count("unknown", r.Unknown, 0)
	t.count("repeated", r.Repeated, 0)
	t.count("reconnects", r.Reconnects, 0)
	t.count("delivered", r.Delivered, r.Seconds)
	t.verdict(r.Verdict)
	t.latencies()
	t.latency("publish → acknowledge", r.PublishToAcknowledge)
	t.latency("publish → deliver", r.PublishToDeliver)
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		t.printf("connection lost %d times: %s\n", r.Reasons[reason], reason)
	}
	t.problems(r.Problems)
	return t.end()
}
