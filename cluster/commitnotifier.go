package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// commitNotifier tells followers at once that an entry is committed. Raft by itself
// tells them with the next entry or after its commit timeout, tens of
// milliseconds later.
//
// A nudge is an ordinary AppendEntries without entries. It is safe by log
// matching because it names the committed entry as the previous one, under that
// entry's own term: a follower that does not hold exactly this entry refuses it,
// and one that has moved on to a later term ignores it.
type commitNotifier struct {
	transport raft.Transport
	header    raft.RPCHeader
	self      raft.ServerID
	// peers returns the members besides this node.
	peers func() []raft.Server

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	follows map[raft.ServerID]chan commit
}

// commit is a committed entry.
type commit struct{ index, term uint64 }

// nudgeRetry is the time that a follower without the entry is given to
// store it.
const nudgeRetry = time.Millisecond

func newCommitNotifier(transport raft.Transport, self raft.ServerID, peers func() []raft.Server) *commitNotifier {
	ctx, cancel := context.WithCancel(context.Background())
	return &commitNotifier{
		transport: transport,
		header: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax,
			ID:              []byte(self),
			Addr:            transport.EncodePeer(self, raft.ServerAddress(self)),
		},
		self:    self,
		peers:   peers,
		ctx:     ctx,
		cancel:  cancel,
		follows: make(map[raft.ServerID]chan commit),
	}
}

// nudge tells every follower of a commit, without blocking. Of several that wait
// for one follower the newest wins.
func (n *commitNotifier) nudge(index, term uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return
	}
	for _, peer := range n.peers() {
		latest, ok := n.follows[peer.ID]
		if !ok {
			latest = make(chan commit, 1)
			n.follows[peer.ID] = latest
			n.running.Go(func() { n.follow(peer, latest) })
		}
		newest := commit{index, term}
		select {
		case waiting := <-latest:
			if waiting.index > index {
				newest = waiting
			}
		default:
		}
		latest <- newest
	}
}

// follow sends one follower its nudges, one at a time.
func (n *commitNotifier) follow(peer raft.Server, latest <-chan commit) {
	for {
		select {
		case c := <-latest:
			if n.send(peer, c) {
				continue
			}
			select {
			case <-time.After(nudgeRetry):
			case <-n.ctx.Done():
				return
			}
			select {
			case c = <-latest:
			default:
			}
			n.send(peer, c)
		case <-n.ctx.Done():
			return
		}
	}
}

// send reports false when the follower may hold the entry in a moment. An error
// needs no care: Raft's own replication tells the follower soon.
func (n *commitNotifier) send(peer raft.Server, c commit) bool {
	request := raft.AppendEntriesRequest{
		RPCHeader:         n.header,
		Term:              c.term,
		PrevLogEntry:      c.index,
		PrevLogTerm:       c.term,
		LeaderCommitIndex: c.index,
	}
	var response raft.AppendEntriesResponse
	err := n.transport.AppendEntries(peer.ID, peer.Address, &request, &response)
	return err != nil || response.Success || response.Term > c.term
}

// close waits for the nudges on their way. The transport must be closed first.
func (n *commitNotifier) close() {
	n.mu.Lock()
	n.cancel()
	n.mu.Unlock()
	n.running.Wait()
}
