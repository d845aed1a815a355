package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
)

// MemberProtocol is a Protocol of a broker whose channels have members. Who subscribes with
// it is told of those of the channel. Ids of members are numbers.
type MemberProtocol interface {
	Protocol
	// AppendEnter appends what makes a client a member of a channel. It appends nothing
	// where a client that has subscribed is one already.
	AppendEnter(dst []byte, client int, channel string, subscribed bool, id uint64, data []byte) []byte
	// AppendLeave appends what ends that.
	AppendLeave(dst []byte, client int, channel string, id uint64) []byte
}

// MemberChange is what a broker tells of the members of a channel.
type MemberChange struct {
	Part    int  // of a list of all members, which are Entered; 0 when it is a difference
	More    bool // further parts follow
	Entered []uint64
	Left    []uint64
	Updated int
	Count   int // members after it; -1 where the broker does not say
}

// aptlyMembers is aptlyd's protocol with subscribers that are told of members.
type aptlyMembers struct {
	aptly
	decoded decodedChanges
}

func newAptlyMembers(t Target) *aptlyMembers {
	return &aptlyMembers{aptly: aptly{key: t.Key}, decoded: decodedChanges{seed: maphash.MakeSeed()}}
}

// AppendSubscribe implements Protocol.
func (p *aptlyMembers) AppendSubscribe(dst []byte, _ int, channel string, _ Position) []byte {
	return fmt.Appendf(dst, `{"type":"subscribe","channel":%q,"presence":"members"}`, channel)
}

// AppendEnter implements MemberProtocol.
func (*aptlyMembers) AppendEnter(dst []byte, _ int, channel string, _ bool, id uint64, data []byte) []byte {
	dst = fmt.Appendf(dst, `{"type":"presence","channel":%q,"action":"enter","id":"%d","data":`, channel, id)
	return append(append(dst, data...), '}')
}

// AppendLeave implements MemberProtocol.
func (*aptlyMembers) AppendLeave(dst []byte, _ int, channel string, id uint64) []byte {
	return fmt.Appendf(dst, `{"type":"presence","channel":%q,"action":"leave","id":"%d"}`, channel, id)
}

var (
	presenceHead   = []byte(`{"type":"presence",`)
	presenceOKHead = []byte(`{"type":"presence_ok",`)
	occupancyHead  = []byte(`{"type":"occupancy",`)
)

// Parse implements Protocol.
func (p *aptlyMembers) Parse(data []byte, emit func(Event)) (int, error) {
	switch {
	case bytes.HasPrefix(data, presenceHead):
		change, err := p.decoded.change(data)
		if err != nil {
			return 0, err
		}
		emit(Event{Kind: Changed, Change: change})
	case bytes.HasPrefix(data, occupancyHead), bytes.HasPrefix(data, presenceOKHead):
		var f struct {
			Type    string
			ID      memberID
			Members int
		}
		if err := json.Unmarshal(data, &f); err != nil {
			return 0, fmt.Errorf("parse frame: %w", err)
		}
		if f.Type == "occupancy" {
			emit(Event{Kind: Counted, Count: f.Members})
		} else {
			emit(Event{Kind: Acknowledged, ID: uint64(f.ID)})
		}
	default:
		return p.aptly.Parse(data, emit)
	}
	return len(data), nil
}

// memberID is an id of a member in JSON.
type memberID uint64

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *memberID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 64)
	*id = memberID(n)
	return err
}

// decodedChanges remembers frames that were decoded lately: all watchers of a node are told
// the same, and each frame is decoded once.
type decodedChanges struct {
	seed maphash.Seed
	last [64]struct {
		hash   uint64
		length int
		change *MemberChange
	}
	at int
}

func (d *decodedChanges) change(frame []byte) (*MemberChange, error) {
	hash := maphash.Bytes(d.seed, frame)
	for i := range d.last {
		// The last ones first.
		if known := &d.last[(d.at-i+len(d.last))%len(d.last)]; known.hash == hash && known.length == len(frame) {
			return known.change, nil
		}
	}
	change, err := decodeChange(frame)
	if err != nil {
		return nil, err
	}
	d.at = (d.at + 1) % len(d.last)
	d.last[d.at].hash, d.last[d.at].length, d.last[d.at].change = hash, len(frame), change
	return change, nil
}

func decodeChange(frame []byte) (*MemberChange, error) {
	type named struct{ ID memberID }
	var f struct {
		Sync *struct {
			Part int
			Last bool
		}
		Members, Entered, Updated, Left []named
		Count                           int
	}
	if err := json.Unmarshal(frame, &f); err != nil {
		return nil, fmt.Errorf("parse frame of members: %w", err)
	}
	c := &MemberChange{Updated: len(f.Updated), Count: f.Count}
	if f.Sync != nil {
		c.Part, c.More, f.Entered = f.Sync.Part, !f.Sync.Last, f.Members
	}
	for _, m := range f.Entered {
		c.Entered = append(c.Entered, uint64(m.ID))
	}
	for _, m := range f.Left {
		c.Left = append(c.Left, uint64(m.ID))
	}
	return c, nil
}

// newMemberSwarm returns a swarm of clients that may be members, and how they are told to.
func newMemberSwarm(ctx context.Context, target Target) (*swarm, MemberProtocol, error) {
	protocol, err := memberProtocol(target)
	if err != nil {
		return nil, nil, err
	}
	target.Protocol = protocol
	s, err := newSwarm(ctx, target)
	return s, protocol, err
}

// memberProtocol returns the protocol of a target whose channels have members.
func memberProtocol(t Target) (MemberProtocol, error) {
	if t.Protocol == nil {
		return newAptlyMembers(t), nil
	}
	p, is := t.Protocol.(MemberProtocol)
	if !is {
		return nil, errors.New("protocol: its channels have no members")
	}
	return p, nil
}
