package websocket

import (
	"bytes"
	"strconv"
	"strings"
)

// RequestChecker follows the requests of one connection byte by byte, before net/http
// reads them. It is stricter than net/http: where a proxy in front might see the end of a
// request elsewhere, it finds the request malformed (RFC 9112 section 11.2). Each request
// is judged as the first one of a connection is.
type RequestChecker struct {
	state checkState
	head  HeadReader
	most  int    // bytes of a head
	left  int64  // bytes of the body, or of its chunk
	line  []byte // of a chunked body, so far
}

type checkState uint8

const (
	inHead checkState = iota
	inBody
	inChunkSize
	inChunk
	inChunkEnd
	inTrailer
	inWebSocket // what follows is no request
)

// maxChunkLine bounds a line of a chunked body that is none of its data.
const maxChunkLine = 1 << 10

// NewRequestChecker returns a checker for heads of at most so many bytes.
func NewRequestChecker(most int) *RequestChecker {
	return &RequestChecker{most: most, head: HeadReader{Limit: most}}
}

// Check takes what has come, and returns how much of it may be read, and why no more.
func (c *RequestChecker) Check(p []byte) (n int, malformed *HandshakeError) {
	for n < len(p) {
		if c.state == inWebSocket {
			return len(p), nil
		}
		took, err := c.step(p[n:])
		if err != nil {
			return n, err
		}
		n += took
	}
	return n, nil
}

// step takes at least one byte, and at most the rest of what the state is about.
func (c *RequestChecker) step(p []byte) (took int, err *HandshakeError) {
	switch c.state {
	case inHead:
		sent, end, err := c.head.Next(p)
		if err != nil || end == 0 {
			return len(p), err
		}
		took = len(p) - (len(sent) - end)
		err = c.headEnds(sent[:end])
		c.head = HeadReader{Limit: c.most}
		return took, err
	case inBody, inChunk:
		took = int(min(c.left, int64(len(p))))
		if c.left -= int64(took); c.left == 0 {
			c.state = map[checkState]checkState{inBody: inHead, inChunk: inChunkEnd}[c.state]
		}
		return took, nil
	}
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		end = len(p) - 1
	}
	if c.line = append(c.line, p[:end+1]...); len(c.line) > maxChunkLine {
		return 0, Malformed("line of a chunked body is too long")
	}
	if p[end] != '\n' {
		return end + 1, nil
	}
	line, crlf := bytes.CutSuffix(c.line, []byte("\r\n"))
	if !crlf {
		return 0, Malformed("line of a chunked body does not end in CRLF")
	}
	err = c.chunkLineEnds(line)
	c.line = c.line[:0]
	return end + 1, err
}

// headEnds finds out what follows a head.
func (c *RequestChecker) headEnds(head []byte) *HandshakeError {
	var lengths, codings []string
	first, rest, _ := strings.Cut(string(head), "\r\n")
	for line := range strings.SplitSeq(rest, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "content-length":
			lengths = append(lengths, value)
		case "transfer-encoding":
			codings = append(codings, value)
		case "upgrade":
			if NamesWebSocket(value) {
				c.state = inWebSocket
			}
		}
	}
	switch {
	case len(lengths) > 0 && len(codings) > 0:
		return Malformed("both Content-Length and Transfer-Encoding")
	case len(lengths) > 1 || len(codings) > 1:
		return Malformed("repeated Content-Length or Transfer-Encoding")
	case c.state == inWebSocket:
		return nil
	case len(codings) == 1 && !strings.HasSuffix(first, " HTTP/1.1"):
		return Malformed("Transfer-Encoding in another version than HTTP/1.1")
	case len(codings) == 1:
		if c.state = inChunkSize; !strings.EqualFold(codings[0], "chunked") {
			return Malformed("Transfer-Encoding is not chunked")
		}
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil {
			return Malformed("Content-Length is not a number")
		}
		if c.left = int64(n); n > 0 {
			c.state = inBody
		}
	}
	return nil
}

// chunkLineEnds finds out what follows a line of a chunked body (RFC 9112 section 7.1).
func (c *RequestChecker) chunkLineEnds(line []byte) *HandshakeError {
	switch c.state {
	case inChunkSize:
		text, extension, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(text, 16, 63)
		if err != nil || strings.ContainsFunc(extension, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return Malformed("size of a chunk is not a number")
		}
		if c.left, c.state = int64(n), inChunk; n == 0 {
			c.state = inTrailer
		}
	case inChunkEnd:
		if c.state = inChunkSize; len(line) > 0 {
			return Malformed("chunk is longer than its size")
		}
	case inTrailer:
		if len(line) > 0 {
			return CheckHeaderLine(line)
		}
		c.state = inHead
	}
	return nil
}

// NamesWebSocket reports whether a value of Upgrade may be one that is followed. A request
// with one is the last of its connection, unless it becomes a WebSocket.
func NamesWebSocket(upgrade string) bool {
	return strings.Contains(strings.ToLower(upgrade), "websocket")
}
