package synced

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// someLog is synced up to an index, until more is.
type someLog struct {
	synced uint64
	more   chan error // closed, or has the reason why no more will be
}

func (l someLog) Bound(index uint64) uint64 { return min(index, l.synced) }

func (l someLog) AwaitSynced(index uint64) error {
	if index <= l.synced {
		return nil
	}
	return <-l.more
}

// newTestTransport returns a Transport over loopback that ends with the test.
func newTestTransport(t *testing.T, log Log) *Transport {
	t.Helper()
	inner, err := raft.NewTCPTransport("127.0.0.1:0", nil, 2, 10*time.Second, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	transport := New(inner, log)
	t.Cleanup(func() {
		if err := transport.Close(); err != nil {
			t.Error(err)
		}
	})
	return transport
}

// call sends a request and returns what is asked at the other end.
func call(t *testing.T, from, to *Transport, request raft.AppendEntriesRequest) (asked raft.RPC,
	answered <-chan error,
) {
	t.Helper()
	answers := make(chan error, 1)
	go func() {
		var response raft.AppendEntriesResponse
		err := from.AppendEntries("to", to.LocalAddr(), &request, &response)
		if err == nil && !response.Success {
			err = errors.New("it is no success")
		}
		answers <- err
	}()
	select {
	case asked = <-to.Consumer():
		return asked, answers
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is asked")
		return asked, nil
	}
}

// TestALeaderTellsNoMoreThanItHasSynced, and sends its entries all the same.
func TestALeaderTellsNoMoreThanItHasSynced(t *testing.T) {
	leader := newTestTransport(t, someLog{synced: 3})
	follower := newTestTransport(t, someLog{synced: 9})
	request := raft.AppendEntriesRequest{
		Term: 1, PrevLogEntry: 6, PrevLogTerm: 1, Entries: []*raft.Log{{Index: 7, Term: 1}}, LeaderCommitIndex: 6,
	}
	rpc, answered := call(t, leader, follower, request)
	got, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok || got.LeaderCommitIndex != 3 || len(got.Entries) != 1 || got.PrevLogEntry != 6 {
		t.Errorf("it sends %+v", rpc.Command)
	}
	if request.LeaderCommitIndex != 6 {
		t.Error("Raft's own request has changed")
	}
	rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// TestAFollowerAnswersWhenItHasSynced the entries that it was sent.
func TestAFollowerAnswersWhenItHasSynced(t *testing.T) {
	leader := newTestTransport(t, someLog{synced: 9})
	log := someLog{synced: 3, more: make(chan error)}
	follower := newTestTransport(t, log)
	rpc, answered := call(t, leader, follower, raft.AppendEntriesRequest{
		Term: 1, Entries: []*raft.Log{{Index: 4, Term: 1}, {Index: 5, Term: 1}},
	})
	rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	// What stores nothing is answered meanwhile.
	tells, told := call(t, leader, follower, raft.AppendEntriesRequest{Term: 1, PrevLogEntry: 4, LeaderCommitIndex: 4})
	tells.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	if err := <-told; err != nil {
		t.Error(err)
	}
	select {
	case err := <-answered:
		t.Errorf("it has answered before (%v)", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(log.more)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// TestAFollowerWhoseLogFailsDoesNotAnswerThatItStored anything.
func TestAFollowerWhoseLogFailsDoesNotAnswerThatItStored(t *testing.T) {
	leader := newTestTransport(t, someLog{synced: 9})
	log := someLog{more: make(chan error, 1)}
	rpc, answered := call(t, leader, newTestTransport(t, log), raft.AppendEntriesRequest{
		Term: 1, Entries: []*raft.Log{{Index: 1, Term: 1}},
	})
	rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	log.more <- errors.New("input/output error")
	if err := <-answered; err == nil {
		t.Error("it has answered that it stored them")
	}
}
