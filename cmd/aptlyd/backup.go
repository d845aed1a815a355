package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/internal/durable"
	"github.com/aptlyd/aptlyd/node"
)

func newBackup() *cobra.Command {
	var r remote
	var verify bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Save the state of the running cluster in a file",
		Long: `Save the state of the running cluster, through any node and while it serves, in one
file: projects, keys, rules and all retained messages. The file ends in a checksum and
is read back before it gets its name; one that is there already is replaced.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := args[0]
			if verify {
				holds, err := node.CheckBackup(file)
				if err != nil {
					return err
				}
				return showBackup(cmd, r.json, file, holds)
			}
			admin, err := r.admin(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			holds, err := saveBackup(ctx, admin, file)
			if err != nil {
				return err
			}
			return showBackup(cmd, r.json, file, holds)
		},
	}
	r.addAdminFlags(cmd)
	cmd.Flags().BoolVar(&verify, "verify", false, "only read FILE and say whether it is intact")
	return cmd
}

// saveBackup fetches a backup and describes its content. The file is then either unchanged
// or a whole backup.
func saveBackup(ctx context.Context, admin *client.Admin, file string) (holds node.Summary, err error) {
	partial, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".partial-*")
	if err != nil {
		return holds, fmt.Errorf("make file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(partial.Name()))
		}
	}()
	err = admin.Backup(ctx, partial)
	if err == nil {
		err = partial.Sync()
	}
	if err := errors.Join(err, partial.Close()); err != nil {
		return holds, err
	}
	if holds, err = node.CheckBackup(partial.Name()); err != nil {
		return holds, fmt.Errorf("what arrived is damaged: %w", err)
	}
	if err := durable.Rename(partial.Name(), file); err != nil {
		return holds, fmt.Errorf("name the backup: %w", err)
	}
	return holds, nil
}

func showBackup(cmd *cobra.Command, asJSON bool, file string, holds node.Summary) error {
	return show(cmd, asJSON, holds, func(p *printer) {
		p.line("%s is intact: cluster %s as of %s", file, holds.ClusterID, moment(holds.Stamp))
		p.line("it holds %s", contents(holds))
	})
}

func contents(s node.Summary) string {
	return fmt.Sprintf("%d projects, %d keys, %d channels and %d messages", s.Projects, s.Keys, s.Channels, s.Messages)
}
