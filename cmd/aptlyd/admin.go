package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newAdmin() *cobra.Command {
	return group("admin", "Manage admin tokens", newAdminCreate(), newAdminList(), newAdminRevoke())
}

func newAdminCreate() *cobra.Command {
	var r remote
	var role string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a named admin token",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			token, err := admin.CreateAdminToken(ctx, args[0], role)
			if err != nil {
				return err
			}
			return show(cmd, r.json, token, func(p *printer) {
				p.line("id\t%s", token.ID)
				p.line("admin token\t%s", token.Text)
				p.line("")
				p.line("The token is shown once, so keep it.")
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringVar(&role, "role", "viewer", `"viewer" reads, "operator" also changes projects, keys and channels, "owner" everything`)
	return cmd
}

func newAdminList() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the admin tokens",
		Args:  cobra.NoArgs,
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, _ []string) error {
			tokens, err := collect(admin.AdminTokens(ctx), 0)
			if err != nil {
				return err
			}
			return show(cmd, r.json, tokens, func(p *printer) {
				p.line("ID\tNAME\tROLE\tCREATED\tUSED")
				for _, t := range tokens {
					p.line("%s\t%s\t%s\t%s\t%s", t.ID, t.Name, t.Role, moment(t.CreatedAt), moment(t.LastUsedAt))
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}

func newAdminRevoke() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "revoke TOKEN-ID",
		Short: "End an admin token now, with the console sessions it began",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			if err := admin.RevokeAdminToken(ctx, args[0]); err != nil {
				return err
			}
			return show(cmd, r.json, map[string]string{"revoked": args[0]}, func(p *printer) {
				p.line("revoked admin token %s, with the console sessions it began", args[0])
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}
