package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
)

// REST publishes and reads over HTTP. It tries each call once: after an error
// that is ErrUnknown the same ID may be published again.
type REST struct {
	BaseURL string // of one node or of a load balancer, with the path that it is below, if any
	APIKey  string
	HTTP    *http.Client // nil means http.DefaultClient; redirects are never followed
}

// BatchResult is the outcome of one message of a batch. Err is nil or an
// *Error.
type BatchResult struct {
	Receipt
	Err error
}

// History is a run of retained messages, oldest first.
type History struct {
	Channel  string    `json:"channel"`
	Epoch    string    `json:"epoch"`
	Earliest uint64    `json:"earliest"` // oldest retained offset
	Offset   uint64    `json:"offset"`   // newest
	Messages []Message `json:"messages"`
}

// outgoing is a Publication as it travels.
type outgoing struct {
	Channel string          `json:"channel"`
	Message json.RawMessage `json:"message"`
	ID      string          `json:"id,omitempty"`
}

// stored is the answer to a publish.
type stored struct {
	Success   bool    `json:"success"`
	Reason    *string `json:"error"`
	Code      Code    `json:"code"`
	Offset    uint64  `json:"offset"`
	Timestamp int64   `json:"timestamp"`
	ID        string  `json:"id"`
	Duplicate bool    `json:"duplicate"`
}

func (s stored) receipt() Receipt {
	return Receipt{Offset: s.Offset, Timestamp: s.Timestamp, ID: s.ID, Duplicate: s.Duplicate, Attempts: 1}
}

// Publish stores one message and returns once a majority of the nodes has it.
func (r *REST) Publish(ctx context.Context, p Publication) (Receipt, error) {
	failed := func(err error) (Receipt, error) {
		return Receipt{ID: p.ID}, fmt.Errorf("publish to %q: %w", p.Channel, err)
	}
	payload, err := p.payload()
	if err != nil {
		return failed(err)
	}
	var answer stored
	body := outgoing{p.Channel, payload, p.ID}
	if err := r.do(ctx, call{method: http.MethodPost, path: "/realtime", body: body}, &answer); err != nil {
		return failed(unsure(err))
	}
	return answer.receipt(), nil
}

// Batch stores up to 1,000 messages with one request. The results are in the
// order of the messages, each with an outcome of its own.
func (r *REST) Batch(ctx context.Context, messages []Publication) ([]BatchResult, error) {
	body := struct {
		Messages []outgoing `json:"messages"`
	}{make([]outgoing, 0, len(messages))}
	for i, p := range messages {
		payload, err := p.payload()
		if err != nil {
			return nil, fmt.Errorf("publish batch: message %d: %w", i, err)
		}
		body.Messages = append(body.Messages, outgoing{p.Channel, payload, p.ID})
	}
	var answer struct {
		Results []stored `json:"results"`
	}
	if err := r.do(ctx, call{method: http.MethodPost, path: "/realtime/batch", body: body}, &answer); err != nil {
		return nil, fmt.Errorf("publish batch: %w", unsure(err))
	}
	if len(answer.Results) != len(messages) {
		return nil, fmt.Errorf("publish batch: %d results for %d messages: %w", len(answer.Results), len(messages),
			ErrUnknown)
	}
	results := make([]BatchResult, len(messages))
	for i, s := range answer.Results {
		results[i].Receipt = s.receipt()
		if !s.Success {
			refusal := &Error{Code: s.Code}
			if s.Reason != nil {
				refusal.Reason = *s.Reason
			}
			results[i].Err = refusal
		}
	}
	return results, nil
}

// History returns up to limit messages of a channel whose offsets are above
// after. A limit of 0 leaves it to the node.
func (r *REST) History(ctx context.Context, channel string, after uint64, limit int) (History, error) {
	values := url.Values{"channel": {channel}, "after": {strconv.FormatUint(after, 10)}}
	if limit > 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	var h History
	err := r.do(ctx, call{method: http.MethodGet, path: "/realtime/history", query: values}, &h)
	if err != nil {
		return History{}, fmt.Errorf("read history of %q: %w", channel, err)
	}
	h.label(channel)
	return h, nil
}

// label has each message say what goes without saying in an answer.
func (h *History) label(channel string) {
	for i := range h.Messages {
		h.Messages[i].Channel = channel
		h.Messages[i].Replay = true
	}
}

func (r *REST) do(ctx context.Context, c call, result any) error {
	c.header = http.Header{"X-Api-Key": {r.APIKey}}
	return do(ctx, r.HTTP, r.BaseURL, c, result)
}

// unsure adds ErrUnknown where the request may have reached the broker without
// an answer coming back.
func unsure(err error) error {
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Code != "" && refusal.Code != CodeInternal {
		return err
	}
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}
