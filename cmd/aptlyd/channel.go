package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newChannel() *cobra.Command {
	return group("channel", "Look at channels", newChannelList(), newChannelPurge())
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
				p.line("CHANNEL\tOFFSET\tEARLIEST\tBYTES\tSUBSCRIBERS")
				for _, c := range channels {
					p.line("%s\t%d\t%d\t%d\t%d", c.Name, c.Offset, c.Earliest, c.Bytes, c.Subscribers)
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().UintVar(&limit, "limit", 0, "how many; 0 for all there are")
	cmd.Flags().StringVar(&filter.Prefix, "prefix", "", "only channels whose names begin so")
	cmd.Flags().BoolVar(&filter.Active, "active", false, "only channels that have subscribers")
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
