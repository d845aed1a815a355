package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd"
)

func newLicenses() *cobra.Command {
	return &cobra.Command{
		Use:   "licenses",
		Short: "Print the licence of aptlyd and those of all that is compiled into it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s", aptlyd.License, aptlyd.Notice)
			return err
		},
	}
}
