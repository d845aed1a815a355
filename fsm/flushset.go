package fsm

import "slices"

// flushSet holds changes that are applied but not yet in the state file. A new set gathers
// while the older one is written.
type flushSet struct {
	position
	bytes    int64 // approximate memory
	records  []record
	channels []*channel
	sessions map[sessionID]*session
	firstID  uint64 // sequence number of the first id that was added

	// Filled in when the set is closed.
	byteCap    []byte // stored form
	capFloor   int64  // stamp of the cap's floor
	heads      []flushHead
	ids        []seenID
	idsFrom    uint64              // lower ids are forgotten
	projects   map[string]*project // at that moment
	tombstones []string            // deleted projects with records left
	purged     []string            // deleted projects without, once this set is written
}

// record is a record to store, or to delete if its body is nil.
type record struct{ bucket, key, body []byte }

func newFlushSet(ids *idTable) *flushSet {
	return &flushSet{sessions: make(map[sessionID]*session), firstID: ids.next()}
}

// set adds a record; a later one with the same key wins.
func (c *flushSet) set(bucket []byte, key string, body []byte) {
	c.records = append(c.records, record{bucket, []byte(key), body})
	c.bytes += int64(len(key) + len(body))
}

// setChannel adds a channel with new messages.
func (c *flushSet) setChannel(ch *channel) {
	if !ch.dirty {
		ch.dirty = true
		c.channels = append(c.channels, ch)
		c.bytes += dirtyCost
	}
}

// setSession adds a session that was used.
func (c *flushSet) setSession(s *session) { c.sessions[s.id] = s }

// forgetSession deletes a session.
func (c *flushSet) forgetSession(s *session) {
	delete(c.sessions, s.id)
	c.set(bucketSessions, string(s.id[:]), nil)
}

// closeFlushSet closes the set at the last whole entry and begins a new one. s.mu is held,
// between two entries.
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
