package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/node"
)

func newAdmin() *cobra.Command {
	return group("admin", "Manage admin tokens", newAdminCreate(), newAdminList(), newAdminRevoke(), newAdminReset())
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
	cmd.Flags().StringVar(&role, "role", "viewer",
		`"viewer" reads, "operator" also changes projects, keys and channels, "owner" everything`)
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

func newAdminReset() *cobra.Command {
	var dataDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Make an owner's token without having one, on the data folder of a stopped node",
		Long: `Make a new owner's token for the cluster of a node, which must not run. Whoever may
write to its data folder may do this. The token counts a second or two after the node
was started again and has caught up, with a majority of the cluster; of a cluster of
several nodes stop only one. It replaces no other token: revoke the lost one with it.
The audit shows who made it, by the name of the user on this machine.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fillFlags(cmd.Flags(), ""); err != nil {
				return err
			}
			id, text, err := node.ResetAdmin(dataDir, resetAuthor())
			if err != nil {
				return err
			}
			return show(cmd, asJSON, map[string]string{"id": id, "token": text}, func(p *printer) {
				p.line("id\t%s", id)
				p.line("admin token\t%s", text)
				p.line("")
				p.line("The token is shown once, so keep it. It counts once the node runs again, with a majority of its cluster.")
			})
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "./aptly-data", "data folder of the node; env APTLYD_DATA_DIR")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// resetAuthor says who resets, for the audit: the user and the host.
func resetAuthor() string {
	name := strconv.Itoa(os.Getuid())
	if account, err := user.Current(); err == nil && account.Username != "" {
		name = account.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	return fmt.Sprintf("admin reset by %s at %s", name, host)
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
