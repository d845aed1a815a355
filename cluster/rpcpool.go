package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A lane keeps traffic that must not wait apart from bulk: each lane to a peer
// has a connection of its own.
type lane byte

const (
	laneControl lane = iota
	laneSubmit
	laneMessage
)

type route struct {
	node string
	lane lane
}

// rpcPool keeps one connection per peer and lane, dialled when first needed.
type rpcPool struct {
	port    *peerPort
	running sync.WaitGroup

	mu     sync.Mutex
	routes map[route]*dialled // nil once closed
}

// dialled is a connection that is there or on its way.
type dialled struct {
	ready  chan struct{} // closed when client or err is set
	client *rpcClient
	err    error
}

func newRPCPool(port *peerPort) *rpcPool {
	return &rpcPool{port: port, routes: make(map[route]*dialled)}
}

// client returns a live connection. All who ask for the same one wait for the
// same dial.
func (p *rpcPool) client(ctx context.Context, node string, l lane) (*rpcClient, error) {
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
		return nil, fmt.Errorf("dial %s: %w", node, ctx.Err())
	}
}

// keep dials, serves the connection until it ends, and forgets it.
func (p *rpcPool) keep(to route, d *dialled) {
	conn, err := p.port.dial(context.Background(), to.node, purposeRPC)
	if err == nil {
		d.client = newRPCClient(conn)
	}
	d.err = err
	if err != nil {
		p.forget(to, d)
	}
	close(d.ready)
	if err != nil {
		return
	}
	d.client.run()
	p.forget(to, d)
}

func (p *rpcPool) forget(to route, d *dialled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.routes[to] == d {
		delete(p.routes, to)
	}
}

// reset ends every connection. Those dialled later are made anew.
func (p *rpcPool) reset() {
	p.mu.Lock()
	routes := p.routes
	if routes != nil {
		p.routes = make(map[route]*dialled)
	}
	p.mu.Unlock()
	endAll(routes, errors.New("connection is made anew"))
}

// close ends every connection and waits. The port must be closed first, which
// also ends dials.
func (p *rpcPool) close() {
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

// call makes one request.
func (p *rpcPool) call(ctx context.Context, node string, l lane, m method, request []byte) ([]byte, error) {
	client, err := p.client(ctx, node, l)
	if err != nil {
		return nil, err
	}
	return client.call(ctx, m, request)
}
