package websocket

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

// FuzzRequestChecker compares with net/http: what the checker lets pass, net/http reads
// with the same borders, and cuts change nothing.
func FuzzRequestChecker(f *testing.F) {
	for _, text := range []string{
		keptAlive, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" + keptAlive,
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + keptAlive,
		"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(text), 7)
	}
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		whole := NewRequestChecker(4096)
		_, wrong := whole.Check(text)
		parts := NewRequestChecker(4096)
		cut = min(max(cut, 0), len(text))
		_, first := parts.Check(text[:cut])
		if first == nil {
			_, first = parts.Check(text[cut:])
		}
		if (wrong == nil) != (first == nil) || wrong == nil && whole.state != parts.state {
			t.Fatalf("whole %v, %d; in parts %v, %d", wrong, whole.state, first, parts.state)
		}
		if wrong != nil || whole.state != inHead || len(text) == 0 {
			return
		}
		// Only whole requests, or the beginning of a head.
		in := bufio.NewReader(bytes.NewReader(text))
		check := NewRequestChecker(4096)
		for at := 0; ; {
			request, err := http.ReadRequest(in)
			if err != nil {
				return // net/http may refuse more
			}
			if _, err := io.Copy(io.Discard, request.Body); err != nil {
				return
			}
			end := len(text) - in.Buffered()
			if in.Buffered() == 0 && end != len(text) {
				return
			}
			if _, wrong := check.Check(text[at:end]); wrong != nil || check.state != inHead {
				t.Fatalf("net/http sees the end of a request at %d, the checker does not: %v", end, wrong)
			}
			if at = end; at == len(text) {
				return
			}
		}
	})
}

const keptAlive = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
