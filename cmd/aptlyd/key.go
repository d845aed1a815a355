package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newKey() *cobra.Command {
	return group("key", "Manage keys", newKeyCreate(), newKeyImport(), newKeyList(), newKeyRotate(), newKeyRevoke())
}

func newKeyCreate() *cobra.Command {
	var r remote
	var kind, name string
	cmd := &cobra.Command{
		Use:   "create PROJECT",
		Short: "Create a key in a project (by id or name)",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			if name == "" {
				return misuse{errors.New("--name is needed")}
			}
			project, err := findProject(ctx, admin, args[0])
			if err != nil {
				return err
			}
			key, err := admin.CreateKey(ctx, project.ID, kind, name)
			if err != nil {
				return err
			}
			return showKey(cmd, r.json, key)
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringVar(&kind, "kind", "public", `"public" (subscribe only) or "server" (full rights, secret)`)
	cmd.Flags().StringVar(&name, "name", "", "what people call the key; needed")
	return cmd
}

// showKey prints a key that was made just now.
func showKey(cmd *cobra.Command, asJSON bool, key client.Key) error {
	return show(cmd, asJSON, key, func(p *printer) {
		p.line("id\t%s", key.ID)
		p.line("%s key\t%s", key.Kind, key.Text)
		if key.Imported {
			p.line("imported\tit has no checksum of ours: a typing error in it goes unnoticed")
		}
		if key.SigningSecret != "" {
			p.line("signing secret\t%s", key.SigningSecret)
		}
		if key.Replaces != nil {
			p.line("old key ends\t%s", moment(key.Replaces.ExpiresAt))
		}
	})
}

func newKeyImport() *cobra.Command {
	var r remote
	var name string
	cmd := &cobra.Command{
		Use:   "import PROJECT KEY",
		Short: "Take a key over that was made elsewhere (KEY may be - to read it from standard input)",
		Args:  cobra.ExactArgs(2),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			if name == "" {
				return misuse{errors.New("--name is needed")}
			}
			text := args[1]
			if text == "-" {
				line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1<<10)).ReadString('\n')
				if err != nil && !errors.Is(err, io.EOF) {
					return fmt.Errorf("read the key: %w", err)
				}
				text = strings.TrimSpace(line)
			}
			project, err := findProject(ctx, admin, args[0])
			if err != nil {
				return err
			}
			key, err := admin.ImportKey(ctx, project.ID, name, text)
			if err != nil {
				return err
			}
			return showKey(cmd, r.json, key)
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringVar(&name, "name", "", "what people call the key; needed")
	return cmd
}

func newKeyList() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "list PROJECT",
		Short: "List the keys of a project (by id or name)",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			project, err := findProject(ctx, admin, args[0])
			if err != nil {
				return err
			}
			return show(cmd, r.json, project.Keys, func(p *printer) {
				p.line("ID\tKIND\tNAME\tKEY\tCREATED\tUSED\tENDS")
				for _, k := range project.Keys {
					text := k.Text
					if text == "" {
						text = k.Prefix + "…"
					}
					if k.Imported {
						text += " (imported)"
					}
					p.line("%s\t%s\t%s\t%s\t%s\t%s\t%s", k.ID, k.Kind, k.Name, text,
						moment(k.CreatedAt), moment(k.LastUsedAt), moment(k.ExpiresAt))
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}

func newKeyRotate() *cobra.Command {
	var r remote
	var overlap time.Duration
	cmd := &cobra.Command{
		Use:   "rotate KEY-ID",
		Short: "Make a key's successor and let the old one live for a while",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			key, err := admin.RotateKey(ctx, args[0], overlap)
			if err != nil {
				return err
			}
			return showKey(cmd, r.json, key)
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old key lives on; 0 ends it now")
	return cmd
}

func newKeyRevoke() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "revoke KEY-ID",
		Short: "End a key now, on every node and every live connection",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			if err := admin.RevokeKey(ctx, args[0]); err != nil {
				return err
			}
			return show(cmd, r.json, map[string]string{"revoked": args[0]}, func(p *printer) {
				p.line("revoked key %s: nobody can use it any more", args[0])
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}
