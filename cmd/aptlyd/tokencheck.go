package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newTokenCheck() *cobra.Command {
	var r remote
	var channel, origin string
	cmd := &cobra.Command{
		Use:   "check TOKEN",
		Short: "Ask a node what a token or key of a client is good for",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			verdict, err := admin.CheckToken(ctx, args[0], channel, origin)
			if err != nil {
				return err
			}
			if err := show(cmd, r.json, verdict, func(p *printer) { p.verdict(&verdict) }); err != nil {
				return err
			}
			if !verdict.Valid {
				return errors.New("no client may connect with it")
			}
			return nil
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringVar(&channel, "channel", "", "channel to judge the actions in")
	cmd.Flags().StringVar(&origin, "origin", "", "origin of a page that would use it")
	return cmd
}

func (p *printer) verdict(v *client.TokenVerdict) {
	p.line("valid\t%v", v.Valid)
	if v.Reason != "" {
		p.line("because\t%s", v.Reason)
	}
	for _, fact := range [][2]string{
		{"code", v.Code},
		{"kind", v.Kind},
		{"project", v.Project},
		{"key", v.KeyID},
		{"sub", v.Subject},
	} {
		if fact[1] != "" {
			p.line("%s\t%s", fact[0], fact[1])
		}
	}
	if v.ExpiresAt > 0 {
		p.line("ends\t%s", moment(v.ExpiresAt))
	}
	for _, a := range v.Actions {
		verdict := "allowed"
		if !a.Allowed {
			verdict = fmt.Sprintf("refused: %s", a.Reason)
		}
		p.line("%s\t%s", a.Action, verdict)
	}
}
