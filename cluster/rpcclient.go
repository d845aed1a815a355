package cluster

import (
	"bufio"
	"context"
	"fmt"
	"sync"
)

// rpcClient is one open connection to a peer. Requests are sent in the order
// they are made; answers may come in any.
type rpcClient struct {
	conn *peerConn
	w    *frameWriter

	mu      sync.Mutex
	number  uint64
	waiting map[uint64]func([]byte, error)
	err     error // why the connection ended
}

func newRPCClient(conn *peerConn) *rpcClient {
	return &rpcClient{conn: conn, w: newFrameWriter(conn), waiting: make(map[uint64]func([]byte, error))}
}

// run reads answers until the connection ends.
func (c *rpcClient) run() {
	var writer sync.WaitGroup
	writer.Go(c.w.run)
	r := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		f, err := readFrame(r)
		if err != nil {
			c.end(fmt.Errorf("connection to %s ended: %w", c.conn.peer, err))
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
			done(nil, decodeError(f.kind, string(f.payload)))
		} else {
			done(f.payload, nil)
		}
	}
	writer.Wait()
}

// Finish fails everything that waits.
func (c *rpcClient) end(err error) {
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

// send makes a request. done is called exactly once from another goroutine,
// unless send returns an error: then nothing was sent.
func (c *rpcClient) send(m method, payload []byte, done func([]byte, error)) (number uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return 0, c.err
	}
	c.number++
	if err := c.w.give(frame{number: c.number, kind: byte(m), payload: payload}); err != nil {
		return 0, err
	}
	c.waiting[c.number] = done
	return c.number, nil
}

// call makes a request and waits for its answer.
func (c *rpcClient) call(ctx context.Context, m method, payload []byte) ([]byte, error) {
	type answer struct {
		payload []byte
		err     error
	}
	answered := make(chan answer, 1)
	number, err := c.send(m, payload, func(b []byte, err error) { answered <- answer{b, err} })
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
		return nil, fmt.Errorf("wait for %s: %w", c.conn.peer, ctx.Err())
	}
}
