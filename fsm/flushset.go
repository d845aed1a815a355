package fsm

import "slices"

// gathering is what was applied but is not yet in the state file. The newer set
// gathers while the older one is written.
type flushSet struct {
	position
	bytes    int64 // about what it holds in memory
	records  []record
	channels []*channel
	sessions map[sessionID]*session
	firstID  uint64 // sequence number of the first id that was added

	// Filled in when the set is frozen.
	byteCap    []byte // stored form
	capFloor   int64  // stamp of the volume's floor
	heads      []flushHead
	ids        []seenID
	idsFrom    uint64              // ids below are forgotten
	projects   map[string]*project // as of then
	tombstones []string            // deleted projects of which something may be left
	purged     []string            // those of which nothing is, once it is written
}

// record is one record to be stored, or deleted when its body is nil.
type record struct{ bucket, key, body []byte }

func newFlushSet(ids *idTable) *flushSet {
	return &flushSet{sessions: make(map[sessionID]*session), firstID: ids.next()}
}

// set adds a record; a later one of the same key wins.
func (c *flushSet) set(bucket []byte, key string, body []byte) {
	c.records = append(c.records, record{bucket, []byte(key), body})
	c.bytes += int64(len(key) + len(body))
}

// setChannel notes that a channel has new messages.
func (c *flushSet) setChannel(ch *channel) {
	if !ch.dirty {
		ch.dirty = true
		c.channels = append(c.channels, ch)
		c.bytes += dirtyCost
	}
}

// setSession notes that a session was used.
func (c *flushSet) setSession(s *session) { c.sessions[s.id] = s }

// forgetSession notes that a session is gone.
func (c *flushSet) forgetSession(s *session) {
	delete(c.sessions, s.id)
	c.set(bucketSessions, string(s.id[:]), nil)
}

// beginFlush closes the set at the last whole entry; what is applied from now on
// goes to a new one. It is called with mu held and between entries.
func (s *State) closeFlushSet() *flushSet {
	c := s.gathering
	c.position = s.applied
	c.byteCap, c.capFloor = s.byteCap.append(nil), s.byteCap.floor.stamp
	c.projects = *s.registry.projects.Load()
	for id, nothingLeft := range s.registry.tombstones {
		if !nothingLeft {
			c.tombstones = append(c.tombstones, id)
		}
	}
	c.heads = make([]flushHead, 0, len(c.channels))
	for _, ch := range c.channels {
		ch.dirty = false
		if ch.dropped {
			continue
		}
		c.heads = append(c.heads, ch.beginFlush())
	}
	for id, session := range c.sessions {
		c.records = append(c.records, record{bucketSessions, slices.Clone(id[:]), session.append(nil)})
	}
	c.idsFrom = s.ids.first
	c.firstID = max(c.firstID, s.ids.first)
	c.ids = slices.Clip(s.ids.queue[c.firstID-s.ids.first:])
	s.flushing, s.gathering = c, newFlushSet(s.ids)
	return c
}
