package presence

import (
	"cmp"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

const (
	differencePause = 250 * time.Millisecond // at least, between two differences of a channel
	numbersPause    = time.Second            // at least, between two Numbers of a channel
	// differenceBytes bounds about how much one difference has. The rest comes with the
	// next ones.
	differenceBytes = 48 << 10
	memberOverhead  = 64 // about what a member takes in JSON besides its id and data
)

// Gone is a member that left.
type Gone struct {
	ID     string
	Reason Reason
}

// Difference is what watchers of a channel are told. Applied to what they had as of the
// version before, it makes what there is as of Version.
type Difference struct {
	Channel fsm.ChannelKey
	Version uint64
	Entered []Member
	Updated []Member
	Left    []Gone
	Count   int
	// Anew says that members are told again after numbers, so all of them have to be.
	Anew bool
}

// Numbers are what watchers are told of a channel with too many members to name.
type Numbers struct {
	Channel     fsm.ChannelKey
	Subscribers int
	Members     int
	// Large says that the channel has so many. Otherwise the numbers are for those who
	// want nothing else.
	Large bool
}

// touch notes what watchers know of a member before it changes.
func (m *Members) touch(ch *channel, mem *member) {
	if ch.watchers == 0 || ch.large {
		return
	}
	if _, noted := ch.dirty[mem.id]; noted {
		return
	}
	was := before{shown: mem.shown}
	if mem.shown {
		was.member = m.show(mem)
	}
	if ch.dirty == nil {
		ch.dirty = make(map[string]before)
	}
	ch.dirty[mem.id] = was
}

// settle finds out whether a member is shown after a change. One without connections is kept
// where it is shown, and shown nowhere anew. reason is that of a part that was removed.
func (m *Members) settle(ch *channel, mem *member, reason Reason) {
	was := mem.shown
	mem.shown = len(mem.parts) > 0 && (was || mem.connections() > 0)
	if len(mem.parts) == 0 {
		ch.members.remove(mem)
		delete(m.last, mem)
	}
	switch {
	case mem.shown && !was:
		ch.count++
		m.projects[ch.key.Project]++
		m.total++
		m.stats.Entered++
		m.numbersChanged(ch)
	case was && !mem.shown:
		ch.count--
		if m.projects[ch.key.Project]--; m.projects[ch.key.Project] == 0 {
			delete(m.projects, ch.key.Project)
		}
		m.total--
		m.stats.Left[reason]++
		if noted, is := ch.dirty[mem.id]; is {
			noted.reason = reason
			ch.dirty[mem.id] = noted
		}
		m.numbersChanged(ch)
	}
	if len(ch.dirty) > 0 {
		m.flushLater(ch)
	}
	m.prune(ch)
}

// numbersChanged notes that a channel has another number of members or subscribers.
func (m *Members) numbersChanged(ch *channel) {
	if ch.watchers > 0 {
		ch.recount = true
		m.flushLater(ch)
	}
}

func (m *Members) flushLater(ch *channel) {
	if _, waits := m.due[ch]; !waits {
		m.due[ch] = struct{}{}
		m.cfg.Changed()
	}
}

// Watch makes Flush return the differences of a channel after a version. Each Watch takes an
// Unwatch.
func (m *Members) Watch(key fsm.ChannelKey) (version uint64, numbers Numbers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channel(key)
	if ch.watchers++; ch.watchers == 1 {
		ch.version++ // nobody knows what was told before
		ch.large = ch.count > m.cfg.Rule(key).MaxMembers
	}
	return ch.version, ch.numbers()
}

// Unwatch takes back a Watch.
func (m *Members) Unwatch(key fsm.ChannelKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channels[key]
	if ch == nil || ch.watchers == 0 {
		return
	}
	if ch.watchers--; ch.watchers == 0 {
		ch.dirty, ch.recount = nil, false
		delete(m.due, ch)
		m.prune(ch)
	}
}

// Flush returns what the watchers of channels have to be told now, and how long to wait until
// there is more; 0 when nothing waits.
func (m *Members) Flush(now time.Time) (all []Difference, numbers []Numbers, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	later := func(at int64, pause time.Duration) {
		left := time.Duration(at-now.UnixMilli())*time.Millisecond + pause
		if wait == 0 || left < wait {
			wait = max(left, time.Millisecond)
		}
	}
	for ch := range m.due {
		most := m.cfg.Rule(ch.key).MaxMembers
		switch {
		case !ch.large && ch.count > most:
			ch.large, ch.dirty, ch.recount, ch.toldAt = true, nil, true, 0
		case ch.large && ch.count <= most-most/10:
			ch.large = false
			ch.version++
			ch.flushedAt = now.UnixMilli()
			all = append(all, Difference{Channel: ch.key, Version: ch.version, Count: ch.count, Anew: true})
		}
		if len(ch.dirty) > 0 {
			if now.UnixMilli()-ch.flushedAt >= differencePause.Milliseconds() {
				if d, is := m.difference(ch); is {
					ch.flushedAt = now.UnixMilli()
					all = append(all, d)
				}
			}
			if len(ch.dirty) > 0 {
				later(ch.flushedAt, differencePause)
			}
		}
		if ch.recount {
			if now.UnixMilli()-ch.toldAt >= numbersPause.Milliseconds() {
				ch.toldAt, ch.recount = now.UnixMilli(), false
				numbers = append(numbers, ch.numbers())
			} else {
				later(ch.toldAt, numbersPause)
			}
		}
		if len(ch.dirty) == 0 && !ch.recount {
			delete(m.due, ch)
		}
	}
	return all, numbers, wait
}

// difference makes the next difference of the channel, unless nothing of what changed shows.
func (m *Members) difference(ch *channel) (d Difference, is bool) {
	size := 0
	for id, was := range ch.dirty {
		if size > differenceBytes {
			break
		}
		delete(ch.dirty, id)
		mem := ch.members.find(id)
		switch {
		case mem != nil && mem.shown && !was.shown:
			now := m.show(mem)
			d.Entered = append(d.Entered, now)
			size += len(now.Data)
		case mem != nil && mem.shown:
			now := m.show(mem)
			if now.Data == was.member.Data {
				continue
			}
			d.Updated = append(d.Updated, now)
			size += len(now.Data)
		case was.shown:
			d.Left = append(d.Left, Gone{id, was.reason})
		default:
			continue
		}
		size += memberOverhead + len(id)
	}
	if len(d.Entered)+len(d.Updated)+len(d.Left) == 0 {
		return d, false
	}
	ch.version++
	d.Channel, d.Version, d.Count = ch.key, ch.version, ch.told()
	return d, true
}

// told returns how many members watchers know of.
func (ch *channel) told() int {
	n := ch.count
	for id, was := range ch.dirty {
		mem := ch.members.find(id)
		switch shown := mem != nil && mem.shown; {
		case shown && !was.shown:
			n--
		case !shown && was.shown:
			n++
		}
	}
	return n
}

func (ch *channel) numbers() Numbers {
	n := Numbers{Channel: ch.key, Subscribers: ch.subscribers, Members: ch.count, Large: ch.large}
	for _, subscribers := range ch.elsewhere {
		n.Subscribers += subscribers
	}
	return n
}

// Sync returns the members of a watched channel as watchers know them as of a version, by id.
// There are none when the channel is large.
func (m *Members) Sync(key fsm.ChannelKey) (members []Member, version uint64, numbers Numbers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channels[key]
	if ch == nil {
		return nil, 0, Numbers{Channel: key}
	}
	if ch.large {
		return nil, ch.version, ch.numbers()
	}
	for mem := range ch.members.all() {
		if _, changed := ch.dirty[mem.id]; !changed && mem.shown {
			members = append(members, m.show(mem))
		}
	}
	for _, was := range ch.dirty {
		if was.shown {
			members = append(members, was.member)
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return members, ch.version, ch.numbers()
}

// List returns at most limit members of a channel with an id after cursor, by id.
func (m *Members) List(key fsm.ChannelKey, cursor string, limit int) (members []Member, numbers Numbers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channels[key]
	if ch == nil {
		return nil, Numbers{Channel: key}
	}
	after := make([]*member, 0, ch.count)
	for mem := range ch.members.all() {
		if mem.shown && mem.id > cursor {
			after = append(after, mem)
		}
	}
	slices.SortFunc(after, func(a, b *member) int { return cmp.Compare(a.id, b.id) })
	for _, mem := range after[:min(limit, len(after))] {
		members = append(members, m.show(mem))
	}
	return members, ch.numbers()
}

// Count returns how many members and subscribers a channel has.
func (m *Members) Count(key fsm.ChannelKey) Numbers {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ch := m.channels[key]; ch != nil {
		return ch.numbers()
	}
	return Numbers{Channel: key}
}

// Numbers returns how many members and subscribers each channel of a project has, for the
// channels with either.
func (m *Members) Numbers(project string) map[string]Numbers {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]Numbers)
	for key, ch := range m.channels {
		if key.Project != project {
			continue
		}
		if n := ch.numbers(); n.Members+n.Subscribers > 0 {
			all[key.Name] = n
		}
	}
	return all
}

// InProject returns how many members a project has in all its channels together.
func (m *Members) InProject(project string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.projects[project]
}

// Has reports whether a channel has a member.
func (m *Members) Has(key fsm.ChannelKey, id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	mem := m.channels[key].has(id)
	return mem != nil && mem.shown
}

// Total returns how many members there are, and what happened so far.
func (m *Members) Total() (members int, stats Stats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total, m.stats
}
