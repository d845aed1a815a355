package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/node"
)

func newDoctor() *cobra.Command {
	var r remote
	var dataDir string
	defaults := node.DefaultConfig()
	reserve := defaults.DiskReserve
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and say so in plain sentences",
		Long: `Look for what is wrong. Through any node of a running cluster: quorum, versions, clocks,
and on every node its data folder, disk space, the time that a write takes to be
durable, the limit of open files, and whether it reaches the ports of every other node.
With --data-dir: the folder and limits of a node that does not run, on this machine.

The exit code is 1 when something is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("data-dir") {
				var findings []client.Finding
				for _, f := range node.CheckFolder(defaults.NodeName, dataDir, reserve) {
					findings = append(findings, client.Finding(f))
				}
				return showFindings(cmd, r.json, findings)
			}
			return r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, _ []string) error {
				findings, err := admin.Diagnose(ctx)
				if err != nil {
					return err
				}
				return showFindings(cmd, r.json, findings)
			})(cmd, args)
		},
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "data folder of a node that does not run")
	cmd.Flags().Uint64Var(&reserve, "disk-reserve", reserve, "bytes that should be free, with --data-dir")
	return cmd
}

// showFindings prints findings. The error counts the bad ones.
func showFindings(cmd *cobra.Command, asJSON bool, findings []client.Finding) error {
	wrong := 0
	for _, f := range findings {
		if !f.OK {
			wrong++
		}
	}
	err := show(cmd, asJSON, findings, func(p *printer) {
		for _, f := range findings {
			mark := "ok"
			if !f.OK {
				mark = "WRONG"
			}
			p.line("%s\t%s\t%s", mark, f.Node, f.Text)
		}
	})
	if err == nil && wrong > 0 {
		err = fmt.Errorf("%d of %d checks found something wrong", wrong, len(findings))
	}
	return err
}
