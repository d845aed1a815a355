package client

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// usualFields are the fields of the frames that come by the thousand: messages and
// receipts. A frame with others is left to encoding/json.
var usualFields = strictjson.Shape{Strict: true, Names: []string{
	"type", "channel", "id", "data", "offset", "timestamp", "replay", "duplicate",
}}

// scanFrame reads a usual frame several times faster than reflection does. When ok is
// false the text may still be a frame: an unusual one is left to encoding/json.
func scanFrame(text []byte) (f frame, ok bool) {
	var v [8][]byte
	if !utf8.Valid(text) || usualFields.Scan(text, strictjson.MaxNesting, v[:]) != nil {
		return frame{}, false
	}
	if f.Type, ok = frameType(v[0]); !ok || f.Type == "" {
		return frame{}, false
	}
	f.Data = bytes.Clone(v[3])
	ok = scanned(v[1], &f.Channel, strictjson.Unquote) &&
		scanned(v[2], &f.ID, strictjson.Unquote) &&
		scanned(v[4], &f.Offset, parseOffset) &&
		scanned(v[5], &f.Timestamp, parseTimestamp) &&
		scanned(v[6], &f.Replay, parseBool) &&
		scanned(v[7], &f.Duplicate, parseBool)
	return f, ok
}

// scanned parses a field into value, and nothing when the frame does not have it.
func scanned[T any](raw []byte, value *T, parse func([]byte) (T, bool)) (ok bool) {
	if raw == nil {
		return true
	}
	*value, ok = parse(raw)
	return ok
}

// frameType returns the usual types without allocating.
func frameType(raw []byte) (string, bool) {
	switch string(raw) {
	case `"message"`:
		return "message", true
	case `"published"`:
		return "published", true
	case `"heartbeat"`:
		return "heartbeat", true
	}
	return strictjson.Unquote(raw)
}

func parseOffset(raw []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(raw), 10, 64)
	return n, err == nil
}

func parseTimestamp(raw []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil
}

func parseBool(raw []byte) (value, ok bool) {
	value = string(raw) == "true"
	return value, value || string(raw) == "false"
}
