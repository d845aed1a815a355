package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newSubscribe() *cobra.Command {
	var r remote
	var from, epoch string
	cmd := &cobra.Command{
		Use:   "subscribe CHANNEL",
		Short: "Print a channel's messages, one JSON object per line, until Ctrl-C",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			position, err := parsePosition(from)
			if err != nil {
				return misuse{err}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return subscribe(ctx, cmd, &r, args[0], position, epoch)
		},
	}
	r.addKeyFlags(cmd)
	cmd.Flags().StringVar(&from, "from", "",
		`messages after this offset, or "all", or "live" (default: what the channel's rule says)`)
	cmd.Flags().StringVar(&epoch, "epoch", "",
		"the epoch that the offset of --from belongs to, as history shows it; with it 0 is before the first message")
	return cmd
}

func parsePosition(text string) (client.Position, error) {
	switch text {
	case "":
		return client.Position{}, nil
	case "all":
		return client.All(), nil
	case "live":
		return client.Live(), nil
	}
	offset, err := strconv.ParseUint(text, 10, 53)
	if err != nil {
		return client.Position{}, fmt.Errorf(`--from: %q is neither an offset nor "all" nor "live"`, text)
	}
	return client.After(offset), nil
}

// received is one line of output for a message.
type received struct {
	Channel   string          `json:"channel"`
	Offset    uint64          `json:"offset"`
	Timestamp int64           `json:"timestamp"`
	Replay    bool            `json:"replay"`
	Data      json.RawMessage `json:"data"`
}

// missed is the line for messages that are no longer retained.
type missed struct {
	Channel string `json:"channel"`
	Gap     bool   `json:"gap"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
}

func subscribe(ctx context.Context, cmd *cobra.Command, r *remote, channel string, from client.Position,
	epoch string,
) error {
	var closing atomic.Bool
	lost := false // belongs to the client's reading goroutine
	c, err := r.connect(ctx, cmd, client.Options{
		OnDisconnect: func(err error) {
			if lost = !closing.Load(); lost {
				fmt.Fprintf(cmd.ErrOrStderr(), "aptlyd: the connection was lost, connecting again: %v\n", err)
			}
		},
		OnConnect: func(s client.Session) {
			if lost {
				fmt.Fprintf(cmd.ErrOrStderr(), "aptlyd: connected again, to %s\n", s.Node)
			}
		},
	})
	if err != nil {
		return err
	}
	defer func() {
		closing.Store(true)
		c.Close()
	}()
	confirming, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()

	out := cmd.OutOrStdout()
	broken := make(chan error, 1) // standard output was closed
	print := func(line any) {
		if err := writeJSON(out, line); err != nil {
			select {
			case broken <- err:
			default:
			}
		}
	}
	sub, err := c.Subscribe(confirming, channel, client.SubscribeOptions{
		From:  from,
		Epoch: epoch,
		OnMessage: func(m client.Message) {
			print(received{m.Channel, m.Offset, m.Timestamp, m.Replay, m.Data})
		},
		OnGap: func(g client.Gap) { print(missed{g.Channel, true, g.From, g.To}) },
		OnReset: func(client.Reset) {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: the offsets start anew, the cluster was restored or is another one\n", channel)
		},
	})
	if err != nil {
		return err
	}
	select {
	case <-sub.Done():
		return sub.Err()
	case <-c.Done():
		return c.Err()
	case err := <-broken:
		return err
	case <-ctx.Done():
		return nil
	}
}
