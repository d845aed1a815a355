// Package websocket reads and writes frames (RFC 6455) and reads and checks handshakes. Bytes
// go in and events come out; it has no socket and knows nothing of the protocol above.
package websocket

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Event is the meaning of a client's bytes (RFC 6455).
type Event uint8

// Events.
const (
	None     Event = iota // more bytes are needed
	Text                  // a whole text message
	Ping                  // with its payload
	Pong                  // payload is of no interest
	Close                 // with its payload: nothing, or a code and a reason
	Fragment              // a part of a message that is not the last
	Dropped               // a whole text message of more than is kept
)

// Error says why a connection cannot go on, and with which close code.
type Error struct {
	Code   ws.StatusCode
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Reader turns the bytes of one client, cut anywhere, into messages. It
// keeps no buffer while no message is half read.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	|F|R|R|R| opcode|M| Payload len |    Extended payload length    |
//	|I|S|S|S|  (4)  |A|     (7)     |         (0, 16 or 64)         |
//	|N|V|V|V|       |S|             |                               |
//	| |1|2|3|       |K|             | Masking-key, 32 bits, payload |
//	+-+-+-+-+-------+-+-------------+-------------------------------+
type Reader struct {
	Limit   int    // payload bytes of one message
	Kept    uint32 // bound of those that are kept; a longer message is dropped. 0 for no bound
	headLen uint8
	inside  bool // the header is read, its payload is not
	partial bool // a message has begun whose last frame has not
	dropped bool // the message is not kept
	head    [ws.MaxHeaderSize]byte
	header  ws.Header
	got     int    // payload bytes of this frame so far
	message []byte // payload of the message so far
	control []byte // payload of this control frame so far
}

// Midway reports whether a frame or message has begun and not ended.
func (r *Reader) Midway() bool { return r.headLen > 0 || r.inside || r.partial }

// Next consumes n bytes of p, at most up to the end of one frame. The payload may point
// into p, which is changed, and is valid until the next call.
func (r *Reader) Next(p []byte) (event Event, payload []byte, n int, err error) {
	if !r.inside {
		n, err = r.readHeader(p)
		if err != nil || !r.inside {
			return None, nil, n, err
		}
		p = p[n:]
	}
	take := min(len(p), int(r.header.Length)-r.got)
	chunk := p[:take]
	if r.dropped && !r.header.OpCode.IsControl() {
		r.got += take
		return r.drop(), nil, n + take, nil
	}
	ws.Cipher(chunk, r.header.Mask, r.got)
	r.got += take
	n += take
	whole := r.got == int(r.header.Length)

	if r.header.OpCode.IsControl() {
		if !whole || len(r.control) > 0 {
			r.control = append(r.control, chunk...)
			chunk = r.control
		}
		if !whole {
			return None, nil, n, nil
		}
		r.inside, r.control = false, nil
		event, err = controlEvent(r.header.OpCode, chunk)
		return event, chunk, n, err
	}

	if !whole || !r.header.Fin || len(r.message) > 0 {
		r.message = append(r.message, chunk...)
		chunk = r.message
	}
	if !whole {
		return None, nil, n, nil
	}
	r.inside = false
	r.partial = !r.header.Fin
	if r.partial {
		return Fragment, nil, n, nil
	}
	r.message = nil
	if !utf8.Valid(chunk) {
		return None, nil, n, &Error{ws.StatusInvalidFramePayloadData, "text is not valid UTF-8"}
	}
	return Text, chunk, n, nil
}

// drop goes on with a message that is not kept.
func (r *Reader) drop() Event {
	if r.got < int(r.header.Length) {
		return None
	}
	r.inside, r.partial, r.dropped = false, !r.header.Fin, !r.header.Fin
	if r.partial {
		return Fragment
	}
	return Dropped
}

func controlEvent(op ws.OpCode, payload []byte) (Event, error) {
	switch op {
	case ws.OpPing:
		return Ping, nil
	case ws.OpPong:
		return Pong, nil
	}
	if len(payload) == 0 {
		return Close, nil
	}
	if len(payload) == 1 {
		return None, &Error{ws.StatusProtocolError, "close frame with half a code"}
	}
	if code, _ := ws.ParseCloseFrameData(payload); !mayBeSent(code) {
		return None, &Error{ws.StatusProtocolError, "close frame with a code that must not be sent"}
	}
	if !utf8.Valid(payload[2:]) {
		return None, &Error{ws.StatusInvalidFramePayloadData, "close reason is not valid UTF-8"}
	}
	return Close, nil
}

// mayBeSent reports whether a close frame may carry the code: those of RFC 6455
// section 7.4 and those that were registered since, of which we send some.
func mayBeSent(code ws.StatusCode) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// readHeader gathers the header of the next frame; inside says whether it is
// complete.
func (r *Reader) readHeader(p []byte) (n int, err error) {
	for {
		need := r.headerLen() - int(r.headLen)
		if need == 0 {
			break
		}
		if n == len(p) {
			return n, nil
		}
		took := copy(r.head[r.headLen:int(r.headLen)+need], p[n:])
		r.headLen += uint8(took)
		n += took
		if r.headLen == 2 {
			// Opcode and length class are known: refuse before waiting for more.
			if err := r.checkStart(); err != nil {
				return n, err
			}
		}
	}
	if err := r.parseHeader(); err != nil {
		return n, err
	}
	r.headLen, r.inside, r.got = 0, true, 0
	return n, nil
}

func (r *Reader) headerLen() int {
	if r.headLen < 2 {
		return 2
	}
	n := 2
	switch r.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if r.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// checkStart checks what the first two bytes of a header say.
func (r *Reader) checkStart() error {
	r.header = ws.Header{
		Fin:    r.head[0]&0x80 != 0,
		Rsv:    r.head[0] & 0x70 >> 4,
		OpCode: ws.OpCode(r.head[0] & 0x0f),
		Masked: r.head[1]&0x80 != 0,
		Length: int64(r.head[1] & 0x7f),
	}
	state := ws.StateServerSide
	if r.partial {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(r.header, state); err != nil {
		return &Error{ws.StatusProtocolError, err.Error()}
	}
	if r.header.OpCode == ws.OpBinary {
		return &Error{ws.StatusUnsupportedData, "binary frames are not supported"}
	}
	return nil
}

func (r *Reader) parseHeader() error {
	rest := r.head[2:r.headLen]
	switch r.header.Length {
	case 126:
		r.header.Length = int64(binary.BigEndian.Uint16(rest))
		rest = rest[2:]
	case 127:
		length := binary.BigEndian.Uint64(rest)
		if length>>63 != 0 {
			return &Error{ws.StatusProtocolError, ws.ErrHeaderLengthMSB.Error()}
		}
		r.header.Length = int64(length)
		rest = rest[8:]
	}
	copy(r.header.Mask[:], rest)
	if !r.header.OpCode.IsControl() && r.header.Length > int64(r.Limit-len(r.message)) {
		return &Error{ws.StatusMessageTooBig, "frame is too large"}
	}
	if r.Kept > 0 && !r.header.OpCode.IsControl() && r.header.Length > int64(r.Kept)-int64(len(r.message)) {
		r.dropped, r.message = true, nil
	}
	return nil
}

// frameHeadroom is the room that BeginFrame reserves. A server's header is at most that
// long.
const frameHeadroom = 10

// BeginFrame makes room for a header behind dst. The caller then appends the payload.
func BeginFrame(dst []byte) (buf []byte, mark int) {
	mark = len(dst)
	var room [frameHeadroom]byte
	return append(dst, room[:]...), mark
}

// EndFrame puts the header of a text frame in front of everything appended since
// BeginFrame.
func EndFrame(buf []byte, mark int) []byte {
	payload := buf[mark+frameHeadroom:]
	head := appendHeader(buf[:mark], ws.OpText, len(payload))
	return append(head, payload...)
}

// appendHeader appends the header of an unmasked, final frame.
func appendHeader(dst []byte, op ws.OpCode, length int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case length < 126:
		return append(dst, byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(length))
}

// AppendControl appends a control frame.
func AppendControl(dst []byte, op ws.OpCode, payload []byte) []byte {
	return append(appendHeader(dst, op, len(payload)), payload...)
}

// AppendClose appends a close frame.
func AppendClose(dst []byte, code ws.StatusCode, reason string) []byte {
	return AppendControl(dst, ws.OpClose, ws.NewCloseFrameBody(code, reason))
}
