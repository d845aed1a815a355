package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// newReplay returns the command that lets clients come back to what they missed.
func newReplay(t *target) *cobra.Command {
	var load bench.Replay
	cmd := newMode("replay", "Bring clients back that have missed messages", func(cmd *cobra.Command) error {
		return runMode(cmd, t, load, nil)
	})
	flags := cmd.Flags()
	flags.IntVar(&load.Clients, "clients", 1000, "clients that come back, spread over the nodes")
	flags.IntVar(&load.Channels, "channels", 100, "new channels over which they are spread")
	flags.IntVar(&load.Messages, "messages", 100, "messages that each has missed")
	flags.IntVar(&load.Size, "size", 128, fmt.Sprintf("bytes of payload, at least %d", bench.MinSize))
	flags.IntVar(&load.InFlight, "in-flight", 1000, "clients that connect at a time")
	flags.DurationVar(&load.Settle, "settle", 30*time.Second, "how long to wait until all have all")
	return cmd
}
