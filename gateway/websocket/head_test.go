package websocket

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// readHead feeds text to a HeadReader in pieces of n bytes.
func readHead(text []byte, n int) (sent []byte, end int, err *HandshakeError) {
	h := HeadReader{Limit: 8 << 10}
	for len(text) > 0 && end == 0 && err == nil {
		piece := text[:min(n, len(text))]
		text = text[len(piece):]
		sent, end, err = h.Next(piece)
	}
	return sent, end, err
}

func TestHeadReader(t *testing.T) {
	filler := func(n int) string { return "X: " + strings.Repeat("x", n-5) + "\r\n" }
	const first = "GET / HTTP/1.1\r\n"
	for name, c := range map[string]struct {
		text   string
		status int // 0: let pass
	}{
		"plain":                {first + "Host: x\r\n\r\n", 0},
		"no headers":           {first + "\r\n", 0},
		"8 KiB":                {first + filler(8192-len(first)-2) + "\r\n", 0},
		"8 KiB and a byte":     {first + filler(8192-len(first)-1) + "\r\n", 431},
		"8 KiB without an end": {first + "X: " + strings.Repeat("x", 8192), 431},
		"64 headers":           {first + strings.Repeat("X: y\r\n", 64) + "\r\n", 0},
		"65 headers":           {first + strings.Repeat("X: y\r\n", 65) + "\r\n", 431},
		"bare line feed":       {"GET / HTTP/1.1\nHost: x\r\n\r\n", 400},
		"empty first line":     {"\r\n" + first + "\r\n", 400},
		"space before colon":   {first + "Host : x\r\n\r\n", 400},
		"folded":               {first + "X: y\r\n z\r\n\r\n", 400},
		"no colon":             {first + "Host\r\n\r\n", 400},
		"no name":              {first + ": x\r\n\r\n", 400},
		"carriage return":      {first + "X: a\rb\r\n\r\n", 400},
		"NUL":                  {first + "X: a\x00b\r\n\r\n", 400},
		"two spaces":           {"GET  / HTTP/1.1\r\n\r\n", 400},
		"tab":                  {"GET\t/ HTTP/1.1\r\n\r\n", 400},
		"TLS":                  {"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400},
	} {
		for _, n := range []int{1, 7, len(c.text)} {
			sent, end, err := readHead([]byte(c.text), n)
			switch {
			case c.status == 0 && (err != nil || end != len(c.text) || string(sent) != c.text):
				t.Errorf("%s, in pieces of %d: end %d, %v", name, n, end, err)
			case c.status != 0 && (err == nil || err.Status != c.status):
				t.Errorf("%s, in pieces of %d: got %v, want %d", name, n, err, c.status)
			}
		}
	}
}

const validHead = "GET /realtime HTTP/1.1\r\nHost: broker.example.com\r\n" +
	"Upgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

func TestParseUpgrade(t *testing.T) {
	u, clean := ParseUpgrade(validHead + "Origin: https://a.example\r\nx-forwarded-FOR: 1.2.3.4\r\n\r\n")
	if !clean || u.Host != "broker.example.com" || u.Origin != "https://a.example" ||
		u.Key != "dGhlIHNhbXBsZSBub25jZQ==" ||
		!slices.Equal(u.ForwardedFor, []string{"1.2.3.4"}) {
		t.Errorf("got %+v, %v", u, clean)
	}
	for name, head := range map[string]string{
		"other path":    strings.Replace(validHead, "/realtime", "/other", 1),
		"absolute form": strings.Replace(validHead, "/realtime", "http://x/realtime", 1),
		"HTTP/1.0":      strings.Replace(validHead, "HTTP/1.1", "HTTP/1.0", 1),
		"post":          strings.Replace(validHead, "GET", "POST", 1),
		"no host":       strings.Replace(validHead, "Host", "X-Host", 1),
		"odd host":      strings.Replace(validHead, "Host: ", "Host: a/", 1),
		"two hosts":     validHead + "host: y\r\n",
		"two origins":   validHead + "Origin: a\r\nOrigin: a\r\n",
		"body":          validHead + "Content-Length: 0\r\n",
		"chunked":       validHead + "Transfer-Encoding: chunked\r\n",
		"version 8":     strings.Replace(validHead, ": 13", ": 8", 1),
		"no upgrade":    strings.Replace(validHead, "websocket", "h2c", 1),
		"no connection": strings.Replace(validHead, "Connection: Upgrade", "Connection: close", 1),
		"bad key":       strings.Replace(validHead, "dGhl", "dGh=", 1),
	} {
		if _, clean := ParseUpgrade(head + "\r\n"); clean {
			t.Errorf("%s is let in", name)
		}
	}
}

// However a request is cut, the outcome is the same; and what is upgraded is
// what net/http would read as the same request and upgrade.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte(validHead+"Origin: https://a.example\r\n\r\nframe"), 3)
	f.Add([]byte(validHead+"X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nUpgrade: h2c\r\n\r\n"), 1)
	f.Add([]byte("GET / HTTP/1.1\r\nHost : x\r\n y\r\n\r\n"), 2)
	f.Add([]byte("GET / HTTP/1.1\r\nHost:[::1]:80\t\r\nConnection: a, Upgrade\r\nUpgrade:websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key:  dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"), 9)
	f.Fuzz(func(t *testing.T, text []byte, n int) {
		n = max(1, min(n, len(text)))
		sent, end, err := readHead(text, max(len(text), 1))
		cutSent, cutEnd, cutErr := readHead(text, n)
		if end != cutEnd || (err == nil) != (cutErr == nil) || err != nil && *err != *cutErr {
			t.Fatalf("whole: %d, %v; in pieces of %d: %d, %v", end, err, n, cutEnd, cutErr)
		}
		if end == 0 {
			return
		}
		if !bytes.Equal(sent, text) || !bytes.HasPrefix(text, cutSent) || len(cutSent) < end {
			t.Fatalf("%q became %q and %q", text, sent, cutSent)
		}
		u, clean := ParseUpgrade(string(sent[:end]))
		if !clean {
			return
		}
		in := bufio.NewReader(bytes.NewReader(text))
		r, readErr := http.ReadRequest(in)
		if readErr != nil {
			t.Fatalf("net/http: %v", readErr)
		}
		key, refused := CheckHandshake(r)
		if refused != nil || !WantsUpgrade(r) {
			t.Fatalf("net/http refuses: %v", refused)
		}
		if key != u.Key || r.Host != u.Host || r.Header.Get("Origin") != u.Origin ||
			!slices.Equal(r.Header.Values("X-Forwarded-For"), u.ForwardedFor) {
			t.Fatalf("net/http reads %v, not %+v", r, u)
		}
		if rest, _ := io.ReadAll(in); !bytes.Equal(rest, text[end:]) {
			t.Fatalf("net/http leaves %q, not %q", rest, text[end:])
		}
	})
}
