package cluster

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// replication is Raft's transport. After each failed call Raft doubles the time
// for which it leaves a peer alone, up to ten seconds, and nothing shortens it
// when the peer is back. Here a call that failed ends only when the peer answers
// a heartbeat, several of which Raft sends each second all the while, so that an
// absence counts as one failure however long it is.
type replication struct {
	*raft.NetworkTransport
	// quiet is how long after the last heartbeat it is clear that Raft does not
	// replicate to a peer any more.
	quiet   time.Duration
	stop    sync.Once
	stopped chan struct{}

	mu     sync.Mutex
	pulses map[raft.ServerID]*pulse
}

// pulse is what the heartbeats say of one peer.
type pulse struct {
	answered chan struct{} // closed, and another one made, when one is answered
	beating  int           // heartbeats on their way
	last     time.Time     // when the last one ended
}

func newReplication(inner *raft.NetworkTransport, cfg Config) *replication {
	return &replication{
		NetworkTransport: inner,
		quiet:            2 * cfg.ElectionTimeout,
		stopped:          make(chan struct{}),
		pulses:           make(map[raft.ServerID]*pulse),
	}
}

// AppendEntries replicates to a peer, or is a heartbeat.
func (t *replication) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if args.PrevLogEntry == 0 && args.LeaderCommitIndex == 0 && len(args.Entries) == 0 {
		t.beat(id, 1, false)
		err := t.NetworkTransport.AppendEntries(id, target, args, resp)
		t.beat(id, -1, err == nil)
		return err
	}
	answered := t.answered(id)
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err != nil {
		t.await(id, answered)
	}
	return err
}

// InstallSnapshot sends a peer the state. One that cannot be sent is closed at
// once, since it holds on to what it reads.
func (t *replication) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	answered := t.answered(id)
	err := t.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
	if err == nil {
		return nil
	}
	if state, ok := data.(io.Closer); ok {
		_ = state.Close() // the failure to send it is what counts
	}
	t.await(id, answered)
	return err
}

// AppendEntriesPipeline is not offered; see newTransport.
func (t *replication) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (t *replication) pulse(id raft.ServerID) *pulse {
	p := t.pulses[id]
	if p == nil {
		p = &pulse{answered: make(chan struct{})}
		t.pulses[id] = p
	}
	return p
}

// beat notes that a heartbeat begins, or that it has ended.
func (t *replication) beat(id raft.ServerID, change int, answered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pulse(id)
	p.beating += change
	p.last = time.Now()
	if answered {
		close(p.answered)
		p.answered = make(chan struct{})
	}
}

// answered is closed with the next heartbeat that a peer answers.
func (t *replication) answered(id raft.ServerID) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pulse(id).answered
}

// replicates reports whether heartbeats are sent to a peer.
func (t *replication) replicates(id raft.ServerID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pulse(id)
	return p.beating > 0 || time.Since(p.last) < t.quiet
}

// await returns when a peer has answered a heartbeat, or gets none any more.
func (t *replication) await(id raft.ServerID, answered <-chan struct{}) {
	ticker := time.NewTicker(t.quiet)
	defer ticker.Stop()
	for t.replicates(id) {
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
	return t.NetworkTransport.Close()
}
