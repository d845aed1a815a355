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
func (f *Reader) Midway() bool { return f.headLen > 0 || f.inside || f.partial }

// Next consumes n bytes of p, at most up to the end of one frame. The payload may point
// into p, which is changed, and is valid until the next call.
func (f *Reader) Next(p []byte) (event Event, payload []byte, n int, err error) {
	if !f.inside {
		n, err = f.readHeader(p)
		if err != nil || !f.inside {
			return None, nil, n, err
		}
		p = p[n:]
	}
	take := min(len(p), int(f.header.Length)-f.got)
	chunk := p[:take]
	if f.dropped && !f.header.OpCode.IsControl() {
		f.got += take
		return f.drop(), nil, n + take, nil
	}
	ws.Cipher(chunk, f.header.Mask, f.got)
	f.got += take
	n += take
	whole := f.got == int(f.header.Length)

	if f.header.OpCode.IsControl() {
		if !whole || len(f.control) > 0 {
			f.control = append(f.control, chunk...)
			chunk = f.control
		}
		if !whole {
			return None, nil, n, nil
		}
		f.inside, f.control = false, nil
		event, err = controlEvent(f.header.OpCode, chunk)
		return event, chunk, n, err
	}

	if !whole || !f.header.Fin || len(f.message) > 0 {
		f.message = append(f.message, chunk...)
		chunk = f.message
	}
	if !whole {
		return None, nil, n, nil
	}
	f.inside = false
	f.partial = !f.header.Fin
	if f.partial {
		return Fragment, nil, n, nil
	}
	f.message = nil
	if !utf8.Valid(chunk) {
		return None, nil, n, &Error{ws.StatusInvalidFramePayloadData, "text is not valid UTF-8"}
	}
	return Text, chunk, n, nil
}

// drop goes on with a message that is not kept.
func (f *Reader) drop() Event {
	if f.got < int(f.header.Length) {
		return None
	}
	f.inside, f.partial, f.dropped = false, !f.header.Fin, !f.header.Fin
	if f.partial {
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
func (f *Reader) readHeader(p []byte) (n int, err error) {
	for {
		need := f.headerLen() - int(f.headLen)
		if need == 0 {
			break
		}
		if n == len(p) {
			return n, nil
		}
		took := copy(f.head[f.headLen:int(f.headLen)+need], p[n:])
		f.headLen += uint8(took)
		n += took
		if f.headLen == 2 {
			// Opcode and length class are known: refuse before waiting for more.
			if err := f.checkStart(); err != nil {
				return n, err
			}
		}
	}
	if err := f.parseHeader(); err != nil {
		return n, err
	}
	f.headLen, f.inside, f.got = 0, true, 0
	return n, nil
}

func (f *Reader) headerLen() int {
	if f.headLen < 2 {
		return 2
	}
	n := 2
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// checkStart checks what the first two bytes of a header say.
func (f *Reader) checkStart() error {
	f.header = ws.Header{
		Fin:    f.head[0]&0x80 != 0,
		Rsv:    f.head[0] & 0x70 >> 4,
		OpCode: ws.OpCode(f.head[0] & 0x0f),
		Masked: f.head[1]&0x80 != 0,
		Length: int64(f.head[1] & 0x7f),
	}
	state := ws.StateServerSide
	if f.partial {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(f.header, state); err != nil {
		return &Error{ws.StatusProtocolError, err.Error()}
	}
	if f.header.OpCode == ws.OpBinary {
		return &Error{ws.StatusUnsupportedData, "binary frames are not supported"}
	}
	return nil
}

func (f *Reader) parseHeader() error {
	rest := f.head[2:f.headLen]
	switch f.header.Length {
	case 126:
		f.header.Length = int64(binary.BigEndian.Uint16(rest))
		rest = rest[2:]
	case 127:
		length := binary.BigEndian.Uint64(rest)
		if length>>63 != 0 {
			return &Error{ws.StatusProtocolError, ws.ErrHeaderLengthMSB.Error()}
		}
		f.header.Length = int64(length)
		rest = rest[8:]
	}
	copy(f.header.Mask[:], rest)
	if !f.header.OpCode.IsControl() && f.header.Length > int64(f.Limit-len(f.message)) {
		return &Error{ws.StatusMessageTooBig, "frame is too large"}
	}
	if f.Kept > 0 && !f.header.OpCode.IsControl() && f.header.Length > int64(f.Kept)-int64(len(f.message)) {
		f.dropped, f.message = true, nil
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
