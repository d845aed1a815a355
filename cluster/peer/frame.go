package peer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Requests and answers between nodes are frames:
//
//	0            4                      12
//	+------------+----------------------+------+- - - - -+
//	| length, u32| number of request    | kind | payload |
//	+------------+----------------------+------+- - - - -+
//
// The length counts the bytes after it. In a request kind is the method; in an
// answer it is 0, or the code of the error whose text is the payload.
const (
	FrameHeadBytes = 4 + 8 + 1
	FrameOverhead  = 256 // more than any envelope around a payload
	MaxFrameBytes  = 16 << 20
	// eagerBytes is room for a full batch.
	eagerBytes = 512 << 10
	// maxUnsentBytes bounds what waits for a peer that does not read.
	maxUnsentBytes = 64 << 20
	// flushTimeout bounds one flush; a peer that takes longer counts as gone.
	flushTimeout = 10 * time.Second
)

type frame struct {
	number  uint64
	kind    byte
	Payload []byte
}

// ReadFrame reads the next frame.
func ReadFrame(r io.Reader) (frame, error) {
	var head [FrameHeadBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length < FrameHeadBytes-4 || length > MaxFrameBytes {
		return frame{}, fmt.Errorf("frame of %d bytes is out of bounds", length)
	}
	f := frame{number: binary.BigEndian.Uint64(head[4:]), kind: head[12]}
	// A length costs memory only as far as the bytes arrive.
	size := int(length - (FrameHeadBytes - 4))
	payload := bytes.NewBuffer(make([]byte, 0, min(size, eagerBytes)+bytes.MinRead))
	if _, err := io.CopyN(payload, r, int64(size)); err != nil {
		return frame{}, fmt.Errorf("read frame: %w", err)
	}
	f.Payload = payload.Bytes()
	return f, nil
}

var errUnread = errors.New("peer does not read what it is sent")

// frameWriter sends frames in the order they were given. give never waits: all frames
// that are ready go out in one flush, and meanwhile more gathers.
type frameWriter struct {
	conn net.Conn

	mu      sync.Mutex
	waiting []frame
	unsent  int // bytes
	err     error
	ready   chan struct{}
}

func newFrameWriter(conn net.Conn) *frameWriter {
	return &frameWriter{conn: conn, ready: make(chan struct{}, 1)}
}

// give queues a frame, whose payload then belongs to the writer.
func (w *frameWriter) give(f frame) error {
	if len(f.Payload) > MaxFrameBytes-FrameHeadBytes {
		return ErrTooLarge
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && w.unsent > maxUnsentBytes {
		w.fail(errUnread)
	}
	if w.err != nil {
		return w.err
	}
	w.waiting = append(w.waiting, f)
	w.unsent += len(f.Payload)
	select {
	case w.ready <- struct{}{}:
	default:
	}
	return nil
}

// fail closes the connection for good. w.mu is held.
func (w *frameWriter) fail(err error) {
	if w.err == nil {
		w.err = err
		close(w.ready)
		w.conn.Close()
	}
}

func (w *frameWriter) close(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(err)
}

// run sends until the connection fails or close is called.
func (w *frameWriter) run() {
	out := bufio.NewWriterSize(w.conn, 64<<10)
	var frames []frame
	for range w.ready {
		w.mu.Lock()
		frames, w.waiting = w.waiting, frames[:0]
		w.unsent = 0
		w.mu.Unlock()
		if err := w.flush(out, frames); err != nil {
			w.close(fmt.Errorf("send to peer: %w", err))
		}
		clear(frames)
	}
}

func (w *frameWriter) flush(out *bufio.Writer, frames []frame) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(flushTimeout)); err != nil {
		return err
	}
	var head [FrameHeadBytes]byte
	for _, f := range frames {
		binary.BigEndian.PutUint32(head[:], uint32(FrameHeadBytes-4+len(f.Payload)))
		binary.BigEndian.PutUint64(head[4:], f.number)
		head[12] = f.kind
		if _, err := out.Write(head[:]); err != nil {
			return err
		}
		if _, err := out.Write(f.Payload); err != nil {
			return err
		}
	}
	return out.Flush()
}
