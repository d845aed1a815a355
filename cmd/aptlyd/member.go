package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newClusterRemove() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a node (by name or id) out of the cluster for good",
		Long: `Take a node (by name or id) out of the cluster for good. Stop it first if it still
runs. What would cost the cluster its quorum is refused. A removed node ends when it
hears of it, and can come back only as a new one, with an empty data folder.`,
		Args: cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			if err := admin.RemoveMember(ctx, args[0]); err != nil {
				return err
			}
			return show(cmd, r.json, map[string]string{"removed": args[0]}, func(p *printer) {
				p.line("removed node %s from the cluster", args[0])
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}
