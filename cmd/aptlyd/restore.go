package main

import (
	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/node"
)

func newRestore() *cobra.Command {
	var dataDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the data folder of a new cluster out of a backup",
		Long: `Make the data folder of a new cluster out of a backup. Start a node on it afterwards
and let others, with empty data folders, join.

Projects, keys, origins, rules, the admin token and the retained messages are those of
the backup. The cluster gets a new id and a new epoch, and every channel's offsets
move up by 1,000,000,000, so that clients with offsets from after the backup
get every new message.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := fillFlags(cmd.Flags(), ""); err != nil {
				return err
			}
			made, err := node.Restore(args[0], dataDir)
			if err != nil {
				return err
			}
			return showFounded(cmd, asJSON, dataDir, made)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "./aptly-data",
		"folder to make; must be empty or not there; env APTLYD_DATA_DIR")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// showFounded prints what a data folder holds now.
func showFounded(cmd *cobra.Command, asJSON bool, dir string, f node.NewCluster) error {
	return show(cmd, asJSON, f, func(p *printer) {
		if f.Resumed {
			p.line("an interrupted run was finished; nothing else was done")
		}
		if f.ClusterID == "" { // an older version did not record it
			showReplaced(p, f.Replaced)
			return
		}
		p.line("%s is the only member of the new cluster %s", dir, f.ClusterID)
		p.line("it holds %s", contents(f.Summary))
		showReplaced(p, f.Replaced)
		p.line(`start it with "aptlyd serve"; other nodes join with empty data folders`)
	})
}

func showReplaced(p *printer, folder string) {
	if folder != "" {
		p.line("what was there before is in %s; remove it when you are sure", folder)
	}
}
