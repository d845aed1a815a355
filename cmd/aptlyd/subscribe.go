package main

import (
	"context"
	"encoding/json"
	"errors"
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
	var overSSE bool
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
			if overSSE {
				return subscribeSSE(ctx, cmd, &r, args[0], position, epoch)
			}
			return subscribe(ctx, cmd, &r, args[0], position, epoch)
		},
	}
	r.addKeyFlags(cmd)
	cmd.Flags().StringVar(&from, "from", "",
		`messages after this offset, or "all", or "live" (default: what the channel's rule says)`)
	cmd.Flags().StringVar(&epoch, "epoch", "",
		"the epoch that the offset of --from belongs to, as history shows it; with it 0 is before the first message")
	cmd.Flags().BoolVar(&overSSE, "sse", false,
		"over Server-Sent Events, for where proxies let no WebSocket pass")
	return cmd
}

// linePrinter writes the lines of a subscription.
type linePrinter struct {
	cmd     *cobra.Command
	channel string
	broken  chan error // standard output was closed
}

func newLinePrinter(cmd *cobra.Command, channel string) *linePrinter {
	return &linePrinter{cmd, channel, make(chan error, 1)}
}

func (p *linePrinter) print(line any) {
	if err := writeJSON(p.cmd.OutOrStdout(), line); err != nil {
		select {
		case p.broken <- err:
		default:
		}
	}
}

// options returns what a subscription prints.
func (p *linePrinter) options(from client.Position, epoch string) client.SubscribeOptions {
	return client.SubscribeOptions{
		From:  from,
		Epoch: epoch,
		OnMessage: func(m client.Message) {
			p.print(received{m.Channel, m.Offset, m.Timestamp, m.Replay, m.Data})
		},
		OnGap: func(g client.Gap) { p.print(missed{g.Channel, true, g.From, g.To}) },
		OnReset: func(client.Reset) {
			fmt.Fprintf(p.cmd.ErrOrStderr(),
				"%s: the offsets start anew, the cluster was restored or is another one\n", p.channel)
		},
	}
}

// subscribeSSE prints a channel's messages as Server-Sent Events bring them.
func subscribeSSE(ctx context.Context, cmd *cobra.Command, r *remote, channel string, from client.Position,
	epoch string,
) error {
	if err := r.complete(cmd); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	p, lost := newLinePrinter(cmd, channel), false
	go func() {
		select {
		case err := <-p.broken:
			end(err)
		case <-ctx.Done():
		}
	}()
	events := client.Events{
		Endpoints: []string{r.server}, APIKey: r.key, FailFast: true,
		OnDisconnect: func(err error) {
			lost = true
			fmt.Fprintf(cmd.ErrOrStderr(), "aptlyd: the stream was lost, asking again: %v\n", err)
		},
		OnConnect: func() {
			if lost {
				lost = false
				fmt.Fprintln(cmd.ErrOrStderr(), "aptlyd: connected again")
			}
		},
	}
	err := events.Follow(ctx, p.options(from, epoch), channel)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
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

	p := newLinePrinter(cmd, channel)
	sub, err := c.Subscribe(confirming, channel, p.options(from, epoch))
	if err != nil {
		return err
	}
	select {
	case <-sub.Done():
		return sub.Err()
	case <-c.Done():
		return c.Err()
	case err := <-p.broken:
		return err
	case <-ctx.Done():
		return nil
	}
}
