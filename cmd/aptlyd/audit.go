package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newAudit() *cobra.Command {
	var r remote
	var limit uint
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List who changed what, newest first",
		Args:  cobra.NoArgs,
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, _ []string) error {
			records, err := collect(admin.Audit(ctx), limit)
			if err != nil {
				return err
			}
			return show(cmd, r.json, records, func(p *printer) {
				p.line("SEQ\tWHEN\tWHO\tFROM\tVIA\tACTION\tTARGET\tBEFORE\tAFTER")
				for _, a := range records {
					p.line("%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s",
						a.Seq, moment(a.At), a.By.Name, or(a.By.Address, "-"), a.By.Via, a.Action, a.Target,
						or(string(a.Before), "-"), or(string(a.After), "-"))
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().UintVar(&limit, "limit", 50, "how many; 0 for all there are")
	return cmd
}

func newRefusals() *cobra.Command {
	var r remote
	var filter client.RefusalFilter
	var limit uint
	cmd := &cobra.Command{
		Use:   "refusals",
		Short: "List what the nodes refused lately and which rule it was, newest first",
		Args:  cobra.NoArgs,
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, _ []string) error {
			if filter.Project != "" {
				project, err := findProject(ctx, admin, filter.Project)
				if err != nil {
					return err
				}
				filter.Project = project.ID
			}
			refusals, err := collect(admin.Refusals(ctx, filter), limit)
			if err != nil {
				return err
			}
			return show(cmd, r.json, refusals, func(p *printer) {
				p.line("WHEN\tNODE\tVIA\tCODE\tADDRESS\tKEY\tCHANNEL\tDETAIL")
				for _, f := range refusals {
					p.line("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", moment(f.At), f.Node, f.Via, f.Code, or(f.Address, "-"),
						or(f.KeyPrefix, "-"), or(f.Channel, "-"), or(f.Detail, f.Reason))
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringVar(&filter.Project, "project", "", "only of this project (id or name)")
	cmd.Flags().StringVar(&filter.KeyID, "key-id", "", "only of this key")
	cmd.Flags().StringVar(&filter.Code, "code", "", "only with this code, such as origin_not_allowed")
	cmd.Flags().UintVar(&limit, "limit", 50, "how many; 0 for all there are")
	return cmd
}

// or returns text, or its substitute if it is empty.
func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
