package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// newPresence returns the command that fills a channel with members and empties it.
func newPresence(t *target) *cobra.Command {
	var load bench.Presence
	const short = "Have many clients watch one channel, enter it and leave it"
	cmd := newMode("presence", short, func(cmd *cobra.Command) error {
		rule := load.Rule()
		return runMode(cmd, t, load, &rule)
	})
	flags := cmd.Flags()
	flags.IntVar(
		&load.Clients,
		"clients",
		10000,
		"connections, spread over the nodes: each watches the channel and enters it",
	)
	flags.IntVar(&load.Named, "named", 1000, "most members that watchers are told by name")
	flags.IntVar(&load.Stay, "stay", 500, "members that do not leave again")
	flags.DurationVar(&load.Within, "within", 10*time.Second, "in which all enter evenly, and later leave")
	flags.IntVar(&load.Data, "data", 20, "bytes of data of each member, at least 2")
	flags.IntVar(&load.InFlight, "in-flight", 200, "clients that connect at a time")
	flags.DurationVar(
		&load.Settle,
		"settle",
		30*time.Second,
		"how long to wait at most until every watcher knows the outcome",
	)
	return cmd
}
