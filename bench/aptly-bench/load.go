package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// newLoad returns the command that publishes and subscribes on every node.
func newLoad(t *target) *cobra.Command {
	var load bench.Load
	cmd := &cobra.Command{
		Short: "Put load on an aptlyd cluster and account for every message",
		Example: `  aptly-bench --spawn 3 --rate 2000 --duration 30s
  aptly-bench --server ws://a:8080,ws://b:8080,ws://c:8080 --key sk_… --rate 0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLoad(cmd, t, load)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&load.Subscribers, "subscribers", 9, "subscribing connections, spread over nodes and channels")
	flags.IntVar(&load.Channels, "channels", 3, "new channels to publish to")
	flags.Float64Var(&load.Rate, "rate", 1000,
		"messages per second over all nodes; 0 publishes as fast as --window allows")
	flags.IntVar(&load.Size, "size", 128, fmt.Sprintf("bytes of payload, at least %d", bench.MinSize))
	flags.DurationVar(&load.Duration, "duration", 10*time.Second, "how long to publish")
	flags.IntVar(&load.Window, "window", 256, "publishes per node that may wait for their acknowledgement")
	flags.DurationVar(&load.Settle, "settle", 15*time.Second, "how long to wait at the end for what is under way")
	return cmd
}

func runLoad(cmd *cobra.Command, t *target, load bench.Load) error {
	load.Progress = cmd.ErrOrStderr()
	return runMode(cmd, t, load, nil)
}
