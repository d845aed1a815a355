package torture

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// The parts of RFC 6455 that a client of aptlyd needs.
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa

	final, masked = 0x80, 0x80
)

const (
	dialTimeout  = 3 * time.Second
	writeTimeout = 5 * time.Second
	// silence is how long a connection may be without a byte: the node sends a
	// heartbeat every 25 s.
	silence = 40 * time.Second
)

// socket is one WebSocket connection that never comes back: unlike package
// client it tries nothing twice, and hides nothing.
type socket struct {
	conn   net.Conn
	in     *bufio.Reader
	id     string // of the connection, as the node says
	ponged func(payload []byte)

	mu sync.Mutex // one frame at a time
}

// frame is what a node sends.
type frame struct {
	Type      string          `json:"type"`
	Channel   string          `json:"channel"`
	Data      json.RawMessage `json:"data"`
	Offset    uint64          `json:"offset"`
	Timestamp int64           `json:"timestamp"`
	Replay    bool            `json:"replay"`
	ID        string          `json:"id"`
	Duplicate bool            `json:"duplicate"`
	Error     string          `json:"error"`
	Code      string          `json:"code"`
	Recovered bool            `json:"recovered"`
	From      uint64          `json:"from"`
	To        uint64          `json:"to"`

	ConnectionID string `json:"connectionId"`

	// Of frames about members.
	Sync    *struct{ Last bool } `json:"sync"`
	Members json.RawMessage      `json:"members"`
	Entered []shownMember        `json:"entered"`
	Updated []shownMember        `json:"updated"`
	Left    []struct{ ID, Reason string }
	Count   uint64 `json:"count"`
}

// shownMember is a member as watchers are told of it.
type shownMember struct {
	ID   string `json:"id"`
	Data string `json:"data"`
}

// refused is an error frame in answer to auth, or a close before it.
type refused struct{ code string }

func (r *refused) Error() string { return "refused: " + r.code }

// dial connects to a node and authenticates.
func dial(address, key string) (*socket, error) { return dialInstead(address, key, "") }

// dialInstead is dial for a connection that takes the place of another one.
func dialInstead(address, key, replaces string) (*socket, error) {
	conn, err := net.DialTimeout("tcp", address, dialTimeout)
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	if err := s.greet(address, key, replaces); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

func (s *socket) greet(address, key, replaces string) error {
	if err := s.conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	_, err := fmt.Fprintf(s.conn, "GET /realtime HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n", address, base64.StdEncoding.EncodeToString(nonce[:]))
	if err != nil {
		return err
	}
	answer, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close() // has nothing to close after an upgrade, but a refusal may
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("upgrade: %s", answer.Status)
	}
	auth := map[string]any{"type": "auth", "apiKey": key, "timestamp": time.Now().UnixMilli()}
	if replaces != "" {
		auth["replaces"] = replaces
	}
	if err := s.send(auth); err != nil {
		return err
	}
	for {
		f, err := s.next(dialTimeout)
		switch {
		case err != nil:
			return err
		case f.Type == "error":
			return &refused{f.Code}
		case f.Type == "connected":
			s.id = f.ConnectionID
			return nil
		}
	}
}

// send sends a message.
func (s *socket) send(message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return s.write(opText, text)
}

func (s *socket) write(op byte, payload []byte) error {
	b := []byte{final | op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, masked|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), uint64(n))
	}
	b = append(b, 0, 0, 0, 0) // a mask of zeroes changes nothing
	b = append(b, payload...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// next returns the next message of the node, which may take so long.
func (s *socket) next(patience time.Duration) (frame, error) {
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return frame{}, err
		}
		op, payload, err := s.read()
		switch {
		case err != nil:
			return frame{}, err
		case op == opPing:
			if err := s.write(opPong, payload); err != nil {
				return frame{}, err
			}
		case op == opPong && s.ponged != nil:
			s.ponged(payload)
		case op == opClose:
			code := 0
			if len(payload) >= 2 {
				code = int(binary.BigEndian.Uint16(payload))
			}
			return frame{}, fmt.Errorf("closed by the node with %d", code)
		case op == opText:
			var f frame
			if err := json.Unmarshal(payload, &f); err != nil {
				return frame{}, fmt.Errorf("parse %.200q: %w", payload, err)
			}
			return f, nil
		}
	}
}

func (s *socket) read() (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&final == 0 || head[1]&masked != 0 {
		return 0, nil, fmt.Errorf("frame begins with %x", head)
	}
	length := uint64(head[1])
	var long [8]byte
	switch length {
	case 126:
		_, err = io.ReadFull(s.in, long[6:])
		length = binary.BigEndian.Uint64(long[:])
	case 127:
		_, err = io.ReadFull(s.in, long[:])
		length = binary.BigEndian.Uint64(long[:])
	}
	if err != nil {
		return 0, nil, err
	}
	if length > 1<<20 {
		return 0, nil, fmt.Errorf("frame of %d bytes", length)
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(s.in, payload)
	return head[0] &^ final, payload, err
}

func (s *socket) close() { s.conn.Close() }

// peek is next, but a wait in vain leaves the connection as it was.
func (s *socket) peek(patience time.Duration) (frame, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return frame{}, err
	}
	if _, err := s.in.Peek(1); err != nil {
		return frame{}, err
	}
	return s.next(silence)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
