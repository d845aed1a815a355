package fsm

import "slices"

// changes is what was applied but is not yet in the state file. The newer set
// gathers while the older one is written.
type changes struct {
	position
	bytes    int64 // about what it holds in memory
	records  []record
	channels []*channel
	sessions map[sessionID]*session
	firstID  uint64 // sequence number of the first id that was added

	// Filled in when the set is frozen.
	volume   []byte // stored form
	floor    int64  // stamp of the volume's floor
	heads    []frozenHead
	ids      []seenID
	idsFrom  uint64              // ids below are forgotten
	projects map[string]*project // as of then
	gone     []string            // deleted projects of which something may be left
	purged   []string            // those of which nothing is, once it is written
}

// record is one record to be stored, or deleted when its body is nil.
type record struct{ bucket, key, body []byte }

func newChanges(ids *idTable) *changes {
	return &changes{sessions: make(map[sessionID]*session), firstID: ids.next()}
}

// set adds a record; a later one of the same key wins.
func (c *changes) set(bucket []byte, key string, body []byte) {
	c.records = append(c.records, record{bucket, []byte(key), body})
	c.bytes += int64(len(key) + len(body))
}

// setChannel notes that a channel has new messages.
func (c *changes) setChannel(ch *channel) {
	if !ch.dirty {
		ch.dirty = true
		c.channels = append(c.channels, ch)
		c.bytes += dirtyCost
	}
}

// setSession notes that a session was used.
func (c *changes) setSession(s *session) { c.sessions[s.id] = s }

// forgetSession notes that a session is gone.
func (c *changes) forgetSession(s *session) {
	delete(c.sessions, s.id)
	c.set(bucketSessions, string(s.id[:]), nil)
}

// freeze closes the set at the last whole entry; what is applied from now on
// goes to a new one. It is called with mu held and between entries.
func (s *State) freeze() *changes {
	c := s.changes
	c.position = s.applied
	c.volume, c.floor = s.volume.append(nil), s.volume.floor.stamp
	c.projects = *s.directory.projects.Load()
	for id, nothingLeft := range s.directory.gone {
		if !nothingLeft {
			c.gone = append(c.gone, id)
		}
	}
	c.heads = make([]frozenHead, 0, len(c.channels))
	for _, ch := range c.channels {
		ch.dirty = false
		if ch.dropped {
			continue
		}
		c.heads = append(c.heads, ch.freeze())
	}
	for id, session := range c.sessions {
		c.records = append(c.records, record{bucketSessions, slices.Clone(id[:]), session.append(nil)})
	}
	c.idsFrom = s.ids.first
	c.firstID = max(c.firstID, s.ids.first)
	c.ids = slices.Clip(s.ids.queue[c.firstID-s.ids.first:])
	s.frozen, s.changes = c, newChanges(s.ids)
	return c
}
