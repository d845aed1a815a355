package client

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Events follows channels over Server-Sent Events, for where WebSockets do not pass. It comes
// back by itself, on the next endpoint, and goes on where it was.
type Events struct {
	Endpoints []string     // as in Options
	APIKey    string       // a key or token
	HTTP      *http.Client // nil means http.DefaultClient; without a timeout
	// FailFast ends Follow when the first attempt fails, whatever the reason.
	FailFast bool
	// OnConnect, if set, is called when a stream begins, OnDisconnect when one was lost.
	OnConnect    func()
	OnDisconnect func(error)
}

const (
	// eventSilence is how long a stream may bring nothing: a node sends something every 25 s.
	eventSilence = 60 * time.Second
	maxEvent     = 8 << 20
)

var eventBackoff = backoff{base: 200 * time.Millisecond, limit: 10 * time.Second}

// Follow calls the functions of options for what happens in the channels until ctx ends, which
// is no error, or the broker refuses for good. With several channels options.From must not be
// an offset. It does not call options.LoadState.
func (e Events) Follow(ctx context.Context, options SubscribeOptions, channels ...string) error {
	if err := (Options{Endpoints: e.Endpoints, APIKey: e.APIKey}).Validate(); err != nil {
		return err
	}
	if options.OnMessage == nil {
		return errors.New("follow: OnMessage is missing")
	}
	if len(channels) == 0 || len(channels) > 1 && options.From.kind == fromOffset {
		return errors.New("follow: no channel, or one offset for several")
	}
	s := eventStream{
		Events: e, options: options, channels: channels,
		epochs: make(map[string]string), last: make(map[string]uint64),
	}
	for failed, first := 0, true; ; first = false {
		err := s.once(ctx)
		var refused *Error
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the caller has ended it
		case errors.As(err, &refused) && !refused.passing(), first && e.FailFast && !s.begun && err != nil:
			return err
		}
		if s.begun {
			failed = 0
		}
		if !s.left && e.OnDisconnect != nil {
			e.OnDisconnect(err)
		}
		s.node++
		wait := eventBackoff.delay(failed)
		if failed++; s.left {
			wait = 0
		} else if refused != nil {
			wait = max(wait, refused.RetryAfter)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// eventStream is the state of Follow.
type eventStream struct {
	Events
	options  SubscribeOptions
	channels []string
	node     int // of the endpoints
	cursor   string
	epochs   map[string]string // by channel
	last     map[string]uint64 // offset of the last message, by channel
	begun    bool              // this stream has brought something
	left     bool              // this stream was left since its node drains
}

// request returns the request for a stream: with the cursor, once there is one.
func (s *eventStream) request(ctx context.Context) (*http.Request, error) {
	c := call{method: http.MethodGet, path: "/realtime/sse", query: url.Values{"channel": s.channels}}
	header, body := http.Header{"Last-Event-Id": {s.cursor}}, []byte(nil)
	if s.cursor == "" {
		c.method, c.query = http.MethodPost, nil
		header, body = http.Header{"Content-Type": {"application/json"}}, s.beginning()
	}
	target, err := apiURL(s.Endpoints[s.node%len(s.Endpoints)], c)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, c.method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Header = header
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Authorization", "Bearer "+s.APIKey)
	return request, nil
}

// beginning returns the body of a request without a cursor.
func (s *eventStream) beginning() []byte {
	body := []byte(`{"channels":[`)
	for i, channel := range s.channels {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(body, `{"name":`...), quote(channel)...)
		body = append(s.options.From.appendFields(body, s.options.Epoch), '}')
	}
	return append(body, "]}"...)
}

var errSilent = fmt.Errorf("nothing came for %v", eventSilence)

// once follows one stream to its end.
func (s *eventStream) once(ctx context.Context) error {
	s.begun, s.left = false, false
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	silent := time.AfterFunc(eventSilence, func() { end(errSilent) })
	defer silent.Stop()
	request, err := s.request(ctx)
	if err != nil {
		return err
	}
	response, err := withoutRedirects(s.HTTP).Do(request)
	if err != nil {
		return fmt.Errorf("ask for events: %w", hint(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // the status says enough
		return refusalOf(response, answer)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxEvent)
	var data []byte
	var cursor string
	for lines.Scan() {
		silent.Reset(eventSilence)
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			data = []byte(value)
		case "id":
			cursor = value
		case "":
			if data != nil {
				if err := s.take(data, end); err != nil {
					return err
				}
			}
			s.cursor, data = cmp.Or(cursor, s.cursor), nil
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return cmp.Or(lines.Err(), io.ErrUnexpectedEOF)
}

var errLeft = errors.New("the node drains")

// take handles the data of an event.
func (s *eventStream) take(data []byte, end context.CancelCauseFunc) error {
	var f frame
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("decode event: %w", err)
	}
	last := s.last[f.Channel]
	switch f.Type {
	case "": // a message
		if f.Offset > 0 && f.Offset <= last {
			return nil // a stream that was cut may repeat some
		}
		s.last[f.Channel] = max(f.Offset, last)
		s.options.OnMessage(Message{f.Channel, f.Data, f.Offset, f.Timestamp, f.Replay})
	case "subscribed":
		s.subscribed(f, last)
	case "gap":
		if s.last[f.Channel] = max(f.To, last); s.options.OnGap != nil {
			s.options.OnGap(Gap{f.Channel, f.From, f.To})
		}
	case "goaway":
		time.AfterFunc(time.Duration(f.StartInMs)*time.Millisecond, func() { end(errLeft) })
		s.left = true
	case "error":
		return f.refusal()
	}
	return nil
}

// subscribed notes that a channel is followed, and tells when its offsets start anew.
func (s *eventStream) subscribed(f frame, last uint64) {
	if !s.begun {
		if s.begun = true; s.OnConnect != nil {
			s.OnConnect()
		}
	}
	before, known := s.epochs[f.Channel]
	anew := known && f.Epoch != before || f.Offset < last
	s.epochs[f.Channel] = f.Epoch
	if anew && s.options.OnReset != nil {
		s.options.OnReset(Reset{Channel: f.Channel, Last: last, Head: f.Offset, Epoch: f.Epoch})
	}
	if anew {
		delete(s.last, f.Channel)
	}
}
