package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Lane keeps traffic that must not wait apart from bulk. Each lane to a peer has a
// connection of its own.
type Lane byte

// The lanes: questions and changes, batches of commands, and messages.
const (
	LaneControl Lane = iota
	LaneSubmit
	LaneMessage
)

type route struct {
	node string
	lane Lane
}

// Pool keeps one connection per peer and lane, dialled when first needed.
type Pool struct {
	port    *Port
	running sync.WaitGroup

	mu     sync.Mutex
	routes map[route]*dialled // nil once closed
}

// dialled is a connection that is there or on its way.
type dialled struct {
	ready  chan struct{} // closed when client or err is set
	client *Client
	err    error
}

// NewPool returns a pool that dials through port.
func NewPool(port *Port) *Pool {
	return &Pool{port: port, routes: make(map[route]*dialled)}
}

// Client returns a live connection. Callers that ask for the same one wait for the
// same dial.
func (p *Pool) Client(ctx context.Context, node string, l Lane) (*Client, error) {
	to := route{node, l}
	p.mu.Lock()
	if p.routes == nil {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	d := p.routes[to]
	if d == nil {
		d = &dialled{ready: make(chan struct{})}
		p.routes[to] = d
		p.running.Go(func() { p.keep(to, d) })
	}
	p.mu.Unlock()
	select {
	case <-d.ready:
		return d.client, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("dial %s: %w", p.port.nameOf(node), ctx.Err())
	}
}

// keep dials, serves the connection until it ends, and forgets it.
func (p *Pool) keep(to route, d *dialled) {
	conn, err := p.port.Dial(context.Background(), to.node, PurposeRPC)
	if err == nil {
		d.client = NewClient(conn)
	}
	d.err = err
	if err != nil {
		p.forget(to, d)
	}
	close(d.ready)
	if err != nil {
		return
	}
	d.client.Run()
	p.forget(to, d)
}

func (p *Pool) forget(to route, d *dialled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.routes[to] == d {
		delete(p.routes, to)
	}
}

// Reset ends every connection. Those dialled later are made anew.
func (p *Pool) Reset() {
	p.mu.Lock()
	routes := p.routes
	if routes != nil {
		p.routes = make(map[route]*dialled)
	}
	p.mu.Unlock()
	endAll(routes, errors.New("connection is made anew"))
}

// Close ends every connection and waits. The port must be closed first, which
// also ends dials.
func (p *Pool) Close() {
	p.mu.Lock()
	routes := p.routes
	p.routes = nil
	p.mu.Unlock()
	endAll(routes, ErrClosed)
	p.running.Wait()
}

func endAll(routes map[route]*dialled, reason error) {
	for _, d := range routes {
		<-d.ready
		if d.client != nil {
			d.client.w.close(reason)
		}
	}
}

// Call makes one request.
func (p *Pool) Call(ctx context.Context, node string, l Lane, m Method, request []byte) ([]byte, error) {
	client, err := p.Client(ctx, node, l)
	if err != nil {
		return nil, err
	}
	return client.Call(ctx, m, request)
}
