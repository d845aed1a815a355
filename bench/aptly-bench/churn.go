package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// newChurn returns the command that has members come and go.
func newChurn(t *target) *cobra.Command {
	var load bench.Churn
	const short = "Have members enter and leave a channel whose other members are told"
	cmd := newMode("churn", short, func(cmd *cobra.Command) error {
		rule := load.Rule()
		return runMode(cmd, t, load, &rule)
	})
	flags := cmd.Flags()
	flags.IntVar(&load.Members, "members", 1000, "members that stay, and are told of the others")
	flags.Float64Var(&load.Rate, "rate", 100, "members that enter each second, and as many that leave")
	flags.DurationVar(&load.Stay, "stay", 5*time.Second, "how long each of them stays")
	flags.IntVar(&load.Data, "data", 20, "bytes of data of each member, at least 2")
	flags.DurationVar(&load.Duration, "duration", 10*time.Second, "how long to measure")
	flags.IntVar(&load.InFlight, "in-flight", 200, "clients that connect at a time")
	flags.DurationVar(&load.Settle, "settle", 15*time.Second, "how long to wait at the end for what is under way")
	return cmd
}
