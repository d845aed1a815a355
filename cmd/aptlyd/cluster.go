package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newCluster() *cobra.Command {
	return group("cluster", "Look after the cluster", newClusterStatus(), newClusterHistory(), newClusterRemove(),
		newClusterSet())
}

func newClusterStatus() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes, who leads, and how far each one is",
		Args:  cobra.NoArgs,
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, _ []string) error {
			status, err := admin.Status(ctx)
			if err != nil {
				return err
			}
			return show(cmd, r.json, status, func(p *printer) {
				if text := status.Quorum.Text; !status.Quorum.Held && text != "" {
					p.line("%s\n", text)
				}
				p.line("NODE\tSTATE\tROLE\tAPPLIED\tCONNECTIONS\tVERSION\tPEER ADDRESS")
				for _, m := range status.Members {
					role := "non-voter"
					switch {
					case m.Leader:
						role = "leader"
					case m.Voter:
						role = "voter"
					}
					state, connections, applied := m.State, strconv.Itoa(m.Connections), strconv.FormatUint(m.AppliedIndex, 10)
					if state != "alive" {
						connections = "-"
						if m.AppliedIndex == 0 {
							applied = "-"
						}
						if m.LastHeardAt != 0 {
							state += " since " + moment(m.LastHeardAt) + " UTC"
						}
					}
					p.line("%s\t%s\t%s\t%s\t%s\t%s\t%s", m.Name, state, role, applied, connections, m.Version, m.PeerAddr)
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}

func newClusterSet() *cobra.Command {
	var r remote
	var maxBytes int64
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Change settings of the cluster and show them",
		Args:  cobra.NoArgs,
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, _ []string) error {
			var change client.SettingsChange
			if cmd.Flags().Changed("max-bytes") {
				change.MaxBytes = &maxBytes
			}
			settings, err := admin.UpdateSettings(ctx, change)
			if err != nil {
				return err
			}
			return show(cmd, r.json, settings, func(p *printer) {
				p.line("max bytes\t%d", settings.MaxBytes)
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().Int64Var(&maxBytes, "max-bytes", 0,
		"payload bytes retained in all channels together, from 1048576; the oldest go first; 0 means no cap")
	return cmd
}
