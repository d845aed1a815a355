package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newClusterHistory() *cobra.Command {
	var r remote
	var minutes int
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show what the last minutes were like, in steps of ten seconds",
		Args:  cobra.NoArgs,
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, _ []string) error {
			history, err := admin.MetricsHistory(ctx, minutes)
			if err != nil {
				return err
			}
			return show(cmd, r.json, history, func(p *printer) {
				p.line("TIME\tCONNECTIONS\tPUBLISHES/S\tDELIVERIES/S\tP50 MS\tP99 MS\tBYTES OUT/S\tREFUSALS/S")
				series := history.Series
				for i := range series.Connections {
					at := time.UnixMilli(history.From).UTC().Add(time.Duration(i*history.StepSeconds) * time.Second)
					p.line("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", at.Format(time.TimeOnly),
						reading(series.Connections[i]), reading(series.Publishes[i]), reading(series.Deliveries[i]),
						reading(series.LatencyP50[i]), reading(series.LatencyP99[i]),
						reading(series.BytesOut[i]), reading(series.Refusals[i]))
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().IntVar(&minutes, "minutes", 5, "how far back, at most 60")
	return cmd
}

// reading formats a value of a history, or a dash if there is none.
func reading(value *float64) string {
	if value == nil {
		return "-"
	}
	return fmt.Sprintf("%.4g", *value)
}
