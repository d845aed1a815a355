package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// events feeds data in pieces of the sizes that cut says (the last one again
// and again; none means all at once) and returns what came of it, as text.
func events(data []byte, cut []byte, limit int) []string {
	f := Reader{Limit: limit}
	var out []string
	data = bytes.Clone(data) // it is unmasked in place
	for i := 0; len(data) > 0; i++ {
		n := len(data)
		if len(cut) > 0 {
			n = min(n, int(cut[min(i, len(cut)-1)])+1)
		}
		piece := data[:n]
		data = data[n:]
		for len(piece) > 0 {
			event, payload, took, err := f.Next(piece)
			var broken *Error
			switch {
			case errors.As(err, &broken):
				return append(out, fmt.Sprint("error ", broken.Code))
			case event != None && event != Fragment:
				out = append(out, fmt.Sprintf("%d %q", event, payload))
			}
			piece = piece[took:]
		}
	}
	if f.Midway() {
		out = append(out, "midway")
	}
	return out
}

func TestFrameReader(t *testing.T) {
	text := func(fin bool, s string) string { return string(masked(ws.OpText, fin, []byte(s))) }
	more := func(fin bool, s string) string { return string(masked(ws.OpContinuation, fin, []byte(s))) }
	ping := string(masked(ws.OpPing, true, []byte("p")))
	closing := func(code int, reason string) string {
		return string(masked(ws.OpClose, true, ws.NewCloseFrameBody(ws.StatusCode(code), reason)))
	}
	long := strings.Repeat("x", 70000)
	for name, c := range map[string]struct {
		bytes string
		want  string
	}{
		"text":                     {text(true, "hi"), `1 "hi"`},
		"empty":                    {text(true, ""), `1 ""`},
		"two":                      {text(true, "a") + text(true, "b"), `1 "a"|1 "b"`},
		"fragments":                {text(false, "a") + more(false, "b") + more(true, "c"), `1 "abc"`},
		"ping between":             {text(false, "a") + ping + more(true, "c"), `2 "p"|1 "ac"`},
		"16-bit length":            {text(true, long[:300]), fmt.Sprintf("1 %q", long[:300])},
		"64-bit length":            {text(true, long), fmt.Sprintf("1 %q", long)},
		"empty fragments":          {text(false, "") + strings.Repeat(more(false, ""), 100) + more(true, ""), `1 ""`},
		"UTF-8 over fragments":     {text(false, "\xc3") + more(true, "\xa9"), `1 "é"`},
		"bad UTF-8":                {text(true, "\xff"), "error 1007"},
		"bad UTF-8 over fragments": {text(false, "\xc3") + more(true, "("), "error 1007"},
		"surrogate":                {text(true, "\xed\xa0\x80"), "error 1007"},
		"half":                     {text(true, "hello")[:8], "midway"},
		"half a message":           {text(false, "hello"), "midway"},
		"binary":                   {string(masked(ws.OpBinary, true, nil)), "error 1003"},
		"unmasked":                 {string(ws.MustCompileFrame(ws.NewTextFrame([]byte("hi")))), "error 1002"},
		"reserved bit":             {"\xc1\x80", "error 1002"},
		"reserved opcode":          {"\x83\x80", "error 1002"},
		"lone continuation":        {more(true, "x"), "error 1002"},
		"text inside a message":    {text(false, "a") + text(true, "b"), "error 1002"},
		"fragmented ping":          {"\x09\x80", "error 1002"},
		"long ping":                {"\x89\xfe", "error 1002"},
		"length over 2^63":         {"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00abcd", "error 1002"},
		"length 2^63-1":            {"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd", "error 1009"},
		"too large":                {text(true, long+long), "error 1009"},
		"too large in fragments":   {text(false, long) + more(true, long), "error 1009"},
		"close":                    {closing(1000, "bye"), `4 "\x03\xe8bye"`},
		"close without code":       {string(masked(ws.OpClose, true, nil)), `4 ""`},
		"close with our own codes": {
			closing(1012, "") + closing(1013, "") + closing(4008, ""),
			`4 "\x03\xf4"|4 "\x03\xf5"|4 "\x0f\xa8"`,
		},
		"close with half a code":     {string(masked(ws.OpClose, true, []byte{3})), "error 1002"},
		"close with code 999":        {closing(999, ""), "error 1002"},
		"close with code 1005":       {closing(1005, ""), "error 1002"},
		"close with code 2000":       {closing(2000, ""), "error 1002"},
		"close with code 5000":       {closing(5000, ""), "error 1002"},
		"close with a broken reason": {closing(1000, "\xff"), "error 1007"},
	} {
		for _, cut := range [][]byte{nil, {0}, {1, 2, 3}, {6}} {
			if got := strings.Join(events([]byte(c.bytes), cut, 100_000), "|"); got != c.want {
				t.Errorf("%s, cut by %v: got %.80s, want %.80s", name, cut, got, c.want)
			}
		}
	}
}

// However a stream is cut, it gives the same events; and where gobwas's own
// reader takes a stream, this one finds the same messages in it.
func FuzzFrameReader(f *testing.F) {
	f.Add(append(masked(ws.OpText, false, []byte("a")), masked(ws.OpContinuation, true, []byte("b"))...), []byte{3})
	f.Add(append(masked(ws.OpPing, true, []byte("p")), masked(ws.OpText, true, bytes.Repeat([]byte("x"), 300))...),
		[]byte{0, 7})
	f.Add(masked(ws.OpClose, true, ws.NewCloseFrameBody(1000, "bye")), []byte{})
	f.Fuzz(func(t *testing.T, data, cut []byte) {
		const limit = 1 << 10
		whole := events(data, nil, limit)
		if pieces := events(data, cut, limit); strings.Join(whole, "|") != strings.Join(pieces, "|") {
			t.Fatalf("%x: at once %q, in pieces %q", data, whole, pieces)
		}
		if want, ok := reference(data, limit); ok && strings.Join(whole, "|") != strings.Join(want, "|") {
			t.Fatalf("%x: got %q, want %q", data, whole, want)
		}
	})
}

// reference reads data with gobwas's reader. It is not ok where the stream
// breaks a rule, other than by ending early.
func reference(data []byte, limit int64) (out []string, ok bool) {
	in := bytes.NewReader(data)
	state := ws.StateServerSide
	var message []byte
	for {
		if in.Len() == 0 {
			if state.Fragmented() {
				out = append(out, "midway")
			}
			return out, true
		}
		head, err := ws.ReadHeader(in)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, false
		}
		if err != nil || ws.CheckHeader(head, state) != nil || head.OpCode == ws.OpBinary || head.Length > limit {
			return nil, false
		}
		payload := make([]byte, head.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			return append(out, "midway"), true
		}
		ws.Cipher(payload, head.Mask, 0)
		switch head.OpCode {
		case ws.OpPing:
			out = append(out, fmt.Sprintf("%d %q", Ping, payload))
		case ws.OpPong:
			out = append(out, fmt.Sprintf("%d %q", Pong, payload))
		case ws.OpClose:
			// gobwas takes codes that RFC 6455 section 7.4.2 does not know.
			code, reason := ws.ParseCloseFrameData(payload)
			if len(payload) > 0 && (code > 4999 || ws.CheckCloseFrameData(code, reason) != nil) {
				return nil, false
			}
			out = append(out, fmt.Sprintf("%d %q", Close, payload))
		default:
			if message = append(message, payload...); int64(len(message)) > limit {
				return nil, false
			}
			if !head.Fin {
				state = state.Set(ws.StateFragmented)
				continue
			}
			if !utf8.Valid(message) {
				return nil, false
			}
			out = append(out, fmt.Sprintf("%d %q", Text, message))
			state, message = state.Clear(ws.StateFragmented), nil
		}
	}
}

func TestServerFrameLengths(t *testing.T) {
	for _, size := range []int{0, 125, 126, 1<<16 - 1, 1 << 16} {
		buf, mark := BeginFrame([]byte("before"))
		buf = EndFrame(append(buf, strings.Repeat("x", size)...), mark)
		in := bytes.NewReader(buf[len("before"):])
		head, err := ws.ReadHeader(in)
		if err != nil || head.Length != int64(size) || in.Len() != size || head.OpCode != ws.OpText || !head.Fin ||
			head.Masked {
			t.Errorf("%d bytes: %+v, %v, %d left", size, head, err, in.Len())
		}
	}
}

// masked returns a frame as a client sends it.
func masked(op ws.OpCode, fin bool, payload []byte) []byte {
	return ws.MustCompileFrame(ws.MaskFrameWith(ws.NewFrame(op, fin, payload), [4]byte{1, 2, 3, 4}))
}

// Of a message that is longer than what is kept, nothing is.
func TestLongMessageIsNotKept(t *testing.T) {
	r := Reader{Limit: 1 << 20, Kept: 8 << 10}
	whole := masked(ws.OpText, true, make([]byte, 60<<10))
	for piece := range slices.Chunk(whole, 4<<10) {
		event := None
		for len(piece) > 0 {
			var n int
			var err error
			if event, _, n, err = r.Next(piece); err != nil {
				t.Fatal(err)
			}
			piece = piece[n:]
		}
		if len(r.message) > 0 || cap(r.message) > 8<<10 {
			t.Fatalf("%d bytes are kept", cap(r.message))
		}
		if r.Midway() != (event == None) {
			t.Fatalf("event %d, midway %v", event, r.Midway())
		}
	}
	if r.Midway() {
		t.Error("the message has not ended")
	}
}
