package presence

import "time"

// lastData is what a member said last on a node where it is no more. The node that owns
// another part of the member takes it over and tells so. Until then the view keeps it, or the
// member would seem to go back to what it said before.
type lastData struct {
	ch    *channel
	at    int64
	data  string
	until time.Time // zero while nobody could take it over
}

// takeOverWithin bounds how long a node that is heard is waited for. It may not have heard of
// the data itself.
const takeOverWithin = 2 * time.Second

// data returns the latest data of a member, which has a part, and of when it is.
func (m *Members) data(mem *member) (data string, at int64) {
	p := mem.newest()
	if last, is := m.last[mem]; is && last.at > p.at {
		return last.data, last.at
	}
	return p.data, p.at
}

// keepData has the view keep the data of a part that goes, where the others are older.
func (m *Members) keepData(ch *channel, mem *member, gone *part) {
	if _, at := m.data(mem); gone.at > at {
		m.last[mem] = lastData{ch: ch, at: gone.at, data: gone.data}
	}
}

// takeOver has the own part of a member say what was said last on a node where it is no more.
func (m *Members) takeOver(ch *channel, mem *member, gone *Change) {
	own := mem.find(m.own)
	if own == nil || own.at >= gone.At {
		return
	}
	m.touch(ch, mem)
	own.at, own.data = gone.At, gone.Data
	m.record(ch.key, mem.id)
	m.settle(ch, mem, gone.Reason)
}

// dropData forgets data that another node has taken over, or did not in time.
func (m *Members) dropData(now time.Time) {
	for mem, last := range m.last {
		p := mem.newest()
		switch {
		case p.at >= last.at:
			delete(m.last, mem)
		case p.orphan, !p.owner.current(now): // nobody is there to take it over
			last.until = time.Time{}
			m.last[mem] = last
		case last.until.IsZero():
			last.until = now.Add(takeOverWithin)
			m.last[mem] = last
		case !now.Before(last.until):
			m.touch(last.ch, mem)
			delete(m.last, mem)
			m.settle(last.ch, mem, Left)
		}
	}
}
