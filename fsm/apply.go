package fsm

import (
	"fmt"
	"math"
	"unsafe"

	bolt "go.etcd.io/bbolt"
)

// BeginEntry begins the next entry. A stamp of 0 means that the entry carries none. It waits
// while too much is waiting to be flushed; nothing else here waits.
func (s *State) BeginEntry(index, term uint64, stamp int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endEntry()
	for s.pendingBytes() > s.cfg.PendingBytes && s.failed == nil {
		s.flusher.hurry()
		s.flushed.Wait()
	}
	if s.skipping = index <= s.applied.index; s.skipping {
		return
	}
	s.inEntry = true
	if stamp > s.stamp {
		s.byteCap.advance(s.stamp, s.settings.MaxBytes)
	}
	s.position = position{index, term, max(s.stamp, stamp)}
	s.now.Store(s.stamp)
	for {
		k, ok := s.registry.expired(s.stamp)
		if !ok {
			break
		}
		s.endKey(k)
	}
	for _, token := range s.admins.expired(s.stamp) {
		s.endAdminToken(token)
	}
	s.ids.expire(s.stamp)
	for gone := s.sessions.expire(s.stamp); gone != nil; gone = s.sessions.expire(s.stamp) {
		s.gathering.forgetSession(gone)
	}
	s.flusher.note(s.pendingBytes() > s.cfg.FlushBytes || s.flushBlocks() > maxFlushBlocks)
}

// endEntry completes the entry before, so that a flush set can be closed.
func (s *State) endEntry() {
	s.inEntry = false
	s.applied = s.position
	if s.flusher.setWanted {
		s.flusher.setWanted = false
		s.flusher.sets <- s.closeFlushSet()
	}
}

// pendingBytes returns about how many bytes wait in memory to be flushed.
func (s *State) pendingBytes() int64 {
	n := s.gathering.bytes
	if s.flushing != nil {
		n += s.flushing.bytes
	}
	return n
}

// maxFlushBlocks is the number of blocks that a flush should not exceed, since each takes
// several KiB of memory on the way. 100,000 channels have fewer blocks.
const maxFlushBlocks = 48 << 10

// flushBlocks returns about how many blocks a flush would write now.
func (s *State) flushBlocks() int { return min(len(s.gathering.channels), s.blocks) }

// ApplyBatch applies the next commands of the entry as the forwarder's batch seq. The forwarder
// will not ask again for results up to acked. A repeated batch is not applied again and
// returns its first results. If seq is out of sequence, or acked already, results is nil
// and next is the expected number, 1 for an unknown session. An entry that was applied
// before a restart returns no results and next 0.
//
// The state keeps the commands, so they must not change afterwards.
func (s *State) ApplyBatch(id [16]byte, seq, acked uint64, commands [][]byte) (results [][]byte, next uint64) {
	results, next, err := s.batch(id, seq, acked, commands)
	if err != nil {
		s.fail(err)
	}
	return results, next
}

func (s *State) batch(id [16]byte, seq, acked uint64, commands [][]byte) (results [][]byte, next uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.skipping {
		return nil, 0, nil
	}
	from := s.sessions.byID[id]
	if from == nil {
		if seq != 1 {
			return nil, 1, nil
		}
		from = &session{id: id}
		s.sessions.add(from)
	}
	s.sessions.use(from, s.stamp)
	s.gathering.setSession(from)
	from.acknowledge(acked)
	if seq <= from.last {
		return from.repeated(seq), from.last + 1, nil
	}
	if seq != from.last+1 {
		return nil, from.last + 1, nil
	}
	err = guarded(func() error {
		results, err = s.applyAll(commands)
		return err
	})
	if err != nil {
		s.failed = err
		return nil, 0, err
	}
	from.last = seq
	from.results = append(from.results, results)
	return results, seq + 1, nil
}

// receiptSize is the size of most receipts.
const receiptSize = 12

func (s *State) applyAll(commands [][]byte) (results [][]byte, err error) {
	a := application{State: s}
	defer a.end()
	// All results share one buffer. They are cut out of it at the end, since it moves
	// as it grows.
	buffer := make([]byte, 0, receiptSize*len(commands))
	ends := make([]int, len(commands))
	for i, c := range commands {
		if buffer, err = a.apply(buffer, c); err != nil {
			return nil, fmt.Errorf("apply command %d of a batch in entry %d: %w", i, s.index, err)
		}
		ends[i] = len(buffer)
	}
	results = make([][]byte, len(commands))
	begin := 0
	for i, end := range ends {
		results[i] = buffer[begin:end:end]
		begin = end
	}
	return results, nil
}

// application applies the commands of one batch. It begins its transaction when it has to
// read a channel that is not resident.
type application struct {
	*State
	tx        *bolt.Tx
	blocks    blockReader
	key       []byte // scratch
	lastCheck senderCheck

	// Of the publish before, which the next one is most often like. They are nil once a
	// command may have changed them.
	lastProject *project
	lastChannel *channel
}

func (a *application) end() {
	if a.tx != nil {
		rollback(a.tx)
	}
}

func (a *application) begin() (*bolt.Tx, error) {
	if a.tx == nil {
		if a.db == nil {
			return nil, ErrClosed
		}
		tx, err := beginRead(a.db)
		if err != nil {
			return nil, err
		}
		a.tx, a.blocks.cursor = tx, tx.Bucket(bucketChannels).Cursor()
	}
	return a.tx, nil
}

// apply applies one command and appends its result to dst. An error means that the state
// cannot go on; a refusal is part of the result.
func (a *application) apply(dst, command []byte) ([]byte, error) {
	p, ok, err := decodePublish(command, &a.lastCheck)
	if ok {
		if err != nil {
			return nil, fmt.Errorf("decode op %d: %w", opPublish, err)
		}
		return a.publish(dst, command, p)
	}
	a.lastCheck, a.lastProject, a.lastChannel = senderCheck{}, nil, nil // the command may end them
	from, c, err := decodeCommand(command)
	if err != nil {
		return nil, fmt.Errorf("decode op %d: %w", opOf(command), err)
	}
	if _, r := a.checkSender(&from); r != nil {
		return appendRefusal(dst, r), nil
	}
	r, err := a.control(c)
	if err != nil {
		return nil, err
	}
	if r != nil {
		return appendRefusal(dst, r), nil
	}
	return append(dst, codeOK), nil
}

func opOf(command []byte) byte {
	if len(command) == 0 {
		return 0
	}
	return command[0]
}

func (a *application) publish(dst, command []byte, p publication) ([]byte, error) {
	key, r := a.checkPublishSender(command, &p)
	if r != nil {
		return appendRefusal(dst, r), nil
	}
	project, ok := a.project(p.project)
	if !ok {
		return appendRefusal(dst, refuse(codeNotFound, "the project was deleted")), nil
	}
	if !namable(p.channel, maxChannelName) {
		return appendRefusal(dst, refuse(codeInvalid, "channel name of %d bytes", len(p.channel))), nil
	}
	if len(p.id) > maxMessageID {
		return appendRefusal(dst, refuse(codeInvalid, "message id of %d bytes", len(p.id))), nil
	}
	if r := p.mayPublish(key, project); r != nil {
		return appendRefusal(dst, r), nil
	}
	var hash idHash
	if len(p.id) > 0 {
		hash = hashID(p, key)
		if seen, ok := a.seen(p, hash); ok {
			if seen.sum != 0 && p.sum != 0 && seen.sum != p.sum {
				return appendRefusal(dst, refuse(codeConflict, "the id was used for another message")), nil
			}
			return appendReceipt(dst, Receipt{seen.offset, seen.stamp, true}), nil
		}
		if a.ids.full() {
			return appendRefusal(dst, refuse(codeRateLimited, "%d message ids", maxIDs)), nil
		}
	}
	ch, err := a.find(project, p.channel)
	if err != nil {
		return nil, err
	}
	if ch == nil {
		var r *refusal
		if ch, r, err = a.create(project, p.channel); err != nil {
			return nil, err
		}
		if r != nil {
			return appendRefusal(dst, r), nil
		}
	}
	if !ch.touched && a.cfg.Observer != nil {
		ch.touched, ch.notified = true, ch.offset
		a.touched = append(a.touched, ch)
	}
	if ch.fresh.messages == nil {
		if n := len(ch.flushing.messages); n >= doublingFrom {
			ch.fresh.messages = make([]Message, 0, n) // a hot channel stays hot
		} else {
			ch.fresh.messages = a.arena.take()
		}
	}
	a.lastChannel = ch
	m := ch.append(a.stamp, p.data)
	a.byteCap.total += int64(len(p.data))
	a.gathering.setChannel(ch)
	a.gathering.bytes += messageCost + int64(len(p.data))
	if len(p.id) > 0 {
		a.ids.add(seenID{hash, m.Offset, m.Timestamp, p.sum})
		a.gathering.bytes += int64(unsafe.Sizeof(seenID{}))
	}
	return appendReceipt(dst, Receipt{m.Offset, m.Timestamp, false}), nil
}

// asString returns b as a string that shares its bytes, which must not change.
func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// project returns the project of a publish.
func (a *application) project(id []byte) (*project, bool) {
	if a.lastProject != nil && a.lastProject.ID == string(id) {
		return a.lastProject, true
	}
	p, ok := a.registry.project(asString(id))
	a.lastProject, a.lastChannel = p, nil
	return p, ok
}

// find returns a channel ready for a message, or nil if it does not exist.
func (a *application) find(p *project, name []byte) (*channel, error) {
	if last := a.lastChannel; last != nil && last.key.Name == string(name) {
		return last, nil
	}
	ch, ok := a.channels[ChannelKey{p.ID, asString(name)}]
	if ok && ch.forgotten() {
		return nil, nil
	}
	if !ok {
		h, stored, err := a.load(ChannelKey{p.ID, asString(name)})
		if err != nil || !stored || h.forgotten() {
			return nil, err
		}
		ch = &channel{key: ChannelKey{p.ID, string(name)}, head: h, stored: true}
		a.pin(ch)
	}
	ch.used.Store(true)
	if ch.version == p.version {
		return ch, nil
	}
	tx, err := a.begin()
	if err != nil {
		return nil, err
	}
	v := retentionView{
		key: ch.key, project: p, stamp: a.stamp, cappedUntil: a.byteCap.floor.stamp, head: ch.head,
		memory: ch.memory,
	}
	v.readFrom(tx)
	if ch.floor, err = v.settledFloor(); err != nil {
		return nil, err
	}
	ch.version = p.version
	return ch, nil
}

// create makes a channel for its first message, if the project's quota allows one more.
func (a *application) create(p *project, name []byte) (*channel, *refusal, error) {
	if quota := p.Quotas.Channels; quota > 0 {
		count, err := a.countChannels(p.ID)
		if err != nil {
			return nil, nil, err
		}
		if count >= quota {
			return nil, refuse(codeRateLimited, "quota of %d channels is used up", quota), nil
		}
	}
	ch := &channel{key: ChannelKey{p.ID, string(name)}, head: p.newHead()}
	if tomb, ok := a.channels[ch.key]; ok {
		a.drop(tomb)
	}
	ch.used.Store(true)
	a.pin(ch)
	if count, ok := a.counts[p.ID]; ok {
		a.counts[p.ID] = count + 1
	}
	return ch, nil, nil
}

// pin makes a channel resident that is about to change.
func (a *application) pin(ch *channel) {
	a.channels[ch.key] = ch
	a.cache.add(ch)
	a.gathering.bytes += ch.cost // it stays in memory until it is written
}

// countChannels returns the number of a project's channels. The first call reads their
// keys.
func (a *application) countChannels(project string) (int, error) {
	if count, ok := a.counts[project]; ok {
		return count, nil
	}
	tx, err := a.begin()
	if err != nil {
		return 0, err
	}
	names, err := a.names(tx, project, "", math.MaxInt)
	if err != nil {
		return 0, err
	}
	a.counts[project] = len(names)
	return len(names), nil
}

// load reads a channel's head from the state file, if it is there.
func (a *application) load(key ChannelKey) (h head, stored bool, err error) {
	if _, err := a.begin(); err != nil {
		return h, false, err
	}
	a.key = appendChannelKey(a.key[:0], key)
	body, stored, err := a.blocks.find(a.key)
	if err != nil || !stored {
		return h, false, err
	}
	h, _, err = decodeChannel(a.key, body)
	return h, true, err
}

// rollback ends a read transaction.
func rollback(tx *bolt.Tx) {
	// The only possible error says that it has ended before.
	_ = tx.Rollback()
}

// Notify ends a run of entries and notifies the observer of their changes.
func (s *State) Notify() {
	s.mu.Lock()
	s.endEntry()
	appended := make([]Appended, 0, len(s.touched))
	for _, ch := range s.touched {
		ch.touched = false
		if !ch.dropped {
			appended = append(appended, Appended{ch.key, ch.between(ch.notified, ch.offset)})
		}
	}
	events := s.events
	s.touched, s.events = s.touched[:0], nil
	s.mu.Unlock()

	if s.cfg.Observer == nil {
		return
	}
	// Ended keys come first, so that their connections get no more messages.
	for _, tell := range events {
		tell(s.cfg.Observer)
	}
	if len(appended) > 0 {
		s.cfg.Observer.Appended(appended)
	}
}
