package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newConnection() *cobra.Command {
	return group("connection", "Look at clients", newConnectionList(), newConnectionClose())
}

func newConnectionList() *cobra.Command {
	var r remote
	var projectName, keyID string
	var limit uint
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List who is connected, on all nodes",
		Args:  cobra.NoArgs,
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, _ []string) error {
			var projectID string
			if projectName != "" {
				project, err := findProject(ctx, admin, projectName)
				if err != nil {
					return err
				}
				projectID = project.ID
			}
			connections, err := collect(admin.AllConnections(ctx, projectID, keyID), limit)
			if err != nil {
				return err
			}
			return show(cmd, r.json, connections, func(p *printer) {
				p.line("ID\tNODE\tTRANSPORT\tADDRESS\tORIGIN\tKEY\tSDK\tSINCE\tCHANNELS\tSTATE")
				for _, c := range connections {
					p.line("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s", c.ID, c.Node, c.Transport, c.Address,
						or(c.Origin, "-"), c.KeyID, or(c.SDK, "-"), moment(c.Since), len(c.Channels), c.State)
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringVar(&projectName, "project", "", "only of this project (id or name)")
	cmd.Flags().StringVar(&keyID, "key-id", "", "only with this key")
	cmd.Flags().UintVar(&limit, "limit", 0, "how many; 0 for all there are")
	return cmd
}

func newConnectionClose() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "close CONNECTION-ID",
		Short: "Close a connection; its client may come back",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			if err := admin.Disconnect(ctx, args[0]); err != nil {
				return err
			}
			return show(cmd, r.json, map[string]string{"closed": args[0]}, func(p *printer) {
				p.line("closed connection %s", args[0])
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}
