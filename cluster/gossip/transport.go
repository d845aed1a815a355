package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/aptlyd/aptlyd/cluster/logbridge"
	"github.com/aptlyd/aptlyd/cluster/peer"
)

// transport is memberlist's transport. memberlist would read up to 20 MiB from
// any number of unauthenticated connections before it decrypts, and answer them; so on the TCP side
// both ends prove themselves first, as on the peer port, and then say which
// cluster they belong to, 16 bytes each: two clusters do not gossip with each
// other. Datagrams are only as good as their key.
type transport struct {
	*memberlist.NetTransport
	preauth *peer.Preauth
	cluster func() uuid.UUID
	logger  *slog.Logger
	refused logbridge.Throttle

	pending peer.PendingConns
	streams chan net.Conn
	stop    context.CancelFunc
	stopped context.Context
	running sync.WaitGroup

	mu      sync.Mutex
	foreign map[string]bool // dialled addresses at which another cluster answers
}

// portTries bounds the search for a port that is free for both protocols, where any
// will do.
const portTries = 10

// openTransport binds host and port, 0 for any.
func openTransport(cfg Config, host string, port int) (*transport, error) {
	tries := 1
	if port == 0 {
		tries = portTries
	}
	var inner *memberlist.NetTransport
	var err error
	for range tries {
		inner, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{host},
			BindPort:  port,
			Logger:    logbridge.Standard(cfg.Logger, "gossip"),
		})
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	g := &transport{
		NetTransport: inner, preauth: cfg.Proof, cluster: cfg.Cluster, logger: cfg.Logger, streams: make(chan net.Conn),
		foreign: make(map[string]bool),
	}
	g.stopped, g.stop = context.WithCancel(context.Background())
	g.running.Go(g.serve)
	return g, nil
}

// serve takes connections until Shutdown.
func (g *transport) serve() {
	for {
		select {
		case conn := <-g.NetTransport.StreamCh():
			g.pending.Enter(conn)
			g.running.Go(func() { g.accept(conn) })
		case <-g.stopped.Done():
			return
		}
	}
}

func (g *transport) accept(raw net.Conn) {
	conn, err := g.acceptHandshake(raw)
	g.pending.Leave(raw)
	if err != nil {
		raw.Close()
		peer.LogRefused(g.logger, &g.refused, "gossip port", raw, err)
		return
	}
	select {
	case g.streams <- conn:
	case <-g.stopped.Done():
		raw.Close()
	}
}

// acceptHandshake performs the acceptor's half of the handshake.
func (g *transport) acceptHandshake(raw net.Conn) (net.Conn, error) {
	if err := raw.SetDeadline(time.Now().Add(peer.HandshakeTimeout)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	conn, err := g.preauth.Accept(g.stopped, raw)
	if err != nil {
		return nil, err
	}
	if err := g.compare(conn); err != nil {
		return nil, err
	}
	return conn, raw.SetDeadline(time.Time{})
}

// compare tells the other end this node's cluster, hears its, and returns
// peer.ErrWrongCluster if they are two.
func (g *transport) compare(conn io.ReadWriter) error {
	own := g.cluster()
	if _, err := conn.Write(own[:]); err != nil {
		return fmt.Errorf("say which cluster: %w", err)
	}
	b, err := peer.ReadExactly(conn, len(own))
	if err != nil {
		return fmt.Errorf("hear which cluster: %w", err)
	}
	if theirs := uuid.UUID(b); theirs != own && theirs != uuid.Nil && own != uuid.Nil {
		return peer.ErrWrongCluster
	}
	return nil
}

// StreamCh returns the connections whose handshake is done.
func (g *transport) StreamCh() <-chan net.Conn { return g.streams }

// DialTimeout connects to a node's gossip port.
func (g *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(g.stopped, timeout)
	defer cancel()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn, err := g.dialHandshake(ctx, raw)
	g.mu.Lock()
	if errors.Is(err, peer.ErrWrongCluster) {
		g.foreign[address] = true
	} else {
		delete(g.foreign, address)
	}
	g.mu.Unlock()
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("gossip with %s: %w", address, err)
	}
	return conn, nil
}

// dialHandshake performs the dialler's half of the handshake.
func (g *transport) dialHandshake(ctx context.Context, raw net.Conn) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	conn, err := g.preauth.Dial(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := g.compare(conn); err != nil {
		return nil, err
	}
	return conn, raw.SetDeadline(time.Time{})
}

// isForeign reports whether another cluster answered at an address when it was
// last dialled.
func (g *transport) isForeign(address string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.foreign[address]
}

// DialAddressTimeout is DialTimeout; names are not needed.
func (g *transport) DialAddressTimeout(address memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.DialTimeout(address.Addr, timeout)
}

// Shutdown closes the port.
func (g *transport) Shutdown() error {
	err := g.NetTransport.Shutdown()
	g.stop()
	g.pending.Close()
	g.running.Wait()
	return err
}

// keyring returns the keys of gossip, the first one to encrypt with.
func keyring(secrets []string) (*memberlist.Keyring, error) {
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		var err error
		if keys[i], err = peer.DeriveKey(secret, "gossip key"); err != nil {
			return nil, err
		}
	}
	ring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return nil, fmt.Errorf("make gossip keys: %w", err)
	}
	return ring, nil
}
