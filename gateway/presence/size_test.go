package presence

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// heapInUse returns the bytes that live objects take.
func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func newMembers(node string, grace time.Duration) *Members {
	m := New(Config{Changed: func() {}, Rule: func(fsm.ChannelKey) fsm.Presence {
		return fsm.Presence{Grace: grace, MaxMembers: 1000, DataBytes: 1024}
	}})
	m.Begin(node, 1)
	return m
}

// everything has one node tell another all that it has.
func everything(from, to *Members, node string, now time.Time) {
	places, number := from.Everything()
	const piece = 256
	for at, n := 0, 1; ; n++ {
		end := min(at+piece, len(places))
		to.Take(node, Message{
			Boot: from.Boot(), To: number, Piece: n, Last: end == len(places), Changes: from.Describe(places[at:end]),
		}, now)
		if at = end; at == len(places) {
			return
		}
	}
}

// A member takes at most so many bytes besides its id and data, on each node: here a third
// of them has its connections on this node.
func TestMembersAreSmall(t *testing.T) {
	const members, channels, most = 100_000, 10_000, 500
	now := time.Now()
	before := heapInUse()
	nodes := []*Members{newMembers("a", time.Second), newMembers("b", time.Second), newMembers("c", time.Second)}
	text := 0
	for i := range members {
		id, data := fmt.Sprintf("user-%06d", i), fmt.Sprintf(`{"n":%d}`, i)
		text += len(id) + len(data)
		nodes[i%3].Enter(fsm.ChannelKey{Project: "p", Name: fmt.Sprintf("room:%d", i%channels)}, id, data, now)
	}
	for i, m := range nodes {
		for j, other := range nodes {
			if i != j {
				everything(other, m, fmt.Sprint(j), now)
			}
		}
	}
	for _, m := range nodes {
		m.Forget(m.Number())
	}
	each := int(heapInUse()-before)/(members*len(nodes)) - text/members
	if total, _ := nodes[0].Total(); total != members {
		t.Errorf("a node has %d members", total)
	}
	t.Logf("%d bytes a member besides its id and data", each)
	if each > most {
		t.Errorf("a member takes %d bytes besides its id and data, want at most %d", each, most)
	}
	runtime.KeepAlive(nodes)
}

// BenchmarkEnterLeave enters and leaves in a channel of 10,000 members that somebody watches.
func BenchmarkEnterLeave(b *testing.B) {
	m, now, key := newMembers("a", 0), time.Now(), fsm.ChannelKey{Project: "p", Name: "room"}
	for i := range 10_000 {
		m.Enter(key, fmt.Sprint("user", i), "null", now)
	}
	m.Watch(key)
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprint("client", i)
		m.Enter(key, id, "null", now)
		m.Leave(key, id, now)
		if i%256 == 0 {
			m.Forget(m.Number())
			m.Flush(now)
		}
	}
}

// BenchmarkTake takes in the changes of another node, 256 at a time.
func BenchmarkTake(b *testing.B) {
	from, to, now := newMembers("a", 0), newMembers("b", 0), time.Now()
	key := fsm.ChannelKey{Project: "p", Name: "room"}
	everything(from, to, "a", now)
	for i := 0; b.Loop(); i++ {
		after := from.Number()
		for j := range 256 {
			from.Enter(key, fmt.Sprint("user", (i*256+j)%10_000), "null", now)
		}
		changes, upTo, _ := from.Changes(after, 256)
		if !to.Take("a", Message{Boot: 1, From: after, To: upTo, Changes: changes}, now).Taken {
			b.Fatal("not taken")
		}
		from.Forget(upTo)
	}
}
