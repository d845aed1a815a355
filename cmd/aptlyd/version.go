package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/node"
)

// versionLine says what is running.
func versionLine() string { return fmt.Sprintf("aptlyd %s (%s)", node.Version, runtime.Version()) }

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, asJSON, map[string]string{"version": node.Version, "go": runtime.Version()}, func(p *printer) {
				p.line("%s", versionLine())
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
