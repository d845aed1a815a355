package peer

import (
	"bufio"
	"context"
	"fmt"
	"sync"
)

// Client is one open connection to a peer. Requests are sent in the order
// they are made; answers may come in any.
type Client struct {
	Conn *Conn
	w    *frameWriter

	mu      sync.Mutex
	number  uint64
	waiting map[uint64]func([]byte, error)
	err     error // why the connection ended
}

// NewClient returns the client of an open connection; Run serves it.
func NewClient(conn *Conn) *Client {
	return &Client{Conn: conn, w: newFrameWriter(conn), waiting: make(map[uint64]func([]byte, error))}
}

// Run reads answers until the connection ends.
func (c *Client) Run() {
	var writer sync.WaitGroup
	writer.Go(c.w.run)
	r := bufio.NewReaderSize(c.Conn, 64<<10)
	for {
		f, err := ReadFrame(r)
		if err != nil {
			c.end(fmt.Errorf("connection to %s ended: %w", c.Conn.Peer, err))
			break
		}
		c.mu.Lock()
		done := c.waiting[f.number]
		delete(c.waiting, f.number)
		c.mu.Unlock()
		if done == nil {
			continue // its caller gave up
		}
		if f.kind != 0 {
			done(nil, DecodeError(f.kind, string(f.Payload)))
		} else {
			done(f.Payload, nil)
		}
	}
	writer.Wait()
}

// end fails all requests that wait.
func (c *Client) end(err error) {
	c.w.close(err)
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.err = err
	c.mu.Unlock()
	for _, done := range waiting {
		done(nil, err)
	}
}

// Send makes a request. done is called exactly once from another goroutine,
// unless send returns an error: then nothing was sent.
func (c *Client) Send(m Method, payload []byte, done func([]byte, error)) (number uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return 0, c.err
	}
	c.number++
	if err := c.w.give(frame{number: c.number, kind: byte(m), Payload: payload}); err != nil {
		return 0, err
	}
	c.waiting[c.number] = done
	return c.number, nil
}

// Call makes a request and waits for its answer.
func (c *Client) Call(ctx context.Context, m Method, payload []byte) ([]byte, error) {
	type answer struct {
		payload []byte
		err     error
	}
	answered := make(chan answer, 1)
	number, err := c.Send(m, payload, func(b []byte, err error) { answered <- answer{b, err} })
	if err != nil {
		return nil, err
	}
	select {
	case a := <-answered:
		return a.payload, a.err
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, number)
		c.mu.Unlock()
		return nil, fmt.Errorf("wait for %s: %w", c.Conn.Peer, ctx.Err())
	}
}
