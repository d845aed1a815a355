package cluster

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/cluster/synced"
)

// replication is Raft's transport. After each failed call Raft doubles the time
// for which it leaves a peer alone, up to ten seconds, and nothing shortens it
// when the peer is back. Here a call that failed ends only when the peer answers
// a heartbeat, several of which Raft sends each second all the while, so that an
// absence counts as one failure however long it is. Raft hears that it must stop
// replicating only between calls, so a call also ends in that case.
type replication struct {
	*synced.Transport
	// interval is the pause in which a call that failed looks whether it is still wanted.
	interval time.Duration
	stop     sync.Once
	stopped  chan struct{}
	node     atomic.Pointer[raft.Raft]

	mu sync.Mutex
	// answers has a channel for each peer, closed with the next heartbeat that it answers.
	answers map[raft.ServerID]chan struct{}
}

func newReplication(inner *synced.Transport, cfg Config) *replication {
	return &replication{
		Transport: inner,
		interval:  2 * cfg.ElectionTimeout,
		stopped:   make(chan struct{}),
		answers:   make(map[raft.ServerID]chan struct{}),
	}
}

// serve sets the Raft node of this transport.
func (t *replication) serve(node *raft.Raft) { t.node.Store(node) }

// AppendEntries replicates to a peer, or is a heartbeat.
func (t *replication) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest,
	resp *raft.AppendEntriesResponse,
) error {
	if args.PrevLogEntry == 0 && args.LeaderCommitIndex == 0 && len(args.Entries) == 0 {
		err := t.Transport.AppendEntries(id, target, args, resp)
		if err == nil {
			t.beat(id)
		}
		return err
	}
	args.Entries = upTo(maxAppendBytes, args.Entries) // Raft goes on behind the last of args
	answered := t.answered(id)
	err := t.Transport.AppendEntries(id, target, args, resp)
	if err != nil {
		t.await(id, args.Term, answered)
	}
	return err
}

// upTo returns the first entries that have at most so many bytes, and one in any case.
func upTo(bytes int, entries []*raft.Log) []*raft.Log {
	for i, entry := range entries {
		if bytes -= len(entry.Data); bytes < 0 {
			return entries[:max(i, 1)]
		}
	}
	return entries
}

// InstallSnapshot sends a peer the state. One that cannot be sent is closed at
// once, since it holds on to what it reads.
func (t *replication) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest,
	resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	answered := t.answered(id)
	err := t.Transport.InstallSnapshot(id, target, args, resp, data)
	if err == nil {
		return nil
	}
	if state, ok := data.(io.Closer); ok {
		_ = state.Close() // the failure to send it is what counts
	}
	t.await(id, args.Term, answered)
	return err
}

// beat notes that a peer has answered a heartbeat.
func (t *replication) beat(id raft.ServerID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if answered := t.answers[id]; answered != nil {
		close(answered)
		delete(t.answers, id)
	}
}

// answered is closed with the next heartbeat that a peer answers.
func (t *replication) answered(id raft.ServerID) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answers[id] == nil {
		t.answers[id] = make(chan struct{})
	}
	return t.answers[id]
}

// replicates reports whether this node leads in a term and the peer is a member.
func (t *replication) replicates(id raft.ServerID, term uint64) bool {
	node := t.node.Load()
	if node == nil {
		return true
	}
	if node.State() != raft.Leader || node.CurrentTerm() != term {
		return false
	}
	members := node.GetConfiguration().Configuration().Servers
	return slices.ContainsFunc(members, func(s raft.Server) bool { return s.ID == id })
}

// await returns when a peer has answered a heartbeat, or is not to be replicated
// to any more.
func (t *replication) await(id raft.ServerID, term uint64, answered <-chan struct{}) {
	ticker := time.NewTicker(t.interval)
	defer ticker.Stop()
	for t.replicates(id, term) {
		select {
		case <-answered:
			return
		case <-ticker.C:
		case <-t.stopped:
			return
		}
	}
}

// Close ends all calls. Raft closes its transport too.
func (t *replication) Close() error {
	t.stop.Do(func() { close(t.stopped) })
	return t.Transport.Close()
}

// raftStream is the peer port as Raft's transport sees it. A Raft address is a
// node id. Every dial looks up the address of that node and checks which node answers.
type raftStream struct {
	port   *peer.Port
	egress *atomic.Uint64
}

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
	return countedConn{conn, s.egress}, nil
}

// countedConn counts what is written to it.
type countedConn struct {
	net.Conn
	written *atomic.Uint64
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(uint64(n))
	return n, err
}

// Egress returns how many bytes this node has sent others to replicate to them, which is what
// a leader does. Encryption adds a little.
func (c *Cluster) Egress() uint64 { return c.egress.Load() }

// Compression returns how many bytes of commands this node has sent to leaders, itself
// included, before and after they were compressed.
func (c *Cluster) Compression() (given, left uint64) {
	return c.compressed.Given.Load(), c.compressed.Left.Load()
}

// Close leaves the port open: it belongs to the Cluster.
func (s *raftStream) Close() error { return nil }

func (s *raftStream) Addr() net.Addr { return nodeAddr(s.port.Self.String()) }

// nodeAddr is a node id where an address is wanted.
type nodeAddr string

func (nodeAddr) Network() string  { return "aptlyd" }
func (a nodeAddr) String() string { return string(a) }
