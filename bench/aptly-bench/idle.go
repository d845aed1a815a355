package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// newIdle returns the command that holds quiet clients.
func newIdle(t *target) *cobra.Command {
	var load bench.Idle
	cmd := newMode("idle", "Hold clients that only listen and show what they cost", func(cmd *cobra.Command) error {
		return runMode(cmd, t, load, nil)
	})
	flags := cmd.Flags()
	flags.IntVar(&load.Clients, "clients", 15000, "connections, spread over the nodes")
	flags.IntVar(&load.Channels, "channels", 100, "new channels, the same in all rounds; each client subscribes to one")
	flags.IntVar(&load.InFlight, "in-flight", 200, "clients that connect at a time")
	flags.DurationVar(&load.Rest, "rest", 30*time.Second, "how long they stay; idle CPU is measured for as long")
	flags.DurationVar(&load.Leave, "leave", 15*time.Second,
		"how long to wait at most for memory and descriptors of those that have gone")
	flags.IntVar(&load.Rounds, "rounds", 1, "how often they come and go")
	return cmd
}
