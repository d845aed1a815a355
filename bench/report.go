package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
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

	Verdict
	Problems []string `json:"problems"` // the first ones, in words

	PublishToAcknowledge Latency `json:"publishToAcknowledge"` // ms
	PublishToDeliver     Latency `json:"publishToDeliver"`     // ms
}

// WriteTable writes the report for people.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	perSecond := func(n uint64) float64 { return float64(n) / r.Seconds }
	fmt.Fprintf(t, "published\t%d\t%.0f/s\t\n", r.Published, perSecond(r.Published))
	fmt.Fprintf(t, "acknowledged\t%d\t%.0f/s\t\n", r.Acknowledged, perSecond(r.Acknowledged))
	fmt.Fprintf(t, "failed\t%d\t\t\n", r.Failed)
	fmt.Fprintf(t, "unknown\t%d\t\t\n", r.Unknown)
	fmt.Fprintf(t, "repeated\t%d\t\t\n", r.Repeated)
	fmt.Fprintf(t, "reconnects\t%d\t\t\n", r.Reconnects)
	fmt.Fprintf(t, "delivered\t%d\t%.0f/s\t\n", r.Delivered, perSecond(r.Delivered))
	fmt.Fprintf(t, "lost\t%d\t\t\n", r.Lost)
	fmt.Fprintf(t, "duplicated\t%d\t\t\n", r.Duplicated)
	fmt.Fprintf(t, "out of order\t%d\t\t\n", r.OutOfOrder)
	fmt.Fprintf(t, "corrupt\t%d\t\t\n", r.Corrupt)
	fmt.Fprintf(t, "expired\t%d\t\t\n", r.Expired)
	fmt.Fprint(t, "\t\t\t\t\t\t\n")
	fmt.Fprint(t, "latency (ms)\tp50\tp90\tp99\tp99.9\tmax\t\n")
	for _, row := range []struct {
		name string
		Latency
	}{
		{"publish → acknowledge", r.PublishToAcknowledge},
		{"publish → deliver", r.PublishToDeliver},
	} {
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", row.name, row.P50, row.P90, row.P99, row.P999, row.Max)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	for _, problem := range r.Problems {
		if _, err := fmt.Fprintf(w, "! %s\n", problem); err != nil {
			return fmt.Errorf("write problems: %w", err)
		}
	}
	return nil
}
