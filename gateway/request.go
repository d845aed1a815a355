package gateway

import (
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// request is one frame of a client, taken apart.
type request struct {
	kind    string // the frame's type, as text
	auth    authFrame
	channel string
	id      string // idempotency key of a publish, or the id that a pong repeats
	message []byte // raw payload of a publish; points into the frame
	start   startPoint
}

// startPoint says where a subscriber wants to begin.
type startPoint struct {
	from   startKind
	offset uint64 // startAfter: the last offset seen; startLast: how many
	time   int64  // startTime: Unix ms
	epoch  string // the one that offset belongs to; empty means the current one
	strict bool   // nothing after the offset may be missing
}

type startKind uint8

const (
	startByRule startKind = iota // as the channel's rule says
	startAfter
	startLive
	startAll
	startLast
	startTime
)

// requestKinds are the types of frames that a client may send.
var requestKinds = []string{"auth", "heartbeat", "subscribe", "unsubscribe", "publish", "ping"}

// requestShape has the names of client frames in the order of the constants below.
var requestShape = strictjson.Shape{Names: []string{
	"type", "apiKey", "timestamp", "channel", "fromOffset", "from", "epoch", "message", "id", "payload",
	"strict", "features", "sdk", "replaces",
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
	requestFields
)

// parseRequest reads a client frame. The type is set whenever the frame is an object
// that has one, so that a refusal can be judged by it. The channel and the id are set
// before anything after them is found wrong.
func parseRequest(frame []byte, depth int) (request, *refusal.Error) {
	var req request
	var values [requestFields][]byte
	if err := requestShape.Scan(frame, depth, values[:]); err != nil {
		return req, refusal.New(refusal.InvalidMessage, err.Error())
	}
	kind, ok := strictjson.Unquote(values[fieldType])
	if !ok {
		return req, refusal.New(refusal.InvalidMessage, "type is not a string")
	}
	req.kind = kind
	switch kind {
	case "auth":
		var refused *refusal.Error
		req.auth, refused = parseAuth(&values)
		return req, refused
	case "heartbeat":
		return req, nil
	case "ping":
		if req.id, ok = strictjson.Unquote(values[fieldID]); !ok || req.id == "" || len(req.id) > maxPingID {
			req.id = ""
			return req, refusal.New(refusal.InvalidMessage, "id is not a string of 1 to 64 bytes")
		}
		return req, nil
	}
	if !slices.Contains(requestKinds, kind) {
		return req, refusal.New(refusal.UnknownType, "unknown type of frame")
	}
	if !strictjson.IsNull(values[fieldChannel]) {
		if req.channel, ok = strictjson.Unquote(values[fieldChannel]); !ok {
			req.channel = ""
			return req, refusal.New(refusal.InvalidChannel, "channel is not a string of whole characters")
		}
	}
	if refused := auth.CheckChannel(req.channel); refused != nil {
		req.channel = ""
		return req, refused
	}
	var refused *refusal.Error
	switch kind {
	case "subscribe":
		req.start, refused = parseStart(values[fieldFromOffset], values[fieldFrom], values[fieldEpoch], values[fieldStrict])
	case "publish":
		if req.id, refused = parseID(values[fieldID]); refused == nil {
			req.message = values[fieldMessage]
			if req.message == nil {
				refused = refusal.New(refusal.InvalidMessage, "message is missing")
			}
		}
	}
	return req, refused
}

// maxMessageID bounds the id of a message, in bytes.
const maxMessageID = 128

func parseID(raw []byte) (string, *refusal.Error) {
	if strictjson.IsNull(raw) {
		return "", nil
	}
	id, ok := strictjson.Unquote(raw)
	if !ok || id == "" || len(id) > maxMessageID {
		return "", refusal.New(refusal.InvalidMessage, "id is not a string of 1 to 128 bytes")
	}
	return id, nil
}

var fromShape = strictjson.Shape{Names: []string{"last", "time"}, Strict: true}

// parseStart reads where a subscription begins. from wins over fromOffset.
func parseStart(fromOffset, from, epoch, strict []byte) (startPoint, *refusal.Error) {
	var start startPoint
	if !strictjson.IsNull(strict) {
		if start.strict = string(strict) == "true"; !start.strict && string(strict) != "false" {
			return start, refusal.New(refusal.InvalidMessage, "strict is neither true nor false")
		}
	}
	if !strictjson.IsNull(epoch) {
		var ok bool
		if start.epoch, ok = strictjson.Unquote(epoch); !ok {
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
		if offset > 0 || start.epoch != "" || start.strict {
			start.from, start.offset = startAfter, offset
		}
	}
	if strictjson.IsNull(from) {
		return start, nil
	}
	bad := refusal.New(refusal.InvalidMessage, `from is none of "live", "all", {"last":N}, {"time":ms}`)
	if word, ok := strictjson.Unquote(from); ok {
		switch word {
		case "live":
			start.from = startLive
		case "all":
			start.from = startAll
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
	start.from = startLast
	if last == nil {
		raw, start.from = time, startTime
	}
	n, ok := strictjson.WholeNumber(raw)
	if !ok || last != nil && time != nil {
		return start, bad
	}
	start.offset, start.time = n, int64(n)
	return start, nil
}

// byRule replaces an open start by that of the channel's rule.
func (p startPoint) byRule(initial fsm.Initial) startPoint {
	if p.from != startByRule {
		return p
	}
	switch {
	case initial.All:
		p.from = startAll
	case initial.Last > 0:
		p.from, p.offset = startLast, uint64(initial.Last)
	default:
		p.from = startLive
	}
	return p
}
