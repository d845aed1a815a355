package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
)

// flippingListener inverts one bit of what arrives over all its connections.
type flippingListener struct {
	net.Listener
	after atomic.Int64 // Bytes to let through first; below 0 once it is done
}

func (l *flippingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &flippingConn{conn, l}, nil
}

type flippingConn struct {
	net.Conn
	listener *flippingListener
}

func (c *flippingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	left := c.listener.after.Add(-int64(n))
	if left < 0 && left+int64(n) >= 0 && n > 0 {
		b[n-1] ^= 1
	}
	return n, err
}

func TestABitThatFlipsOnTheWayIsSentAgain(t *testing.T) {
	t.Parallel()
	tc := newTestCluster(t, 3, func(c *Config) {
		c.SnapshotEntries = 50
		c.TrailingBytes = 1
	})
	lagging := tc.follower()
	lagging.kill(t)
	leader := tc.leader()
	const commands, size = 200, 2000
	for i := range commands {
		if r := leader.Apply(within(t), fmt.Appendf(nil, "%d %s", i, bytes.Repeat([]byte("x"), size))); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	eventually(t, func() error {
		for _, node := range tc.running() {
			if first, err := node.logs.FirstIndex(); err != nil || first < commands/2 {
				return errors.Join(err, fmt.Errorf("the log of %s still begins at %d", node.cfg.NodeName, first))
			}
		}
		return nil
	})
	var flipping *flippingListener
	tune := tc.tune
	tc.tune = func(c *Config) {
		tune(c)
		flipping = &flippingListener{Listener: c.PeerListener}
		flipping.after.Store(commands * size / 2) // in the midst of the snapshot
		c.PeerListener = flipping
	}
	tc.start(lagging.cfg.NodeName, 3, lagging.cfg.NodeName)
	tc.ready()
	tc.agree(commands)
	if flipping.after.Load() >= 0 {
		t.Error("no bit was flipped")
	}
}
