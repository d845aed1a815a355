package presence

import (
	"strconv"

	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// Texts for clients are built by hand, once for all watchers of a channel.

// pieceBytes bounds a piece of a sync, except for its last member.
const pieceBytes = 60 << 10

func beginPresence(channel string) []byte {
	return strictjson.AppendQuoted(append(make([]byte, 0, 256), `{"type":"presence","channel":`...), channel)
}

func appendMember(dst []byte, m *Member) []byte {
	dst = strictjson.AppendQuoted(append(dst, `{"id":`...), m.ID)
	dst = append(append(dst, `,"data":`...), m.Data...)
	dst = strconv.AppendInt(append(dst, `,"since":`...), m.Since, 10)
	dst = strconv.AppendInt(append(dst, `,"connections":`...), int64(m.Connections), 10)
	return append(dst, '}')
}

// appendMembers appends members and the end of their list.
func appendMembers(dst []byte, list []Member) []byte {
	for i := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendMember(dst, &list[i])
	}
	return append(dst, ']')
}

func appendCount(dst []byte, count int) []byte {
	return append(strconv.AppendInt(append(dst, `,"count":`...), int64(count), 10), '}')
}

// encodeSync returns all members of a channel in pieces.
func encodeSync(channel string, members []Member) (pieces [][]byte) {
	rest, done := members, false
	for piece := 1; !done; piece++ {
		body := []byte(`,"members":[`)
		n := 0
		for n < len(rest) && (n == 0 || len(body)+len(rest[n].Data)+len(rest[n].ID)+memberOverhead < pieceBytes) {
			if n > 0 {
				body = append(body, ',')
			}
			body = appendMember(body, &rest[n])
			n++
		}
		rest = rest[n:]
		done = len(rest) == 0
		text := strconv.AppendInt(append(beginPresence(channel), `,"sync":{"part":`...), int64(piece), 10)
		text = strconv.AppendBool(append(text, `,"last":`...), done)
		text = append(append(append(text, '}'), body...), ']')
		pieces = append(pieces, appendCount(text, len(members)))
	}
	return pieces
}

func encodeDifference(d *Difference) []byte {
	text := beginPresence(d.Channel.Name)
	text = appendMembers(append(text, `,"entered":[`...), d.Entered)
	text = appendMembers(append(text, `,"updated":[`...), d.Updated)
	text = append(text, `,"left":[`...)
	for i, g := range d.Left {
		if i > 0 {
			text = append(text, ',')
		}
		text = strictjson.AppendQuoted(append(text, `{"id":`...), g.ID)
		text = append(append(append(text, `,"reason":"`...), g.Reason.String()...), `"}`...)
	}
	return appendCount(append(text, ']'), d.Count)
}

func encodeNumbers(n Numbers) []byte {
	text := strictjson.AppendQuoted([]byte(`{"type":"occupancy","channel":`), n.Channel.Name)
	text = strconv.AppendInt(append(text, `,"subscribers":`...), int64(n.Subscribers), 10)
	text = strconv.AppendInt(append(text, `,"members":`...), int64(n.Members), 10)
	return append(text, '}')
}
