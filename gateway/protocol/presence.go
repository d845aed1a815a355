package protocol

import (
	"slices"

	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/websocket"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// Watch says what a subscriber wants to know of the members of its channel.
type Watch uint8

// The kinds of Watch.
const (
	WatchNothing Watch = iota
	WatchMembers       // who they are
	WatchCount         // how many
)

// Action is what a presence frame does.
type Action string

// The actions.
const (
	Enter  Action = "enter"
	Update Action = "update"
	Leave  Action = "leave"
)

// String returns what a subscribe asks for.
func (w Watch) String() string { return [...]string{"", "members", "count"}[w] }

// maxAction bounds an action that is repeated to the client, in bytes.
const maxAction = 16

// MaxMemberID bounds the id of a member, in bytes.
const MaxMemberID = 255

func parseWatch(raw []byte) (Watch, *refusal.Error) {
	if strictjson.IsNull(raw) {
		return WatchNothing, nil
	}
	switch word, _ := strictjson.Unquote(raw); word {
	case "members":
		return WatchMembers, nil
	case "count":
		return WatchCount, nil
	}
	return WatchNothing, refusal.New(refusal.InvalidMessage, `presence is neither "members" nor "count"`)
}

// parsePresence reads what a presence frame asks for.
func (r *Request) parsePresence(action, id, data []byte) *refusal.Error {
	r.Action = Action(echo(action, maxAction))
	if !slices.Contains([]Action{Enter, Update, Leave}, r.Action) {
		return refusal.New(refusal.InvalidMessage, "action is none of enter, update, leave")
	}
	if !strictjson.IsNull(id) {
		var ok bool
		if r.ID, ok = strictjson.Unquote(id); !ok || r.ID == "" || len(r.ID) > MaxMemberID {
			r.ID = ""
			return refusal.New(refusal.InvalidMessage, "id is not a string of 1 to 255 bytes")
		}
	}
	if r.Data = "null"; data != nil {
		r.Data = string(data)
	}
	return nil
}

// AppendPresenceOK appends the answer to a presence frame.
func AppendPresenceOK(dst []byte, as Encoding, channel string, action Action, id string) []byte {
	dst, mark := as.begin(dst, "presence_ok")
	dst = append(dst, `{"type":"presence_ok","channel":`...)
	dst = strictjson.AppendQuoted(dst, channel)
	dst = append(dst, `,"action":`...)
	dst = strictjson.AppendQuoted(dst, string(action))
	dst = append(dst, `,"id":`...)
	return as.end(append(strictjson.AppendQuoted(dst, id), '}'), mark)
}

// FrameText returns a frame with a JSON text that is encoded already.
func FrameText(text []byte) []byte {
	dst, mark := websocket.BeginFrame(nil)
	return websocket.EndFrame(append(dst, text...), mark)
}
