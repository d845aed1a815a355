package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// newSlow returns the command that puts slow clients beside good ones.
func newSlow(t *target) *cobra.Command {
	var load bench.Slow
	cmd := newMode("slow", "Put clients that do not keep up beside good ones", func(cmd *cobra.Command) error {
		return runMode(cmd, t, load, nil)
	})
	flags := cmd.Flags()
	flags.IntVar(&load.Good, "good", 2000, "clients that read at once")
	flags.IntVar(&load.Stalled, "stalled", 1000, "clients that never read")
	flags.IntVar(&load.Crawling, "crawling", 1000, "clients that read --crawl bytes a second")
	flags.IntVar(&load.Crawl, "crawl", 4096, "bytes a second of a crawling client")
	flags.IntVar(&load.Receive, "receive", 8192, "receive buffer of slow clients, in bytes")
	flags.Float64Var(&load.Rate, "rate", 100, "messages per second on the one channel")
	flags.IntVar(&load.Size, "size", 128, fmt.Sprintf("bytes of payload, at least %d", bench.MinSize))
	flags.DurationVar(&load.Duration, "duration", 10*time.Second,
		"how long to publish without the slow clients, and again with them")
	flags.DurationVar(&load.Recover, "recover", time.Minute, "how long the slow clients may take to catch up")
	flags.IntVar(&load.InFlight, "in-flight", 200, "clients that connect at a time")
	return cmd
}
