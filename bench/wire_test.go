package bench

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func TestFramesAreReadByOthers(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 1<<16 - 1, 1 << 16, 1<<16 + 1} {
		payload := bytes.Repeat([]byte{'p'}, size)
		encoded := appendFrame([]byte("before"), opText, payload)
		f, err := ws.ReadFrame(bytes.NewReader(encoded[len("before"):]))
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if f.Header.OpCode != ws.OpText || !f.Header.Fin || !f.Header.Masked ||
			!bytes.Equal(ws.UnmaskFrame(f).Payload, payload) {
			t.Errorf("%d bytes: read as %+v", size, f.Header)
		}
	}
}

func TestParseUpgrade(t *testing.T) {
	const good = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + handshakeAccept + "\r\n\r\n"
	for n := range good {
		if used, err := parseUpgrade([]byte(good[:n])); used != 0 || err != nil {
			t.Errorf("%d bytes of it: %d, %v", n, used, err)
		}
	}
	if used, err := parseUpgrade([]byte(good + "more")); used != len(good) || err != nil {
		t.Errorf("all of it: %d, %v", used, err)
	}
	for _, bad := range []string{
		"HTTP/1.1 400 Bad Request\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n",
		strings.Repeat("x", maxHandshake+1),
	} {
		if _, err := parseUpgrade([]byte(bad)); err == nil {
			t.Errorf("%.40q was taken", bad)
		}
	}
}

// FuzzParseFrame holds the parser against another reader, and against itself
// with less.
func FuzzParseFrame(f *testing.F) {
	f.Add([]byte("\x81\x02hi"))
	f.Add([]byte("\x82\x7e\x00\x80" + strings.Repeat("x", 128)))
	f.Add([]byte("\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01x"))
	f.Add([]byte("\x88\x02\x03\xe8"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, used, err := parseFrame(b)
		if err != nil || used == 0 {
			return
		}
		want, err := ws.ReadFrame(io.LimitReader(bytes.NewReader(b), int64(len(b))))
		if err != nil {
			t.Fatalf("another reader says %v", err)
		}
		if byte(want.Header.OpCode) != got.opcode || want.Header.Fin != got.final || !bytes.Equal(want.Payload, got.payload) {
			t.Fatalf("read as %+v, by another as %+v", got, want)
		}
		if _, n, err := parseFrame(b[:used-1]); n != 0 || err != nil {
			t.Fatalf("with a byte less: %d, %v", n, err)
		}
	})
}
