package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// Report is what a load came to.
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
	t.count("lost", r.Lost, 0)
	t.count("duplicated", r.Duplicated, 0)
	t.count("out of order", r.OutOfOrder, 0)
	t.count("corrupt", r.Corrupt, 0)
	t.count("expired", r.Expired, 0)
	t.printf("\n%-22s %9s %9s %9s %9s %9s\n", "latency (ms)", "p50", "p90", "p99", "p99.9", "max")
	t.latency("publish → acknowledge", r.PublishToAcknowledge)
	t.latency("publish → deliver", r.PublishToDeliver)
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		t.printf("connection lost %d times: %s\n", r.Reasons[reason], reason)
	}
	for _, problem := range r.Problems {
		t.printf("! %s\n", problem)
	}
	if t.err != nil {
		return fmt.Errorf("write table: %w", t.err)
	}
	return nil
}

// table writes lines until the first error.
type table struct {
	w   io.Writer
	err error
}

func (t *table) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

// count writes a line with a count and, where seconds are given, its rate.
func (t *table) count(name string, n uint64, seconds float64) {
	if seconds == 0 {
		t.printf("%-22s %9d\n", name, n)
		return
	}
	t.printf("%-22s %9d %9.0f/s\n", name, n, float64(n)/seconds)
}

func (t *table) latency(name string, l Latency) {
	t.printf("%-22s %9.2f %9.2f %9.2f %9.2f %9.2f\n", name, l.P50, l.P90, l.P99, l.P999, l.Max)
}
