package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// aptly is aptlyd's own protocol.
type aptly struct{ key string }

func (aptly) Transport() Transport { return Transport{WebSocket: true, Path: "/realtime"} }

func (a aptly) AppendLogin(dst []byte, _ int) []byte {
	return fmt.Appendf(dst, `{"type":"auth","apiKey":%q}`, a.key)
}

func (aptly) AppendSubscribe(dst []byte, _ int, channel string, after Position) []byte {
	dst = fmt.Appendf(dst, `{"type":"subscribe","channel":%q`, channel)
	if after.Offset > 0 {
		dst = fmt.Appendf(dst, `,"fromOffset":%d,"epoch":%q`, after.Offset, after.Epoch)
	}
	return append(dst, '}')
}

func (aptly) AppendPublish(dst []byte, _ int, channel string, _ uint64, data []byte) []byte {
	dst = append(dst, `{"type":"publish","channel":"`...)
	dst = append(dst, channel...)
	dst = append(dst, `","message":`...)
	return append(append(dst, data...), '}')
}

func (aptly) Parse(data []byte, emit func(Event)) (int, error) {
	if e, ok := scanMessage(data); ok {
		emit(e)
		return len(data), nil
	}
	if e, ok := scanPublished(data); ok {
		emit(e)
		return len(data), nil
	}
	if bytes.Equal(data, authSuccess) {
		return len(data), nil
	}
	if e, ok := scanReady(data); ok {
		emit(e)
		return len(data), nil
	}
	var f struct {
		Type, Channel, Error, Code, Epoch string
		Data                              json.RawMessage
		Offset, Earliest, From, To        uint64
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return 0, fmt.Errorf("parse frame: %w", err)
	}
	switch f.Type {
	case "connected":
		emit(Event{Kind: Ready, Epoch: f.Epoch})
	case "subscribed":
		emit(Event{Kind: Ready, Offset: f.Offset, Earliest: f.Earliest, Epoch: f.Epoch})
	case "message":
		emit(Event{Kind: Delivered, Data: f.Data, Offset: f.Offset})
	case "published":
		emit(Event{Kind: Acknowledged, Channel: []byte(f.Channel), Offset: f.Offset})
	case "gap":
		emit(Event{Kind: Gap, Offset: f.From, To: f.To})
	case "error", "auth_timeout":
		emit(Event{Kind: Refused, Data: fmt.Appendf(nil, "%s: %s", f.Code, f.Error)})
	case "auth_success", "heartbeat":
	default:
		return 0, fmt.Errorf("parse frame: unknown type %q", f.Type)
	}
	return len(data), nil
}

var (
	messageHead    = []byte(`{"type":"message","channel":"`)
	connectedHead  = []byte(`{"type":"connected"`)
	subscribedHead = []byte(`{"type":"subscribed","channel":"`)
	earliestKey    = []byte(`,"earliest":`)
	epochKey       = []byte(`,"epoch":"`)
	authSuccess    = []byte(`{"type":"auth_success"}`)
	publishedHead  = []byte(`{"type":"published","channel":"`)
	dataKey        = []byte(`,"data":`)
	offsetKey      = []byte(`,"offset":`)
)

// scanMessage reads a message frame in the usual order of its fields whose data
// is a string without escapes: the bulk of what a swarm gets.
func scanMessage(b []byte) (Event, bool) {
	rest, ok := bytes.CutPrefix(b, messageHead)
	if !ok {
		return Event{}, false
	}
	return scanData(rest)
}

// scanData reads the rest of a message from the name of its channel on.
func scanData(rest []byte) (Event, bool) {
	rest, ok := bytes.CutPrefix(rest[bytes.IndexByte(rest, '"')+1:], dataKey)
	if !ok || len(rest) == 0 || rest[0] != '"' {
		return Event{}, false
	}
	end := bytes.IndexByte(rest[1:], '"') + 2
	if end < 2 || bytes.IndexByte(rest[:end], '\\') >= 0 {
		return Event{}, false
	}
	offset, ok := scanNumber(rest[end:], offsetKey)
	return Event{Kind: Delivered, Data: rest[:end], Offset: offset}, ok
}

func scanPublished(b []byte) (Event, bool) {
	rest, ok := bytes.CutPrefix(b, publishedHead)
	if !ok {
		return Event{}, false
	}
	channel, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok || bytes.IndexByte(channel, '\\') >= 0 {
		return Event{}, false
	}
	offset, ok := scanNumber(rest[len(channel)+1:], offsetKey)
	return Event{Kind: Acknowledged, Channel: channel, Offset: offset}, ok
}

// scanReady reads the frames that every connection gets once, in the usual order
// of their fields and without escapes.
func scanReady(b []byte) (Event, bool) {
	if bytes.IndexByte(b, '\\') >= 0 {
		return Event{}, false
	}
	e := Event{Kind: Ready}
	ok := bytes.HasPrefix(b, connectedHead)
	if !ok {
		var rest []byte
		if rest, ok = bytes.CutPrefix(b, subscribedHead); !ok {
			return Event{}, false
		}
		b = rest[bytes.IndexByte(rest, '"')+1:]
		var known bool
		e.Offset, ok = scanNumber(b, offsetKey)
		e.Earliest, known = scanNumber(b[max(bytes.Index(b, earliestKey), 0):], earliestKey)
		ok = ok && known
	}
	_, epoch, found := bytes.Cut(b, epochKey)
	epoch, _, ended := bytes.Cut(epoch, []byte{'"'})
	e.Epoch = string(epoch)
	return e, ok && found && ended
}

// scanNumber reads the number that follows key at the beginning of b.
func scanNumber(b, key []byte) (uint64, bool) {
	digits, ok := bytes.CutPrefix(b, key)
	if !ok {
		return 0, false
	}
	end := bytes.IndexAny(digits, ",}")
	if end < 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits[:end]), 10, 64)
	return n, err == nil
}
