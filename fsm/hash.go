package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"maps"
	"math"
	"slices"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// Hash returns a hash of the meaning of the state. Nodes that have applied the same entries
// have the same hash, whatever they have flushed, cached or deleted. It reads everything,
// and nothing is applied meanwhile.
func (s *State) Hash() (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := guarded(func() error { return s.hashContent(h) }); err != nil {
		return sum, fmt.Errorf("hash state: %w", err)
	}
	for _, session := range s.sessions.sorted() {
		h.Write(session.append(slices.Clone(session.id[:])))
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// hashContent hashes everything except the sessions, which depend on how commands were
// batched.
func (s *State) hashContent(h hash.Hash) error {
	if s.db == nil {
		return ErrClosed
	}
	h.Write(s.cluster.append(binary.AppendVarint(nil, s.stamp)))
	h.Write(s.byteCap.append(s.settings.append(nil)))
	h.Write(appendStrings(nil, slices.Sorted(maps.Keys(s.registry.tombstones))))
	for _, k := range s.registry.keys("") {
		h.Write(appendStoredKey(nil, k))
	}
	for _, token := range s.admins.list(func(*AdminToken) bool { return true }) {
		h.Write(appendAdminToken(nil, token))
	}
	for i := range s.audit.records {
		h.Write(s.audit.records[i].append(nil))
	}
	h.Write(appendIDs(nil, s.ids.queue))
	for _, id := range slices.Sorted(maps.Keys(s.usage)) {
		h.Write(s.usage[id].append(wire.AppendBytes(nil, id)))
	}
	projects := *s.registry.projects.Load()
	for _, id := range slices.Sorted(maps.Keys(projects)) {
		h.Write(binary.AppendUvarint(appendProject(nil, &projects[id].Project), projects[id].FirstOffset))
		h.Write(binary.AppendVarint(nil, int64(projects[id].Quotas.Subscriptions)))
		h.Write(appendPresences(nil, projects[id].Rules, &projects[id].Access, &projects[id].Quotas))
		if err := s.hashChannels(h, projects[id]); err != nil {
			return err
		}
	}
	return nil
}

// hashChannels hashes the retained messages of a project.
func (s *State) hashChannels(h hash.Hash, p *project) error {
	tx, err := beginRead(s.db)
	if err != nil {
		return err
	}
	defer rollback(tx)
	names, err := s.names(tx, p.ID, "", math.MaxInt)
	if err != nil {
		return err
	}
	for _, name := range names {
		v := s.viewIn(tx, p, name)
		err := v.read(func(v *channelView, earliest edge) error {
			h.Write(wire.AppendBytes(nil, name))
			h.Write(binary.AppendUvarint(nil, v.offset))
			h.Write(binary.AppendVarint(nil, v.total))
			messages, err := v.messages(earliest.offset, int(v.offset+1-earliest.offset), int(v.total))
			for _, m := range messages {
				h.Write(binary.AppendVarint(binary.AppendUvarint(nil, m.Offset), m.Timestamp))
				h.Write(wire.AppendBytes(nil, m.Data))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
