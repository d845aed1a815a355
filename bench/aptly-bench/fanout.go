package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// newFanout returns the command that loads few channels with many subscribers.
func newFanout(t *target) *cobra.Command {
	return newBroadcast(t, "fanout", "Publish to channels with many subscribers and count every delivery", bench.Fanout{
		Channels:    1,
		Subscribers: 1000,
		Publishers:  1,
		Window:      32,
		Duration:    10 * time.Second,
	})
}

// newLatency returns the command that loads many channels with few subscribers.
func newLatency(t *target) *cobra.Command {
	const short = "Publish at a fixed rate over many channels and measure how long it takes"
	return newBroadcast(t, "latency", short, bench.Fanout{
		Channels:    100,
		Subscribers: 10,
		Publishers:  1,
		Rate:        1000,
		Window:      1000,
		Duration:    10 * time.Second,
	})
}

func newBroadcast(t *target, use, short string, defaults bench.Fanout) *cobra.Command {
	load, rule := defaults, ""
	cmd := newMode(use, short, func(cmd *cobra.Command) error {
		switch rule {
		case "":
			return runMode(cmd, t, load, nil)
		case "quorum", "memory":
			return runMode(cmd, t, load, &bench.Rule{Durability: rule})
		}
		return misuse{fmt.Errorf(`--rule: %q is neither "quorum" nor "memory"`, rule)}
	})
	flags := cmd.Flags()
	flags.IntVar(&load.Channels, "channels", defaults.Channels, "new channels to publish to")
	flags.IntVar(&load.Subscribers, "subscribers", defaults.Subscribers, "subscribers of each channel; 0 only publishes")
	flags.IntVar(&load.Publishers, "publishers", defaults.Publishers,
		"publishing connections to each node, which share the channels")
	flags.Float64Var(&load.Rate, "rate", defaults.Rate,
		"messages per second over all channels; 0 publishes as fast as --window allows")
	flags.IntVar(&load.Window, "window", defaults.Window,
		"messages of a channel that not all subscribers have; without any, that are not acknowledged")
	flags.IntVar(&load.Pending, "pending", defaults.Pending,
		"messages of all channels that are not acknowledged; 0 is as many as --window allows")
	flags.IntVar(&load.Size, "size", 128, fmt.Sprintf("bytes of payload, at least %d", bench.MinSize))
	flags.IntVar(&load.Messages, "messages", 0, "messages to publish at most; 0 is as many as --duration allows")
	flags.DurationVar(&load.Duration, "duration", defaults.Duration, "how long to publish at most")
	flags.IntVar(&load.InFlight, "in-flight", 200, "clients that connect at a time")
	flags.DurationVar(&load.Settle, "settle", 15*time.Second, "how long to wait at the end for what is under way")
	flags.StringVar(&rule, "rule", "",
		`durability of the channels, "quorum" or "memory", in a project made for the run `+
			"(default: the key's project as it is)")
	return cmd
}
