package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newChannel() *cobra.Command {
	return group("channel", "Look at channels and remove what is in them", newChannelList(), newChannelPurge(),
		newChannelForget())
}

func newChannelList() *cobra.Command {
	var r remote
	var limit uint
	var filter client.ChannelFilter
	cmd := &cobra.Command{
		Use:   "list PROJECT",
		Short: "List the channels of a project (by id or name)",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			project, err := findProject(ctx, admin, args[0])
			if err != nil {
				return err
			}
			channels, err := collect(admin.Channels(ctx, project.ID, filter), limit)
			if err != nil {
				return err
			}
			return show(cmd, r.json, channels, func(p *printer) {
				p.line("CHANNEL\tOFFSET\tEARLIEST\tBYTES\tSUBSCRIBERS\tMEMBERS")
				for _, c := range channels {
					p.line("%s\t%d\t%d\t%d\t%d\t%d", c.Name, c.Offset, c.Earliest, c.Bytes, c.Subscribers, c.Members)
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().UintVar(&limit, "limit", 0, "how many; 0 for all there are")
	cmd.Flags().StringVar(&filter.Prefix, "prefix", "", "only channels whose names begin so")
	cmd.Flags().BoolVar(&filter.Active, "active", false, "only channels that have subscribers or members")
	return cmd
}

func newChannelPurge() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "purge PROJECT CHANNEL",
		Short: "Remove all messages of a channel; its offsets go on",
		Args:  cobra.ExactArgs(2),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			project, err := findProject(ctx, admin, args[0])
			if err != nil {
				return err
			}
			purge, err := admin.PurgeChannel(ctx, project.ID, args[1])
			if err != nil {
				return err
			}
			return show(cmd, r.json, purge, func(p *printer) {
				p.line("purged channel %s of project %s; messages removed: %d, up to offset %d",
					purge.Channel, project.Name, purge.Messages, purge.Offset)
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}

func newChannelForget() *cobra.Command {
	var r remote
	var prefix string
	cmd := &cobra.Command{
		Use:   "forget PROJECT [CHANNEL]",
		Short: "Remove a channel, or all with a prefix, so that they count for no quota",
		Long: `Remove a channel, or all with a prefix, so that they count for no quota.

A channel that is published to again, and every other new one of the project, begins
above the offsets of those that were forgotten: no offset is ever given twice.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			if (len(args) == 2) == (prefix != "") {
				return misuse{errors.New("name a channel or give --prefix")}
			}
			project, err := findProject(ctx, admin, args[0])
			if err != nil {
				return err
			}
			if prefix != "" {
				n, err := admin.ForgetChannels(ctx, project.ID, prefix)
				if err != nil {
					return err
				}
				return show(cmd, r.json, map[string]any{"prefix": prefix, "forgotten": n}, func(p *printer) {
					p.line("forgot the channels %s* of project %s; channels removed: %d", prefix, project.Name, n)
				})
			}
			purge, err := admin.ForgetChannel(ctx, project.ID, args[1])
			if err != nil {
				return err
			}
			return show(cmd, r.json, purge, func(p *printer) {
				p.line("forgot channel %s of project %s; messages removed: %d, up to offset %d",
					purge.Channel, project.Name, purge.Messages, purge.Offset)
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringVar(&prefix, "prefix", "", "all channels whose names begin so")
	return cmd
}
