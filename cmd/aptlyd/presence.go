package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newPresence() *cobra.Command {
	var r remote
	var limit uint
	cmd := &cobra.Command{
		Use:   "presence CHANNEL",
		Short: "Show who is in a channel (takes a server key)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.complete(cmd); err != nil {
				return err
			}
			if err := checkServer(r.server); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			rest := &client.REST{BaseURL: r.server, APIKey: r.key}
			occupancy, err := rest.Occupancy(ctx, args[0])
			if err != nil {
				return err
			}
			members, err := collect(rest.Members(ctx, args[0]), limit)
			if err != nil {
				return err
			}
			result := presence{occupancy, members}
			return show(cmd, r.json, result, func(p *printer) {
				p.line("%s: members %d, subscribers %d", occupancy.Channel, occupancy.Count, occupancy.Subscribers)
				if !occupancy.Complete {
					p.line("a node is not heard of: its part may be old or missing")
				}
				if len(members) > 0 {
					p.line("MEMBER\tSINCE\tCONNECTIONS\tDATA")
				}
				for _, m := range members {
					p.line("%s\t%s\t%d\t%s", m.ID, moment(m.Since), m.Connections, m.Data)
				}
			})
		},
	}
	r.addKeyFlags(cmd)
	cmd.Flags().UintVar(&limit, "limit", 0, "how many members; 0 for all there are")
	return cmd
}

// presence is the JSON output of presence.
type presence struct {
	client.Occupancy
	Members []client.ChannelMember `json:"members"`
}
