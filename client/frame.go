package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// frame is any frame of the server; which fields count depends on Type.
type frame struct {
	Type      string          `json:"type"`
	Channel   string          `json:"channel"`
	Data      json.RawMessage `json:"data"`
	Offset    uint64          `json:"offset"`
	Timestamp int64           `json:"timestamp"`
	Replay    bool            `json:"replay"`

	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"`

	Epoch     string `json:"epoch"`
	Earliest  uint64 `json:"earliest"`
	Recovered *bool  `json:"recovered"`

	From uint64 `json:"from"`
	To   uint64 `json:"to"`

	Reason     string `json:"error"`
	Code       Code   `json:"code"`
	RetryAfter int64  `json:"retryAfter"` // ms
	Action     string `json:"action"`     // of the presence frame that is refused
	Presence   string `json:"presence"`   // that the subscribe asked for that is refused

	ConnectionID    string `json:"connectionId"`
	Node            string `json:"node"`
	MaxMessageBytes int    `json:"maxMessageBytes"`

	Features  []string `json:"features"`
	StartInMs int64    `json:"startInMs"`
	Endpoints []string `json:"endpoints"`

	text []byte // of a frame about members
}

// decodeFrame decodes a frame, which keeps a copy of text at most.
func decodeFrame(text []byte) (frame, error) {
	if f, ok := scanFrame(text); ok {
		return f, nil
	}
	return unmarshalFrame(text)
}

func unmarshalFrame(text []byte) (frame, error) {
	var f frame
	if err := json.Unmarshal(text, &f); err != nil {
		return frame{}, fmt.Errorf("decode frame: %w", err)
	}
	if f.Type == "" {
		return frame{}, errors.New("decode frame: it has no type")
	}
	if f.Type == "presence" || f.Type == "occupancy" {
		f.text = bytes.Clone(text)
	}
	return f, nil
}

func (f *frame) refusal() *Error {
	return &Error{Code: f.Code, Reason: f.Reason, RetryAfter: time.Duration(f.RetryAfter) * time.Millisecond}
}

// announced describes the client to the broker.
const announced = `,"features":["goaway","strict","presence"],"sdk":"aptlyd-go/` + version + `"`

func encodeAuth(apiKey, replaces string, now time.Time) []byte {
	b := append([]byte(`{"type":"auth","apiKey":`), quote(apiKey)...)
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, now.UnixMilli(), 10)
	b = append(b, announced...)
	if replaces != "" {
		b = append(append(b, `,"replaces":`...), quote(replaces)...)
	}
	return append(b, '}')
}

func encodeHeartbeat(now time.Time) []byte {
	b := strconv.AppendInt([]byte(`{"type":"heartbeat","timestamp":`), now.UnixMilli(), 10)
	return append(b, '}')
}

func encodeSubscribe(channel string, from Position, epoch string, strict bool) []byte {
	b := append([]byte(`{"type":"subscribe","channel":`), quote(channel)...)
	b = from.appendFields(b, epoch)
	if strict {
		b = append(b, `,"strict":true`...)
	}
	return append(b, '}')
}

func encodeUnsubscribe(channel string) []byte {
	b := append([]byte(`{"type":"unsubscribe","channel":`), quote(channel)...)
	return append(b, '}')
}

func encodePublish(channel, id string, payload []byte) []byte {
	b := make([]byte, 0, len(channel)+len(id)+len(payload)+64)
	b = append(b, `{"type":"publish","channel":`...)
	b = append(b, quote(channel)...)
	b = append(b, `,"id":`...)
	b = append(b, quote(id)...)
	b = append(b, `,"message":`...)
	b = append(b, payload...)
	return append(b, '}')
}

// quote returns s as a JSON string.
func quote(s string) []byte {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < utf8.RuneSelf && s[i] != '"' && s[i] != '\\'
	}
	if plain {
		b := make([]byte, 0, len(s)+2)
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic("client: a string does not encode as JSON: " + err.Error())
	}
	return b
}
