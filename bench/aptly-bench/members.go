package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// newMembers returns the command that measures the memory of members.
func newMembers(t *target) *cobra.Command {
	var load bench.MemberMemory
	const short = "Put members into many channels and show what they take of each node's memory"
	cmd := newMode("members", short, func(cmd *cobra.Command) error {
		rule := load.Rule()
		return runMode(cmd, t, load, &rule)
	})
	flags := cmd.Flags()
	flags.IntVar(&load.Members, "members", 100000, "members of all channels together")
	flags.IntVar(&load.Channels, "channels", 10000, "channels that share them")
	flags.IntVar(&load.Clients, "clients", 300, "connections that hold them, spread over the nodes")
	flags.IntVar(&load.Data, "data", 20, "bytes of data of each member, at least 2")
	flags.IntVar(&load.Most, "most", 500, "bytes that a member may take of a node, besides its id and data")
	flags.DurationVar(&load.Rest, "rest", 10*time.Second, "how long to wait before memory is read")
	return cmd
}
