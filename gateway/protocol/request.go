package protocol

import (
	"errors"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// Request is one frame of a client, taken apart.
type Request struct {
	Kind    string // the frame's type, as text
	Auth    AuthFrame
	Channel string // where the request is refused perhaps not one that a channel may have
	ID      string // idempotency key of a publish, or the id that a pong repeats
	Message []byte // raw payload of a publish; points into the frame
	Start   StartPoint
	Watch   Watch  // what a subscribe asks of members
	Action  Action // of a presence frame
	Data    string // of a presence frame: one JSON value, "null" when there is none
}

// StartPoint says where a subscriber wants to begin.
type StartPoint struct {
	From   StartKind
	Offset uint64 // StartAfter: the last offset seen; StartLast: how many
	Time   int64  // StartTime: Unix ms
	Epoch  string // the one that offset belongs to; empty means the current one
	Strict bool   // nothing after the offset may be missing
	Lost   bool   // the client had an offset that means nothing here
}

// StartKind says what a StartPoint counts from.
type StartKind uint8

// The kinds of start points.
const (
	StartByRule StartKind = iota // as the channel's rule says
	StartAfter
	StartLive
	StartAll
	StartLast
	StartTime
)

// RequestKinds are the types of frames that a client may send.
var RequestKinds = []string{"auth", "heartbeat", "subscribe", "unsubscribe", "publish", "ping", "presence"}

// requestShape has the names of client frames in the order of the constants below.
var requestShape = strictjson.Shape{Names: []string{
	"type", "apiKey", "timestamp", "channel", "fromOffset", "from", "epoch", "message", "id", "payload",
	"strict", "features", "sdk", "replaces", "presence", "action", "data",
}}

const (
	fieldType = iota
	fieldAPIKey
	fieldTimestamp
	fieldChannel
	fieldFromOffset
	fieldFrom
	fieldEpoch
	fieldMessage
	fieldID
	fieldPayload
	fieldStrict
	fieldFeatures
	fieldSDK
	fieldReplaces
	fieldPresence
	fieldAction
	fieldData
	requestFields
)

// ParseRequest reads a client frame. The type is set whenever the frame is an object
// that has one, so that a refusal can be judged by it. A channel and an id that can be
// read are set whatever else the object has wrong, so that the client knows what is refused.
func ParseRequest(frame []byte, depth int) (Request, *refusal.Error) {
	var req Request
	var values [requestFields][]byte
	if err := requestShape.Scan(frame, depth, values[:]); err != nil {
		clear(values[:])
		if errors.Is(err, strictjson.ErrDepth) && requestShape.Scan(frame, strictjson.MaxNesting, values[:]) == nil {
			req.Kind, _ = strictjson.Unquote(values[fieldType])
			req.echo(values[fieldChannel], values[fieldID], values[fieldAction])
		}
		return req, refusal.New(refusal.InvalidMessage, err.Error())
	}
	kind, ok := unquoteKind(values[fieldType])
	if !ok {
		return req, refusal.New(refusal.InvalidMessage, "type is not a string")
	}
	req.Kind = kind
	switch kind {
	case "auth":
		var refused *refusal.Error
		req.Auth, refused = parseAuth(&values)
		return req, refused
	case "heartbeat":
		return req, nil
	case "ping":
		if req.ID, ok = strictjson.Unquote(values[fieldID]); !ok || req.ID == "" || len(req.ID) > MaxPingID {
			req.ID = ""
			return req, refusal.New(refusal.InvalidMessage, "id is not a string of 1 to 64 bytes")
		}
		return req, nil
	}
	if !slices.Contains(RequestKinds, kind) {
		return req, refusal.New(refusal.UnknownType, "unknown type of frame")
	}
	var refused *refusal.Error
	if req.Channel, refused = ParseChannel(values[fieldChannel]); refused != nil {
		req.echo(values[fieldChannel], values[fieldID], values[fieldAction])
		return req, refused
	}
	switch kind {
	case "subscribe":
		req.Start, refused = ParseStart(values[fieldFromOffset], values[fieldFrom], values[fieldEpoch], values[fieldStrict])
		if refused == nil {
			req.Watch, refused = parseWatch(values[fieldPresence])
		}
	case "presence":
		refused = req.parsePresence(values[fieldAction], values[fieldID], values[fieldData])
	case "publish":
		if req.ID, refused = ParseID(values[fieldID]); refused != nil {
			req.ID = echo(values[fieldID], maxEchoed)
			return req, refused
		}
		if req.Message = values[fieldMessage]; req.Message == nil {
			refused = refusal.New(refusal.InvalidMessage, "message is missing")
		}
	}
	return req, refused
}

// maxEchoed bounds a refused name or id that is repeated to the client, in bytes.
const maxEchoed = 1 << 10

// echo keeps what the client called its request, which tells it which one is refused.
func (r *Request) echo(channel, id, action []byte) {
	r.Channel, r.ID, r.Action = echo(channel, maxEchoed), echo(id, maxEchoed), Action(echo(action, maxAction))
}

// echo returns a text that is repeated to the client, empty where it is none or too long.
func echo(raw []byte, most int) string {
	text, ok := strictjson.Unquote(raw)
	if !ok || len(text) > most {
		return ""
	}
	return text
}

// ParseChannel reads the name of a channel, empty where it is refused.
func ParseChannel(raw []byte) (string, *refusal.Error) {
	var name string
	if !strictjson.IsNull(raw) {
		var ok bool
		if name, ok = strictjson.Unquote(raw); !ok {
			return "", refusal.New(refusal.InvalidChannel, "channel is not a string of whole characters")
		}
	}
	if refused := auth.CheckChannel(name); refused != nil {
		return "", refused
	}
	return name, nil
}

// unquoteKind is strictjson.Unquote that takes no memory for a known type.
func unquoteKind(raw []byte) (kind string, ok bool) {
	if len(raw) >= 2 {
		for _, known := range RequestKinds {
			if string(raw[1:len(raw)-1]) == known && raw[0] == '"' {
				return known, true
			}
		}
	}
	return strictjson.Unquote(raw)
}

// MaxMessageID bounds the id of a message, in bytes.
const MaxMessageID = 128

// ParseID reads the id of a publish, empty where there is none.
func ParseID(raw []byte) (string, *refusal.Error) {
	if strictjson.IsNull(raw) {
		return "", nil
	}
	id, ok := strictjson.Unquote(raw)
	if !ok || id == "" || len(id) > MaxMessageID {
		return "", refusal.New(refusal.InvalidMessage, "id is not a string of 1 to 128 bytes")
	}
	return id, nil
}

var fromShape = strictjson.Shape{Names: []string{"last", "time"}, Strict: true}

// ParseStart reads where a subscription begins. from wins over fromOffset.
func ParseStart(fromOffset, from, epoch, strict []byte) (StartPoint, *refusal.Error) {
	var start StartPoint
	if !strictjson.IsNull(strict) {
		if start.Strict = string(strict) == "true"; !start.Strict && string(strict) != "false" {
			return start, refusal.New(refusal.InvalidMessage, "strict is neither true nor false")
		}
	}
	if !strictjson.IsNull(epoch) {
		var ok bool
		if start.Epoch, ok = strictjson.Unquote(epoch); !ok {
			return start, refusal.New(refusal.InvalidMessage, "epoch is not a string")
		}
	}
	if !strictjson.IsNull(fromOffset) {
		offset, ok := strictjson.WholeNumber(fromOffset)
		if !ok {
			return start, refusal.New(refusal.InvalidMessage, "fromOffset is not a whole number from 0 to 2^53-1")
		}
		// With an epoch 0 is a position: before the first message of that numbering.
		// Without one, published clients send it when they have no offset.
		if offset > 0 || start.Epoch != "" || start.Strict {
			start.From, start.Offset = StartAfter, offset
		}
	}
	if strictjson.IsNull(from) {
		return start, nil
	}
	bad := refusal.New(refusal.InvalidMessage, `from is none of "live", "all", {"last":N}, {"time":ms}`)
	if word, ok := strictjson.Unquote(from); ok {
		switch word {
		case "live":
			start.From = StartLive
		case "all":
			start.From = StartAll
		default:
			return start, bad
		}
		return start, nil
	}
	var values [2][]byte
	if err := fromShape.Scan(from, 0, values[:]); err != nil {
		return start, bad
	}
	last, time := values[0], values[1]
	raw := last
	start.From = StartLast
	if last == nil {
		raw, start.From = time, StartTime
	}
	n, ok := strictjson.WholeNumber(raw)
	if !ok || last != nil && time != nil {
		return start, bad
	}
	start.Offset, start.Time = n, int64(n)
	return start, nil
}

// ByRule replaces an open start by that of the channel's rule.
func (p StartPoint) ByRule(initial fsm.Initial) StartPoint {
	if p.From != StartByRule {
		return p
	}
	switch {
	case initial.All:
		p.From = StartAll
	case initial.Last > 0:
		p.From, p.Offset = StartLast, uint64(initial.Last)
	default:
		p.From = StartLive
	}
	return p
}
