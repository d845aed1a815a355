// Package synced is Raft's transport for a node that writes its log in the background:
// what a message promises is on this node's disk. It knows neither the members nor what an
// entry means.
package synced

import (
	"sync"

	"github.com/hashicorp/raft"
)

// Log tells what of this node's log is on the disk.
type Log interface {
	// Bound returns index, or the last entry before it up to which the log is there.
	Bound(index uint64) uint64
	// AwaitSynced returns once the log is there up to an index, or why it never will be.
	AwaitSynced(index uint64) error
}

// Transport sends entries at once, so that the others write them while this node does. Two
// things it keeps back: a leader's commit index, beyond what is on its own disk, and a
// follower's answer that it has stored entries, until they are on its own.
type Transport struct {
	*raft.NetworkTransport
	log      Log
	requests chan raft.RPC

	stop    sync.Once
	stopped chan struct{}
	running sync.WaitGroup
}

// New returns a Transport over inner, which it closes.
func New(inner *raft.NetworkTransport, log Log) *Transport {
	t := &Transport{NetworkTransport: inner, log: log, requests: make(chan raft.RPC), stopped: make(chan struct{})}
	t.running.Go(t.receive)
	return t
}

// AppendEntries sends entries, a commit index, or both.
func (t *Transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest,
	resp *raft.AppendEntriesResponse,
) error {
	bounded := *args
	bounded.LeaderCommitIndex = t.log.Bound(args.LeaderCommitIndex)
	return t.NetworkTransport.AppendEntries(id, target, &bounded, resp)
}

// AppendEntriesPipeline is not offered: it would send commit indexes as they are.
func (t *Transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// Consumer returns the requests of the others.
func (t *Transport) Consumer() <-chan raft.RPC { return t.requests }

func (t *Transport) receive() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			if args, ok := rpc.Command.(*raft.AppendEntriesRequest); ok && len(args.Entries) > 0 {
				rpc.RespChan = t.afterSync(args.Entries[len(args.Entries)-1].Index, rpc.RespChan)
			}
			select {
			case t.requests <- rpc:
			case <-t.stopped:
				return
			}
		case <-t.stopped:
			return
		}
	}
}

// afterSync returns a channel for an answer, which goes on to another one when the log is
// on the disk up to an index.
func (t *Transport) afterSync(index uint64, to chan<- raft.RPCResponse) chan<- raft.RPCResponse {
	answers := make(chan raft.RPCResponse, 1)
	t.running.Go(func() {
		select {
		case answer := <-answers:
			if err := t.log.AwaitSynced(index); err != nil && answer.Error == nil {
				answer = raft.RPCResponse{Error: err}
			}
			to <- answer // which has room for one
		case <-t.stopped:
		}
	})
	return answers
}

// Close ends all calls.
func (t *Transport) Close() error {
	t.stop.Do(func() { close(t.stopped) })
	err := t.NetworkTransport.Close()
	t.running.Wait()
	return err
}
