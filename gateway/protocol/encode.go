package protocol

import (
	"strconv"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/sse"
	"github.com/aptlyd/aptlyd/gateway/websocket"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// Server frames are built by hand. Their shapes are few, and a message frame is built once
// for all its subscribers.

// Encoding is the form in which a connection gets its frames. Subscribers of one form share
// the bytes.
type Encoding uint8

// The encodings.
const (
	AsFrames  Encoding = iota // of a WebSocket
	AsEvents                  // of SSE with one channel, each with its cursor
	AsBlocks                  // of SSE with several, behind which their cursor follows
	AsItems                   // of the list that answers a long poll
	Encodings                 // how many there are
)

// begin begins a frame of a type. The caller then appends its JSON text.
func (as Encoding) begin(dst []byte, kind string) (buf []byte, mark int) {
	if as == AsFrames {
		return websocket.BeginFrame(dst)
	}
	return sse.BeginEvent(dst, kind), 0
}

// end ends a frame.
func (as Encoding) end(dst []byte, mark int) []byte {
	if as == AsFrames {
		return websocket.EndFrame(dst, mark)
	}
	return sse.EndEvent(dst)
}

// endAt ends a frame behind which the client has everything up to an offset.
func (as Encoding) endAt(dst []byte, mark int, epoch string, offset uint64) []byte {
	if as == AsEvents {
		dst = sse.AppendCursor(sse.BeginID(dst), epoch, offset)
	}
	return as.end(dst, mark)
}

// AppendMessage appends a message frame. channel is the quoted name.
func AppendMessage(dst, channel []byte, m fsm.Message, replay bool) []byte {
	dst, mark := websocket.BeginFrame(dst)
	dst = append(dst, `{"type":"message","channel":`...)
	dst = append(dst, channel...)
	dst = append(dst, `,"data":`...)
	dst = append(dst, m.Data...)
	return websocket.EndFrame(appendPlace(dst, m, replay), mark)
}

// AppendEvent appends a message as an event. A message without an offset moves no cursor.
func AppendEvent(dst, channel []byte, m fsm.Message, replay bool, as Encoding, epoch string) []byte {
	dst = append(sse.BeginEvent(dst, ""), `{"channel":`...)
	dst = append(dst, channel...)
	dst = append(dst, `,"data":`...)
	dst = appendPlace(sse.AppendLine(dst, m.Data), m, replay)
	if m.Offset == 0 {
		return sse.EndEvent(dst)
	}
	return as.endAt(dst, 0, epoch, m.Offset)
}

// appendPlace ends the JSON text of a message.
func appendPlace(dst []byte, m fsm.Message, replay bool) []byte {
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendUint(dst, m.Offset, 10)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, m.Timestamp, 10)
	dst = append(dst, `,"replay":`...)
	return append(strconv.AppendBool(dst, replay), '}')
}

// AppendPong appends the answer to a ping.
func AppendPong(dst []byte, id string) []byte {
	dst, mark := websocket.BeginFrame(dst)
	dst = append(dst, `{"type":"pong","id":`...)
	return websocket.EndFrame(append(strictjson.AppendQuoted(dst, id), '}'), mark)
}

// AppendGoAway appends a goaway frame: connect elsewhere after start, and before end.
func AppendGoAway(dst []byte, as Encoding, start, end time.Duration, endpoints []string) []byte {
	dst, mark := as.begin(dst, "goaway")
	dst = append(dst, `{"type":"goaway","reason":"draining","startInMs":`...)
	dst = strconv.AppendInt(dst, start.Milliseconds(), 10)
	dst = append(dst, `,"withinMs":`...)
	dst = strconv.AppendInt(dst, end.Milliseconds(), 10)
	dst = append(dst, `,"endpoints":[`...)
	for i, endpoint := range endpoints {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strictjson.AppendQuoted(dst, endpoint)
	}
	return as.end(append(dst, "]}"...), mark)
}

// AppendGap appends a gap frame for the offsets from to to.
func AppendGap(dst []byte, as Encoding, channel, epoch string, from, to uint64) []byte {
	dst, mark := as.begin(dst, "gap")
	dst = append(dst, `{"type":"gap","channel":`...)
	dst = strictjson.AppendQuoted(dst, channel)
	dst = append(dst, `,"from":`...)
	dst = strconv.AppendUint(dst, from, 10)
	dst = append(dst, `,"to":`...)
	dst = strconv.AppendUint(dst, to, 10)
	return as.endAt(append(dst, '}'), mark, epoch, to)
}

// AppendSubscribed appends the answer to a subscribe. The first message that the client gets
// is behind the offset begin.
func AppendSubscribed(dst []byte, as Encoding, channel string, b refusal.Bounds, recovered bool, begin uint64) []byte {
	dst, mark := as.begin(dst, "subscribed")
	dst = append(dst, `{"type":"subscribed","channel":`...)
	dst = strictjson.AppendQuoted(dst, channel)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendUint(dst, b.Head, 10)
	dst = append(dst, `,"earliest":`...)
	dst = strconv.AppendUint(dst, b.Earliest, 10)
	dst = append(dst, `,"epoch":`...)
	dst = strictjson.AppendQuoted(dst, b.Epoch)
	dst = append(dst, `,"recovered":`...)
	dst = strconv.AppendBool(dst, recovered)
	return as.endAt(append(dst, '}'), mark, b.Epoch, begin)
}

// AppendUnsubscribed appends the answer to an unsubscribe.
func AppendUnsubscribed(dst []byte, channel string) []byte {
	dst, mark := websocket.BeginFrame(dst)
	dst = append(dst, `{"type":"unsubscribed","channel":`...)
	return websocket.EndFrame(append(strictjson.AppendQuoted(dst, channel), '}'), mark)
}

// AppendPublished appends the answer to a publish; id is left out when empty.
func AppendPublished(dst []byte, channel, id string, r fsm.Receipt) []byte {
	dst, mark := websocket.BeginFrame(dst)
	dst = append(dst, `{"type":"published","channel":`...)
	dst = strictjson.AppendQuoted(dst, channel)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendUint(dst, r.Offset, 10)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, r.Timestamp, 10)
	if id != "" {
		dst = append(dst, `,"id":`...)
		dst = strictjson.AppendQuoted(dst, id)
	}
	if r.Duplicate {
		dst = append(dst, `,"duplicate":true`...)
	}
	return websocket.EndFrame(append(dst, '}'), mark)
}

// AppendRefusal appends an error frame; channel and id are left out when empty.
func AppendRefusal(dst []byte, as Encoding, r *refusal.Error, channel, id string) []byte {
	dst, mark := as.begin(dst, "error")
	if r.Code == refusal.AuthTimeout {
		dst = append(dst, `{"type":"auth_timeout","error":`...)
	} else {
		dst = append(dst, `{"type":"error","error":`...)
	}
	dst = strictjson.AppendQuoted(dst, r.Reason)
	dst = append(dst, `,"code":`...)
	dst = strictjson.AppendQuoted(dst, string(r.Code))
	if channel != "" {
		dst = append(dst, `,"channel":`...)
		dst = strictjson.AppendQuoted(dst, channel)
	}
	if id != "" {
		dst = append(dst, `,"id":`...)
		dst = strictjson.AppendQuoted(dst, id)
	}
	if r.PresenceAction != "" {
		dst = strictjson.AppendQuoted(append(dst, `,"action":`...), r.PresenceAction)
	}
	if r.PresenceWatch != "" {
		dst = strictjson.AppendQuoted(append(dst, `,"presence":`...), r.PresenceWatch)
	}
	if r.RetryAfter > 0 {
		dst = append(dst, `,"retryAfter":`...)
		dst = strconv.AppendInt(dst, r.RetryAfter.Milliseconds(), 10)
	}
	if r.Bounds != nil {
		dst = append(dst, `,"offset":`...)
		dst = strconv.AppendUint(dst, r.Bounds.Head, 10)
		dst = append(dst, `,"earliest":`...)
		dst = strconv.AppendUint(dst, r.Bounds.Earliest, 10)
		dst = append(dst, `,"epoch":`...)
		dst = strictjson.AppendQuoted(dst, r.Bounds.Epoch)
	}
	return as.end(append(dst, '}'), mark)
}

// Connected is told to a client once it is authenticated.
type Connected struct {
	Connection      string
	Node            string
	Epoch           string
	MaxMessageBytes int
	HeartbeatMs     int64
}

// serverFeatures are the additions to the published protocol that this server knows.
const serverFeatures = `["gap","epoch","from","id","refresh","goaway","ping","strict","presence"]`

// AppendAuthSuccess appends the first answer to an auth frame.
func AppendAuthSuccess(dst []byte) []byte {
	dst, mark := websocket.BeginFrame(dst)
	return websocket.EndFrame(append(dst, `{"type":"auth_success"}`...), mark)
}

// AppendConnected appends both answers to an auth frame.
func AppendConnected(dst []byte, info Connected) []byte {
	dst, mark := websocket.BeginFrame(AppendAuthSuccess(dst))
	dst = append(dst, `{"type":"connected","connectionId":`...)
	dst = strictjson.AppendQuoted(dst, info.Connection)
	dst = append(dst, `,"node":`...)
	dst = strictjson.AppendQuoted(dst, info.Node)
	dst = append(dst, `,"features":`+serverFeatures+`,"epoch":`...)
	dst = strictjson.AppendQuoted(dst, info.Epoch)
	dst = append(dst, `,"maxMessageBytes":`...)
	dst = strconv.AppendInt(dst, int64(info.MaxMessageBytes), 10)
	dst = append(dst, `,"heartbeatMs":`...)
	dst = strconv.AppendInt(dst, info.HeartbeatMs, 10)
	return websocket.EndFrame(append(dst, '}'), mark)
}

// Heartbeat is the frame that keeps published clients from giving up.
var Heartbeat = func() []byte {
	buf, mark := websocket.BeginFrame(nil)
	return websocket.EndFrame(append(buf, `{"type":"heartbeat"}`...), mark)
}()
