package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newProjectCheckOrigin() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "check-origin PROJECT ORIGIN",
		Short: "Tell whether a project lets an origin in (exit code 0) or not (1), and by which rule",
		Args:  cobra.ExactArgs(2),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			project, err := findProject(ctx, admin, args[0])
			if err != nil {
				return err
			}
			check, err := admin.CheckOrigin(ctx, project.AllowedOrigins, project.AllowNativeClients, args[1])
			if err != nil {
				return err
			}
			err = show(cmd, r.json, check, func(p *printer) {
				p.line("%s", check.Reason)
				if check.Note != "" {
					p.line("%s", check.Note)
				}
			})
			if err == nil && !check.Allowed {
				err = fmt.Errorf("%s is refused", args[1])
			}
			return err
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}
