package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newProjectUsage() *cobra.Command {
	var r remote
	var by string
	cmd := &cobra.Command{
		Use:   "usage [PROJECT]",
		Short: "Count what the clients of a project did, or of all projects in the last 24 hours",
		Args:  cobra.MaximumNArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			if len(args) == 0 {
				return showAllUsage(ctx, cmd, &r, admin)
			}
			project, err := findProject(ctx, admin, args[0])
			if err != nil {
				return err
			}
			usage, err := admin.ProjectUsage(ctx, project.ID, by)
			if err != nil {
				return err
			}
			return show(cmd, r.json, usage, func(p *printer) {
				p.line("FROM\tCONNECTIONS\tOPENED\tPUBLISHES\tDELIVERIES\tREFUSALS")
				for _, u := range usage.Periods {
					p.line("%s\t%d\t%d\t%d\t%d\t%d", time.UnixMilli(u.At).UTC().Format(time.DateTime),
						u.Connections, u.Opened, u.Publishes, u.Deliveries, u.Refusals)
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringVar(&by, "by", "day", "minute (the last hour), hour (two days) or day (92 days), in UTC")
	return cmd
}

func showAllUsage(ctx context.Context, cmd *cobra.Command, r *remote, admin *client.Admin) error {
	usage, err := collect(admin.Usage(ctx), 0)
	if err != nil {
		return err
	}
	return show(cmd, r.json, usage, func(p *printer) {
		p.line("PROJECT\tNAME\tCONNECTIONS\tOPENED\tPUBLISHES\tDELIVERIES\tREFUSALS")
		for _, u := range usage {
			p.line("%s\t%s\t%d\t%d\t%d\t%d\t%d", u.Project, u.Name,
				u.Connections, u.Opened, u.Publishes, u.Deliveries, u.Refusals)
		}
	})
}
