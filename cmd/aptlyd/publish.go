package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newPublish() *cobra.Command {
	var r remote
	var id string
	cmd := &cobra.Command{
		Use:   "publish CHANNEL JSON",
		Short: "Publish one message and wait until it is safe",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			channel, data := args[0], json.RawMessage(args[1])
			if !json.Valid(data) {
				return misuse{errors.New(`the message must be JSON, for example '{"text":"hello"}' or '"hello"'`)}
			}
			c, err := r.connect(cmd.Context(), cmd, client.Options{})
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), answerTimeout)
			defer cancel()
			ctx, stop := r.whileReady(ctx)
			defer stop()
			receipt, err := c.Publish(ctx, client.Publication{Channel: channel, Data: data, ID: id})
			if said := refusesClients(ctx); err != nil && said != nil {
				err = fmt.Errorf("the message may or may not have been published: %s", said.reason)
			}
			if err != nil {
				return err
			}
			result := published{channel, receipt.Offset, receipt.Timestamp, receipt.ID, receipt.Duplicate}
			return show(cmd, r.json, result, func(p *printer) {
				if receipt.Duplicate {
					p.line("%s: offset %d, as before", channel, receipt.Offset)
				} else {
					p.line("%s: offset %d", channel, receipt.Offset)
				}
			})
		},
	}
	r.addKeyFlags(cmd)
	cmd.Flags().StringVar(&id, "id", "", "idempotency key: the same id is published once within ten minutes")
	return cmd
}

// published is the JSON output of publish.
type published struct {
	Channel   string `json:"channel"`
	Offset    uint64 `json:"offset"`
	Timestamp int64  `json:"timestamp"`
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"`
}
