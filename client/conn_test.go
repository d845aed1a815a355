package client

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/gobwas/ws"
)

// serveOnce answers one WebSocket handshake with frames in the same write, then
// closes. It returns its address.
func serveOnce(t *testing.T, frames []byte) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		socket, err := listener.Accept()
		if err != nil {
			return
		}
		defer socket.Close()
		request, err := http.ReadRequest(bufio.NewReader(socket))
		if err != nil {
			return
		}
		sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		answer := fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\n\r\n",
			base64.StdEncoding.EncodeToString(sum[:]))
		_, _ = socket.Write(append(answer, frames...)) // a client that has gone is the test's own to notice
	}()
	return listener.Addr().String()
}

func TestAppendFrameIsWhatAServerReads(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 200000} {
		payload := bytes.Repeat([]byte("x"), size)
		wire := bytes.NewReader(appendFrame([]byte{}, ws.OpText, payload))
		f, err := ws.ReadFrame(wire)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if !f.Header.Masked || !f.Header.Fin || wire.Len() != 0 {
			t.Errorf("size %d: header %+v, %d bytes left over", size, f.Header, wire.Len())
		}
		if got := ws.UnmaskFrame(f).Payload; !bytes.Equal(got, payload) {
			t.Errorf("size %d: the payload changed", size)
		}
	}
}

func TestBrokenFramesAreRefused(t *testing.T) {
	for name, wire := range map[string][]byte{
		"masked":                  {0x81, 0x81, 1, 2, 3, 4, 'x'},
		"reserved bits":           {0xc1, 0x01, 'x'},
		"binary":                  {0x82, 0x01, 'x'},
		"continuation of nothing": {0x80, 0x01, 'x'},
		"text within a message":   {0x01, 0x01, 'x', 0x81, 0x01, 'y'},
		"fragmented ping":         {0x09, 0x00},
		"too long":                {0x81, 0x7f, 0, 0, 0, 0, 0xff, 0, 0, 0},
		"cut short":               {0x81, 0x05, 'x'},
	} {
		if text, err := readerOf(wire).next(); err == nil {
			t.Errorf("%s: got %q", name, text)
		}
	}
}

func readerOf(wire []byte) *conn {
	return &conn{
		timing: &quick,
		reader: bufio.NewReader(bytes.NewReader(wire)),
		wake:   make(chan struct{}, 1),
	}
}

func FuzzConnNext(f *testing.F) {
	f.Add([]byte{0x81, 0x02, '{', '}'})
	f.Add([]byte{0x01, 0x01, '{', 0x89, 0x00, 0x80, 0x01, '}'})
	f.Add([]byte{0x88, 0x02, 0x03, 0xe8})
	f.Fuzz(func(t *testing.T, wire []byte) {
		c := readerOf(wire)
		total := 0
		for {
			text, err := c.next()
			if err != nil {
				return
			}
			if total += len(text); total > len(wire) {
				t.Fatalf("%d bytes of messages out of %d bytes of frames", total, len(wire))
			}
		}
	})
}
