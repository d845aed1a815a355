package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// maxIncoming bounds one message of the server, whose own limit is 1 MiB of
// payload.
const maxIncoming = 8 << 20

// conn is one WebSocket. One goroutine reads; anyone may send; a writer of its
// own puts everything that waits into one write.
type conn struct {
	net    net.Conn
	timing *timing

	// Only the reader touches these.
	reader  *bufio.Reader
	message []byte

	mu      sync.Mutex
	out     []byte // encoded frames that wait for the writer
	pong    []byte // payload of the ping to answer, if any: only the latest counts (RFC 6455 section 5.5.3)
	leaving bool   // out ends with our close frame
	failure error  // why the writer gave up

	wake chan struct{}
	done chan struct{} // closed by close
	once sync.Once
}

// closeError is the server's close frame.
type closeError struct {
	status ws.StatusCode
	reason string
}

func (e *closeError) Error() string {
	return fmt.Sprintf("closed by server: %d %s", e.status, e.reason)
}

// dial opens a WebSocket. The caller runs write in a goroutine and must close
// the conn.
func dial(ctx context.Context, url string, options *Options, timing *timing) (*conn, error) {
	through, err := options.dialThrough(url)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", url, err)
	}
	dialer := ws.Dialer{TLSConfig: options.TLSConfig, NetDial: through}
	if options.Origin != "" {
		dialer.Header = ws.HandshakeHeaderHTTP(http.Header{"Origin": {options.Origin}})
	}
	var answered *statusError
	dialer.OnStatusError = func(status int, _ []byte, answer io.Reader) { answered = newStatusError(status, answer) }
	socket, early, _, err := dialer.Dial(ctx, url)
	if answered != nil {
		err = answered
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", url, hint(err))
	}
	c := &conn{
		net:    socket,
		timing: timing,
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	var source io.Reader = impatient{socket, timing.silence}
	if early != nil {
		// Frames that came in one segment with the handshake's answer.
		ahead, err := early.Peek(early.Buffered())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read first frames: %w", err), socket.Close())
		}
		source = io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), source)
		ws.PutReader(early)
	}
	c.reader = bufio.NewReaderSize(source, 8<<10)
	return c, nil
}

// impatient fails a read when no byte at all comes in time. Time that passes
// between reads does not count: a handler may be as slow as it likes.
type impatient struct {
	net.Conn
	patience time.Duration
}

func (r impatient) Read(p []byte) (int, error) {
	if err := r.SetReadDeadline(time.Now().Add(r.patience)); err != nil {
		return 0, err
	}
	return r.Conn.Read(p)
}

// send queues a text frame.
func (c *conn) send(text []byte) {
	c.mu.Lock()
	c.out = appendFrame(c.out, ws.OpText, text)
	c.mu.Unlock()
	c.signal()
}

// goodbye closes the WebSocket once everything queued before has been written,
// and gives up soon on a server that does not take it.
func (c *conn) goodbye() {
	c.mu.Lock()
	c.out = appendFrame(c.out, ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
	c.leaving = true
	c.mu.Unlock()
	time.AfterFunc(2*c.timing.farewell, c.close)
	c.signal()
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close ends reader and writer. It may be called more than once.
func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		// What the server has not read by now is lost with the connection anyway.
		_ = c.net.Close()
	})
}

// write sends what is queued until the conn is closed. It closes the conn when
// the server takes nothing any more, which ends the reader too.
func (c *conn) write() {
	heartbeat := time.NewTicker(c.timing.heartbeat)
	defer heartbeat.Stop()
	defer c.close()
	var spare []byte
	for {
		select {
		case <-c.done:
			return
		case <-heartbeat.C:
			c.send(encodeHeartbeat(time.Now()))
		case <-c.wake:
		}
		c.mu.Lock()
		batch, last := c.out, c.leaving
		if c.pong != nil {
			batch = appendFrame(batch, ws.OpPong, c.pong)
			c.pong = nil
		}
		c.out = spare[:0]
		c.mu.Unlock()

		if err := c.flush(batch); err != nil {
			c.mu.Lock()
			c.failure = fmt.Errorf("write: %w", err)
			c.mu.Unlock()
			return
		}
		if last {
			// The server answers with its own close frame, which ends the reader.
			select {
			case <-c.done:
			case <-time.After(c.timing.farewell):
			}
			return
		}
		spare = nil
		if cap(batch) <= 64<<10 { // keep an ordinary buffer, not that of a burst
			spare = batch
		}
	}
}

func (c *conn) flush(batch []byte) error {
	if len(batch) == 0 {
		return nil
	}
	if err := c.net.SetWriteDeadline(time.Now().Add(c.timing.write)); err != nil {
		return err
	}
	_, err := c.net.Write(batch)
	return err
}

// next returns the next text message, valid until the following call. Control
// frames are dealt with on the way.
func (c *conn) next() ([]byte, error) {
	c.message = c.message[:0]
	started := false
	for {
		header, err := ws.ReadHeader(c.reader)
		if err != nil {
			return nil, c.reason(err)
		}
		if header.Masked || header.Rsv != 0 {
			return nil, errors.New("read: the server sent a masked frame or reserved bits")
		}
		if header.OpCode.IsControl() {
			if err := c.control(header); err != nil {
				return nil, err
			}
			continue
		}
		if (header.OpCode == ws.OpContinuation) != started || header.OpCode == ws.OpBinary {
			return nil, fmt.Errorf("read: unexpected frame with opcode %#x", header.OpCode)
		}
		started = true
		if header.Length > int64(maxIncoming-len(c.message)) {
			return nil, fmt.Errorf("read: a message is over %d bytes", maxIncoming)
		}
		have := len(c.message)
		c.message = append(c.message, make([]byte, header.Length)...)
		if _, err := io.ReadFull(c.reader, c.message[have:]); err != nil {
			return nil, c.reason(err)
		}
		if header.Fin {
			return c.message, nil
		}
	}
}

func (c *conn) control(header ws.Header) error {
	if header.Length > ws.MaxControlFramePayloadSize || !header.Fin {
		return errors.New("read: the server sent a malformed control frame")
	}
	payload := make([]byte, header.Length)
	if _, err := io.ReadFull(c.reader, payload); err != nil {
		return c.reason(err)
	}
	switch header.OpCode {
	case ws.OpPing:
		c.mu.Lock()
		c.pong = payload
		c.mu.Unlock()
		c.signal()
	case ws.OpClose:
		status, reason := ws.ParseCloseFrameData(payload)
		return &closeError{status, reason}
	}
	return nil
}

// reason returns the writer's error where that is what ended the reader.
func (c *conn) reason(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return c.failure
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("read: the server was silent for %v", c.timing.silence)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the addresses, of which one is new each time
	}
	return fmt.Errorf("read: %w", err)
}

// appendFrame appends one whole frame, masked as a client must (RFC 6455
// section 5.3).
func appendFrame(b []byte, op ws.OpCode, payload []byte) []byte {
	mask := ws.NewMask()
	b = append(b, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127,
			byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32),
			byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	b = append(b, mask[:]...)
	start := len(b)
	b = append(b, payload...)
	ws.Cipher(b[start:], mask, 0)
	return b
}
