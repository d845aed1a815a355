package main

import (
	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// newStorm returns the command that lets clients come all at once.
func newStorm(t *target) *cobra.Command {
	var load bench.Storm
	cmd := newMode("storm", "Connect, authenticate and subscribe many clients at once", func(cmd *cobra.Command) error {
		return runMode(cmd, t, load, nil)
	})
	flags := cmd.Flags()
	flags.IntVar(&load.Clients, "clients", 10000, "connections, spread over the nodes")
	flags.IntVar(&load.Channels, "channels", 100, "new channels; each client subscribes to one")
	flags.IntVar(&load.InFlight, "in-flight", 1000, "clients that connect at a time")
	return cmd
}
