package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// channelView is a channel at one moment, with the transaction that reading it may need.
// Close it soon, since a transaction keeps the file from reusing space.
type channelView struct {
	retentionView
	channel *channel // nil if not resident
	absent  bool     // the channel does not exist, whatever the state file holds
}

func (v *channelView) close() {
	if v.tx != nil {
		rollback(v.tx)
	}
}

// viewChannel returns a view of a channel for reading from an offset on.
func (s *State) viewChannel(key ChannelKey, from uint64) (*channelView, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return nil, ErrClosed
	}
	p, ok := s.registry.project(key.Project)
	if !ok {
		return nil, fmt.Errorf("the project was deleted: %w", ErrNotFound)
	}
	if !namable(key.Name, maxChannelName) {
		return nil, fmt.Errorf("channel name of %d bytes: %w", len(key.Name), ErrInvalid)
	}
	v := &channelView{retentionView: retentionView{
		key: key, project: p, stamp: s.stamp,
		cappedUntil: s.byteCap.floor.stamp,
	}}
	if ch, ok := s.channels[key]; ok {
		v.useMemory(ch)
		ch.used.Store(true)
		if v.absent || !v.needsDisk(from) {
			return v, nil
		}
	}
	// Begun under the lock, the transaction has everything that is not in memory.
	tx, err := beginRead(s.db)
	if err != nil {
		return nil, err
	}
	v.readFrom(tx)
	return v, nil
}

// read runs fn on a view of a channel and the edge before its oldest retained message. A
// damaged record stops the node.
func (s *State) read(key ChannelKey, from uint64, fn func(v *channelView, earliest edge) error) error {
	v, err := s.viewChannel(key, from)
	if errors.Is(err, errCorrupt) {
		s.fail(err)
	}
	if err != nil {
		return err
	}
	err = guarded(func() error { return v.read(fn) })
	v.close()
	if err != nil {
		err = fmt.Errorf("read channel: %w", err)
		s.fail(err)
	}
	return err
}

func (v *channelView) read(fn func(v *channelView, earliest edge) error) error {
	if v.channel == nil && !v.absent {
		stored, stands, err := v.load()
		if err != nil {
			return err
		}
		v.head, v.absent = stored, !stands || stored.forgotten()
	}
	if v.absent {
		v.head = v.project.newHead()
	}
	at, err := v.earliest()
	if err != nil {
		return err
	}
	if v.channel != nil && at.offset <= v.offset && (v.known == nil || v.known.offset < at.offset) {
		known := at
		v.channel.earliest.CompareAndSwap(v.known, &known)
	}
	return fn(v, at)
}

func (v *retentionView) info(earliest edge) ChannelInfo {
	return ChannelInfo{
		Name:     v.key.Name,
		Head:     v.offset,
		Earliest: earliest.offset,
		Bytes:    v.total - earliest.before,
	}
}

// Channel returns the bounds of a channel. Without messages, Earliest is the first offset
// that it will get, and Head is the one before. The error is ErrNotFound without such a
// project, ErrInvalid for an impossible name, or ErrClosed.
func (s *State) Channel(key ChannelKey) (ChannelInfo, error) {
	info := ChannelInfo{Name: key.Name}
	err := s.read(key, noOffset, func(v *channelView, earliest edge) error {
		info = v.info(earliest)
		return nil
	})
	return info, err
}

// noOffset is above every offset, so reading from it reads nothing.
const noOffset = 1<<64 - 1

// Read returns retained messages with an offset above after, oldest first. It stops at
// maxMessages, and before the payloads exceed maxBytes, but returns at least one message if
// there is one. Errors are those of Channel.
func (s *State) Read(key ChannelKey, after uint64, maxMessages, maxBytes int) (Page, error) {
	var page Page
	from := after + 1
	if after == noOffset {
		from = after
	}
	err := s.read(key, from, func(v *channelView, earliest edge) error {
		page = Page{Head: v.offset, Earliest: earliest.offset}
		var err error
		page.Messages, err = v.messages(max(from, earliest.offset), max(maxMessages, 1), maxBytes)
		return err
	})
	return page, err
}

// messages returns messages from an offset on.
func (v *channelView) messages(from uint64, limit, maxBytes int) ([]Message, error) {
	var messages []Message
	size := 0
	for from <= v.offset && len(messages) < limit {
		part, stored, err := v.part(from)
		if err != nil {
			return nil, err
		}
		n := 0
		for n < len(part) && len(messages)+n < limit && (len(messages)+n == 0 || size+len(part[n].Data) <= maxBytes) {
			size += len(part[n].Data)
			n++
		}
		if stored {
			messages = append(messages, detach(part[:n])...)
		} else {
			messages = append(messages, part[:n]...)
		}
		from += uint64(n)
		if n < len(part) {
			break
		}
	}
	return messages, nil
}

// part returns messages from an offset on, at least one. Stored messages alias the
// transaction.
func (v *channelView) part(from uint64) (part []Message, stored bool, err error) {
	first, ok := v.first()
	stored = !ok || from < first
	s, err := v.segment(from)
	if err != nil {
		return nil, false, err
	}
	if s.first() > from {
		return nil, false, v.missing(from)
	}
	return s.messages[from-s.first():], stored, nil
}

// detach returns a copy of messages that aliases nothing.
func detach(messages []Message) []Message {
	s := segment{messages: messages}
	return s.detach().messages
}

// OffsetAt returns the offset of the first retained message with a stamp of at least t
// (Unix ms), or of the next message to come. Errors are those of Channel.
func (s *State) OffsetAt(key ChannelKey, t int64) (uint64, error) {
	var offset uint64
	err := s.read(key, 0, func(v *channelView, earliest edge) error {
		at, err := v.boundary(earliest.offset, func(at edge) bool { return at.stamp >= t })
		offset = at.offset
		return err
	})
	return offset, err
}

// Channels returns at most limit channels of a project by name, from the first name above
// after. Errors are those of Channel.
func (s *State) Channels(project, after string, limit int) ([]ChannelInfo, error) {
	s.mu.RLock()
	if s.db == nil {
		s.mu.RUnlock()
		return nil, ErrClosed
	}
	p, ok := s.registry.project(project)
	if !ok {
		s.mu.RUnlock()
		return nil, fmt.Errorf("project %q: %w", project, ErrNotFound)
	}
	tx, err := beginRead(s.db)
	if err != nil {
		s.mu.RUnlock()
		if errors.Is(err, errCorrupt) {
			s.fail(err)
		}
		return nil, err
	}
	defer rollback(tx)
	var names []string
	err = guarded(func() (err error) {
		names, err = s.names(tx, project, after, max(limit, 0))
		return err
	})
	// All views are of the same moment as the transaction.
	views := make([]*channelView, len(names))
	for i, name := range names {
		views[i] = s.viewIn(tx, p, name)
	}
	s.mu.RUnlock()

	infos := make([]ChannelInfo, 0, len(views))
	for i := 0; i < len(views) && err == nil; i++ {
		err = guarded(func() error {
			return views[i].read(func(v *channelView, earliest edge) error {
				infos = append(infos, v.info(earliest))
				return nil
			})
		})
	}
	if err != nil {
		err = fmt.Errorf("list channels: %w", err)
		s.fail(err)
		return nil, err
	}
	return infos, nil
}

// viewIn returns a view of a channel in a transaction that has just begun. s.mu is held.
func (s *State) viewIn(tx *bolt.Tx, p *project, name string) *channelView {
	v := &channelView{retentionView: retentionView{
		key: ChannelKey{p.ID, name}, project: p, stamp: s.stamp,
		cappedUntil: s.byteCap.floor.stamp,
	}}
	v.readFrom(tx)
	v.useMemory(s.channels[v.key])
	return v
}

// useMemory adds the messages of a resident channel to the view.
func (v *channelView) useMemory(ch *channel) {
	switch {
	case ch == nil:
	case ch.forgotten():
		v.absent = true
	default:
		v.channel, v.head, v.memory, v.known = ch, ch.head, ch.memory, ch.earliest.Load()
	}
}

// names returns at most limit names of a project's channels, from the first above after.
// s.mu is held, and tx began since.
func (s *State) names(tx *bolt.Tx, project, after string, limit int) ([]string, error) {
	prefix := appendProjectPrefix(nil, project)
	var names []string
	gone := make(map[string]bool) // forgotten, but maybe still in the state file
	unstored := func(fn func(ch *channel)) {
		for _, ch := range s.gathering.channels {
			fn(ch)
		}
		if s.flushing != nil {
			for i := range s.flushing.heads {
				fn(s.flushing.heads[i].channel)
			}
		}
	}
	unstored(func(ch *channel) {
		switch {
		case ch.key.Project != project || ch.key.Name <= after:
		case ch.forgotten():
			gone[ch.key.Name] = true
		case !ch.stored && !ch.dropped:
			names = append(names, ch.key.Name)
		}
	})
	found := 0
	var wrong error
	err := eachChannel(tx, append(slices.Clone(prefix), after...), func(channel, body []byte) bool {
		if !bytes.HasPrefix(channel, prefix) {
			return bytes.Compare(channel, prefix) < 0
		}
		var h head
		if h, _, wrong = decodeChannel(channel, body); wrong != nil {
			return false
		}
		if name := string(channel[len(prefix) : len(channel)-1]); name > after && !h.forgotten() && !gone[name] {
			names = append(names, name)
			found++
		}
		return found < limit
	})
	if err = errors.Join(err, wrong); err != nil {
		return nil, err
	}
	slices.Sort(names)
	// A channel that is being written may be in both places.
	names = slices.Compact(names)
	return names[:min(len(names), limit)], nil
}

// KeyByText returns the live key with this text. It never waits for the disk.
func (s *State) KeyByText(text string) (Key, bool) {
	k, ok := s.liveRegistry.Load().keyByHash(HashKey(text))
	if !ok {
		return Key{}, false
	}
	return *k, true
}

// HasImportedKeys reports whether any live key was imported.
func (s *State) HasImportedKeys() bool { return s.liveRegistry.Load().imported.Load() > 0 }

// Key returns the live key with this id.
func (s *State) Key(id string) (Key, bool) {
	k, ok := s.liveRegistry.Load().key(id)
	if !ok {
		return Key{}, false
	}
	return *k, true
}

// Keys returns the live keys of a project, oldest first.
func (s *State) Keys(project string) []Key {
	var keys []Key
	if project == "" {
		return nil
	}
	for _, k := range s.liveRegistry.Load().keys(project) {
		keys = append(keys, *k)
	}
	return keys
}

// Project returns a project. The result must not be changed.
func (s *State) Project(id string) (*Project, bool) {
	p, ok := s.liveRegistry.Load().project(id)
	if !ok {
		return nil, false
	}
	return &p.Project, true
}

// Projects returns at most limit projects by id, from the first above after. They must not
// be changed.
func (s *State) Projects(after string, limit int) []*Project {
	var list []*Project
	for id, p := range *s.liveRegistry.Load().projects.Load() {
		if id > after {
			list = append(list, &p.Project)
		}
	}
	slices.SortFunc(list, func(a, b *Project) int { return strings.Compare(a.ID, b.ID) })
	return list[:min(len(list), max(limit, 0))]
}
