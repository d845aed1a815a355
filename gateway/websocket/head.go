package websocket

import (
	"bytes"
	"net/http"
	"strings"
	"unicode/utf8"
)

// HeadReader gathers the head of a client's first request: the request line and the
// header lines, with the empty line (RFC 9112 sections 2 and 5). It judges lines one by
// one in their order, so that the outcome is the same however the bytes are cut. It is
// stricter than net/http, which must never read a request otherwise.
type HeadReader struct {
	Limit int    // bytes of a head
	kept  []byte // come so far
	line  int    // where in kept the line begins that is not complete
	lines int    // complete so far
}

// maxHeaderLines bounds how many header lines a first request may have.
const maxHeaderLines = 64

// Next takes the bytes that have come since the last call. Once the head is complete it
// returns everything sent, and where the head ends in it. Before that the end is 0. The
// result may point into p.
func (h *HeadReader) Next(p []byte) (sent []byte, end int, err *HandshakeError) {
	all := p
	if len(h.kept) > 0 {
		h.kept = append(h.kept, p...)
		all = h.kept
	}
	for {
		i := bytes.IndexByte(all[h.line:], '\n')
		end = h.line + i + 1
		if i < 0 && len(all) >= h.Limit || end > h.Limit {
			return nil, 0, HeadTooLarge(h.Limit)
		}
		if i < 0 {
			if len(h.kept) == 0 {
				h.kept = bytes.Clone(p)
			}
			return nil, 0, nil
		}
		line, crlf := bytes.CutSuffix(all[h.line:end], []byte("\r\n"))
		switch {
		case !crlf:
			return nil, 0, Malformed("line does not end in CRLF")
		case h.lines == 0:
			err = checkRequestLine(line)
		case len(line) == 0:
			return all, end, nil
		case h.lines > maxHeaderLines:
			err = &HandshakeError{http.StatusRequestHeaderFieldsTooLarge, "too many headers"}
		default:
			err = CheckHeaderLine(line)
		}
		if err != nil {
			return nil, 0, err
		}
		h.line = end
		h.lines++
	}
}

func checkRequestLine(line []byte) *HandshakeError {
	// Browsers escape text outside of ASCII. Other clients need not.
	for _, b := range line {
		if b < ' ' || b == 0x7f {
			return Malformed("control character in the request line")
		}
	}
	if !utf8.Valid(line) {
		return Malformed("request line is not valid UTF-8")
	}
	parts := bytes.Split(line, []byte(" "))
	if len(parts) != 3 || !IsToken(parts[0]) || len(parts[1]) == 0 || !bytes.HasPrefix(parts[2], []byte("HTTP/")) {
		return Malformed("malformed request line")
	}
	return nil
}

// CheckHeaderLine returns what is wrong with a line of a header, without its CRLF.
func CheckHeaderLine(line []byte) *HandshakeError {
	if line[0] == ' ' || line[0] == '\t' {
		return Malformed("folded header")
	}
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found || !IsToken(name) {
		return Malformed("malformed header name")
	}
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return Malformed("control character in a header")
		}
	}
	return nil
}

// IsToken reports whether text is a token of RFC 9110 section 5.6.2.
func IsToken(text []byte) bool {
	for _, b := range text {
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && !(b >= '0' && b <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", b) < 0 {
			return false
		}
	}
	return len(text) > 0
}
