package protocol

import (
	"strconv"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/websocket"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// Server frames are built by hand. Their shapes are few, and a message frame is built once
// for all its subscribers.

// AppendMessage appends a message frame. channel is the quoted name.
func AppendMessage(dst, channel []byte, m fsm.Message, replay bool) []byte {
	dst, mark := websocket.BeginFrame(dst)
	dst = append(dst, `{"type":"message","channel":`...)
	dst = append(dst, channel...)
	dst = append(dst, `,"data":`...)
	dst = append(dst, m.Data...)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendUint(dst, m.Offset, 10)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, m.Timestamp, 10)
	dst = append(dst, `,"replay":`...)
	dst = strconv.AppendBool(dst, replay)
	return websocket.EndFrame(append(dst, '}'), mark)
}

// AppendPong appends the answer to a ping.
func AppendPong(dst []byte, id string) []byte {
	dst, mark := websocket.BeginFrame(dst)
	dst = append(dst, `{"type":"pong","id":`...)
	return websocket.EndFrame(append(strictjson.AppendQuoted(dst, id), '}'), mark)
}

// AppendGoAway appends a goaway frame: connect elsewhere after start, and before end.
func AppendGoAway(dst []byte, start, end time.Duration, endpoints []string) []byte {
	dst, mark := websocket.BeginFrame(dst)
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
	return websocket.EndFrame(append(dst, "]}"...), mark)
}

// AppendGap appends a gap frame for the offsets from to to.
func AppendGap(dst []byte, channel string, from, to uint64) []byte {
	dst, mark := websocket.BeginFrame(dst)
	dst = append(dst, `{"type":"gap","channel":`...)
	dst = strictjson.AppendQuoted(dst, channel)
	dst = append(dst, `,"from":`...)
	dst = strconv.AppendUint(dst, from, 10)
	dst = append(dst, `,"to":`...)
	dst = strconv.AppendUint(dst, to, 10)
	return websocket.EndFrame(append(dst, '}'), mark)
}

// AppendSubscribed appends the answer to a subscribe.
func AppendSubscribed(dst []byte, channel string, head, earliest uint64, epoch string, recovered bool) []byte {
	dst, mark := websocket.BeginFrame(dst)
	dst = append(dst, `{"type":"subscribed","channel":`...)
	dst = strictjson.AppendQuoted(dst, channel)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendUint(dst, head, 10)
	dst = append(dst, `,"earliest":`...)
	dst = strconv.AppendUint(dst, earliest, 10)
	dst = append(dst, `,"epoch":`...)
	dst = strictjson.AppendQuoted(dst, epoch)
	dst = append(dst, `,"recovered":`...)
	dst = strconv.AppendBool(dst, recovered)
	return websocket.EndFrame(append(dst, '}'), mark)
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
func AppendRefusal(dst []byte, r *refusal.Error, channel, id string) []byte {
	dst, mark := websocket.BeginFrame(dst)
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
	return websocket.EndFrame(append(dst, '}'), mark)
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
const serverFeatures = `["gap","epoch","from","id","refresh","goaway","ping","strict"]`

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
