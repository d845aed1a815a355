package cluster

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// raftStream is the peer port as Raft's transport sees it. A Raft address is a
// node id. Every dial looks up the address of that node and checks which node answers.
type raftStream struct{ port *peer.Port }

var _ raft.StreamLayer = (*raftStream)(nil)

func (s *raftStream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.port.Raft:
		return conn, nil
	case <-s.port.Stopped.Done():
		return nil, net.ErrClosed
	}
}

func (s *raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := s.port.Dial(ctx, string(address), peer.PurposeRaft)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Close leaves the port open: it belongs to the Cluster.
func (s *raftStream) Close() error { return nil }

func (s *raftStream) Addr() net.Addr { return nodeAddr(s.port.Self.String()) }

// nodeAddr is a node id where an address is wanted.
type nodeAddr string

func (nodeAddr) Network() string  { return "aptlyd" }
func (a nodeAddr) String() string { return string(a) }
