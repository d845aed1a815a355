package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
)

// The client's end of a WebSocket (RFC 6455), as far as a swarm needs it.

// WebSocket opcodes (RFC 6455, section 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// The key and its answer are those of RFC 6455, section 1.3: it shows that the
// server speaks WebSocket and need not be a secret.
const (
	handshakeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	handshakeAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// maxHandshake bounds the server's answer to an upgrade.
const maxHandshake = 8 << 10

func appendUpgrade(dst []byte, path, host string) []byte {
	return fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, host, handshakeKey)
}

// parseUpgrade reads the answer to an upgrade. It returns 0 when more is needed.
func parseUpgrade(b []byte) (used int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > maxHandshake {
			return 0, errors.New("upgrade: the answer's header is too long")
		}
		return 0, nil
	}
	header := b[:end]
	status, _, _ := bytes.Cut(header, []byte("\r\n"))
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 101 ")) {
		return 0, fmt.Errorf("upgrade: the server answers %q, not %d", status, http.StatusSwitchingProtocols)
	}
	if !bytes.Contains(header, []byte(handshakeAccept)) {
		return 0, errors.New("upgrade: the server's accept key is wrong")
	}
	return end + 4, nil
}

// appendFrame appends a whole client frame. It is masked with zero, which any
// server must take and which costs us nothing.
func appendFrame(dst []byte, opcode byte, payload []byte) []byte {
	const final, masked = 0x80, 0x80
	dst = append(dst, final|opcode)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n < 1<<16:
		dst = append(dst, masked|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, masked|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	dst = append(dst, 0, 0, 0, 0)
	return append(dst, payload...)
}

// frame is one frame of a server.
type frame struct {
	opcode  byte
	final   bool
	payload []byte
}

// maxFrame is the longest frame that a swarm takes.
const maxFrame = 64 << 20

// parseFrame reads the frame at the start of b. It returns 0 when more is needed.
func parseFrame(b []byte) (f frame, used int, err error) {
	if len(b) < 2 {
		return frame{}, 0, nil
	}
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return frame{}, 0, fmt.Errorf("frame: header %#x %#x has reserved bits or a mask", b[0], b[1])
	}
	at, length := 2, uint64(b[1])
	switch length {
	case 126:
		if len(b) < 4 {
			return frame{}, 0, nil
		}
		at, length = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if len(b) < 10 {
			return frame{}, 0, nil
		}
		at, length = 10, binary.BigEndian.Uint64(b[2:])
	}
	if length > maxFrame {
		return frame{}, 0, fmt.Errorf("frame: %d bytes are too many", length)
	}
	if uint64(len(b)-at) < length {
		return frame{}, 0, nil
	}
	used = at + int(length)
	return frame{opcode: b[0] & 0xf, final: b[0]&0x80 != 0, payload: b[at:used]}, used, nil
}

// closeReason returns why a server closed, from the payload of its close frame.
func closeReason(payload []byte) error {
	if len(payload) < 2 {
		return errors.New("closed by the server without a code")
	}
	return fmt.Errorf("closed by the server with %d %s", binary.BigEndian.Uint16(payload), payload[2:])
}
