package fsm

import (
	"cmp"
	"container/list"
	"encoding/binary"
	"slices"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// sessionWindow is the time, by the stamp, after which a silent forwarder's session is
// forgotten.
const sessionWindow = 60 * 60 * 1000 // ms

type sessionID [16]byte

// session applies the batches of one forwarder once and in order, however often and through
// whatever leader they arrive. It holds the results that the forwarder may still ask for.
type session struct {
	id      sessionID
	last    uint64     // newest batch applied
	acked   uint64     // results up to here are dropped
	results [][][]byte // of the batches acked+1 to last
	used    int64      // stamp of the last batch that arrived
	place   *list.Element
}

// acknowledge drops results that the forwarder has.
func (s *session) acknowledge(acked uint64) {
	acked = min(acked, s.last)
	if acked > s.acked {
		s.results = slices.Clone(s.results[acked-s.acked:])
		s.acked = acked
	}
}

// repeated returns the results of an earlier batch, or nil if the forwarder has
// acknowledged them.
func (s *session) repeated(seq uint64) [][]byte {
	if seq <= s.acked {
		return nil
	}
	return s.results[seq-s.acked-1]
}

func (s *session) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, s.last)
	dst = binary.AppendUvarint(dst, s.acked)
	dst = binary.AppendVarint(dst, s.used)
	dst = binary.AppendUvarint(dst, uint64(len(s.results)))
	for _, results := range s.results {
		dst = binary.AppendUvarint(dst, uint64(len(results)))
		for _, r := range results {
			dst = wire.AppendBytes(dst, r)
		}
	}
	return dst
}

func (d *decoder) session(id sessionID) *session {
	s := &session{id: id, last: d.Uvarint(), acked: d.Uvarint(), used: d.Varint()}
	n := d.Count()
	if uint64(n) != s.last-s.acked {
		d.Fail(errCorrupt)
	}
	for ; n > 0 && d.Err == nil; n-- {
		results := make([][]byte, 0, 1)
		for m := d.Count(); m > 0 && d.Err == nil; m-- {
			results = append(results, slices.Clone(d.Bytes()))
		}
		s.results = append(s.results, results)
	}
	return s
}

// sessionTable holds the sessions, the longest unused first.
type sessionTable struct {
	byID  map[sessionID]*session
	order *list.List
}

func newSessionTable() *sessionTable {
	return &sessionTable{byID: make(map[sessionID]*session), order: list.New()}
}

// add adds a session that was used at or after all others.
func (t *sessionTable) add(s *session) {
	t.byID[s.id] = s
	s.place = t.order.PushBack(s)
}

// use records that a batch of the session arrived.
func (t *sessionTable) use(s *session, stamp int64) {
	s.used = stamp
	t.order.MoveToBack(s.place)
}

// expire removes a session that was unused for sessionWindow and returns it, or nil if
// there is none.
func (t *sessionTable) expire(stamp int64) *session {
	front := t.order.Front()
	if front == nil {
		return nil
	}
	s := front.Value.(*session)
	if s.used+sessionWindow > stamp {
		return nil
	}
	t.order.Remove(front)
	delete(t.byID, s.id)
	return s
}

// sorted returns the sessions by id.
func (t *sessionTable) sorted() []*session {
	sessions := make([]*session, 0, len(t.byID))
	for _, s := range t.byID {
		sessions = append(sessions, s)
	}
	slices.SortFunc(sessions, func(a, b *session) int { return slices.Compare(a.id[:], b.id[:]) })
	return sessions
}

// fill adds stored sessions, in any order.
func (t *sessionTable) fill(sessions []*session) {
	slices.SortStableFunc(sessions, func(a, b *session) int { return cmp.Compare(a.used, b.used) })
	for _, s := range sessions {
		t.add(s)
	}
}
