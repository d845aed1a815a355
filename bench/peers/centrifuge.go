package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/aptlyd/aptlyd/bench"
)

// centrifugeProtocol is the bidirectional JSON protocol of Centrifuge: commands
// and replies are JSON objects, several in a message stand on lines of their own.
//
// See https://centrifugal.dev/docs/transports/client_protocol.
type centrifugeProtocol struct {
	token   string
	history bool
	members bool // who subscribes is a member, and is told of others

	change bench.MemberChange // that was told last
	moved  [1]uint64          // in it

	last    uint32            // id of a command; they have 32 bits
	waiting map[uint32]uint64 // publications without an answer
}

// Ids of the commands that every connection sends once.
const (
	connectID = iota + 1
	subscribeCommandID
	firstPublishID
)

func newCentrifugeProtocol(c centrifugeConfig) *centrifugeProtocol {
	return &centrifugeProtocol{
		token: c.Token, history: c.History > 0, members: c.Members, last: firstPublishID,
		waiting: make(map[uint32]uint64),
	}
}

func (*centrifugeProtocol) Transport() bench.Transport {
	return bench.Transport{WebSocket: true, Path: centrifugePath}
}

func (p *centrifugeProtocol) AppendLogin(dst []byte, member int) []byte {
	if p.members {
		return fmt.Appendf(dst, `{"id":%d,"connect":{"token":%q,"name":"%d"}}`, connectID, p.token, member)
	}
	return fmt.Appendf(dst, `{"id":%d,"connect":{"token":%q}}`, connectID, p.token)
}

func (p *centrifugeProtocol) AppendSubscribe(dst []byte, _ int, channel string, after bench.Position) []byte {
	if p.history && after.Offset > 0 {
		return fmt.Appendf(dst, `{"id":%d,"subscribe":{"channel":%q,"recover":true,"offset":%d,"epoch":%q}}`,
			subscribeCommandID, channel, after.Offset, after.Epoch)
	}
	return fmt.Appendf(dst, `{"id":%d,"subscribe":{"channel":%q}}`, subscribeCommandID, channel)
}

func (p *centrifugeProtocol) AppendPublish(dst []byte, _ int, channel string, id uint64, data []byte) []byte {
	p.last = max(p.last+1, firstPublishID)
	p.waiting[p.last] = id
	dst = strconv.AppendUint(append(dst, `{"id":`...), uint64(p.last), 10)
	dst = append(append(dst, `,"publish":{"channel":"`...), channel...)
	return append(append(append(dst, `","data":`...), data...), "}}"...)
}

// AppendEnter implements bench.MemberProtocol: who subscribes is a member, and its id is its
// number.
func (p *centrifugeProtocol) AppendEnter(dst []byte, _ int, channel string, subscribed bool, _ uint64,
	_ []byte,
) []byte {
	if subscribed {
		return dst
	}
	p.last = max(p.last+1, firstPublishID)
	return fmt.Appendf(dst, `{"id":%d,"subscribe":{"channel":%q}}`, p.last, channel)
}

// AppendLeave implements bench.MemberProtocol.
func (p *centrifugeProtocol) AppendLeave(dst []byte, _ int, channel string, _ uint64) []byte {
	p.last = max(p.last+1, firstPublishID)
	return fmt.Appendf(dst, `{"id":%d,"unsubscribe":{"channel":%q}}`, p.last, channel)
}

func (p *centrifugeProtocol) Parse(data []byte, emit func(bench.Event)) (int, error) {
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		if err := p.parseLine(line, emit); err != nil {
			return 0, err
		}
	}
	return len(data), nil
}

var pushHead = []byte(`{"push":`)

func (p *centrifugeProtocol) parseLine(line []byte, emit func(bench.Event)) error {
	if string(line) == "{}" {
		emit(bench.Event{Kind: bench.Ping, Data: []byte("{}")})
		return nil
	}
	if bytes.HasPrefix(line, pushHead) {
		if p.members {
			return p.parseMove(line, emit)
		}
		return parsePublications(line, emit)
	}
	if e, ok := p.scanReply(line); ok {
		emit(e)
		return nil
	}
	// The publications of a recovery are left to the scan: there are many.
	reply, publications, recovered := bytes.Cut(line, []byte(`"publications":[`))
	if recovered {
		_, end, found := bytes.Cut(publications, []byte("}]"))
		if !found {
			return errors.New("parse: publications have no end")
		}
		publications = publications[:len(publications)-len(end)]
		reply = append(append(bytes.Clone(reply), `"publications":[]`...), end...)
	}
	var r struct {
		ID        uint32
		Error     *struct{ Message string }
		Connect   *struct{}
		Leave     *struct{} `json:"unsubscribe"`
		Publish   *struct{}
		Subscribe *struct {
			Epoch     string
			Offset    uint64
			Recovered bool
		}
	}
	if err := json.Unmarshal(reply, &r); err != nil {
		return fmt.Errorf("parse reply: %w", err)
	}
	switch {
	case r.Error != nil:
		emit(bench.Event{Kind: bench.Refused, Data: []byte(r.Error.Message)})
	case r.Connect != nil:
		emit(bench.Event{Kind: bench.Ready})
	case r.Leave != nil:
	case r.Subscribe != nil:
		emit(bench.Event{Kind: bench.Ready, Offset: r.Subscribe.Offset, Epoch: r.Subscribe.Epoch})
	case r.Publish != nil:
		id, ok := p.waiting[r.ID]
		if !ok {
			return fmt.Errorf("parse reply: %d answers nothing", r.ID)
		}
		delete(p.waiting, r.ID)
		emit(bench.Event{Kind: bench.Acknowledged, ID: id})
	default:
		return fmt.Errorf("parse reply: nothing known in %.100q", reply)
	}
	return parsePublications(publications, emit)
}

// scanReply reads the replies that every connection gets once, where nothing in
// them is needed.
func (p *centrifugeProtocol) scanReply(line []byte) (bench.Event, bool) {
	ok := bytes.HasPrefix(line, connectReplyHead) || !p.history && bytes.HasPrefix(line, subscribeReplyHead)
	return bench.Event{Kind: bench.Ready}, ok
}

var (
	connectReplyHead   = fmt.Appendf(nil, `{"id":%d,"connect":{`, connectID)
	subscribeReplyHead = fmt.Appendf(nil, `{"id":%d,"subscribe":{`, subscribeCommandID)
)

var (
	dataKey   = []byte(`"data":"`)
	offsetKey = []byte(`,"offset":`)
)

// parsePublications finds what has been published in a push or a list: data that
// is a string without escapes, as all loads publish it.
func parsePublications(text []byte, emit func(bench.Event)) error {
	for {
		at := bytes.Index(text, dataKey)
		if at < 0 {
			return nil
		}
		text = text[at+len(dataKey)-1:]
		end := bytes.IndexByte(text[1:], '"') + 2
		if end < 2 {
			return errors.New("parse: data has no end")
		}
		e := bench.Event{Kind: bench.Delivered, Data: text[:end]}
		text = text[end:]
		if digits, ok := bytes.CutPrefix(text, offsetKey); ok {
			for len(digits) > 0 && digits[0] >= '0' && digits[0] <= '9' {
				e.Offset = e.Offset*10 + uint64(digits[0]-'0')
				digits = digits[1:]
			}
		}
		emit(e)
	}
}

var (
	joinKey = []byte(`,"join":{`)
	userKey = []byte(`"user":"`)
)

// parseMove reads a push about one member that has come or gone.
func (p *centrifugeProtocol) parseMove(line []byte, emit func(bench.Event)) error {
	_, user, found := bytes.Cut(line, userKey)
	id, _, ended := bytes.Cut(user, []byte{'"'})
	n, err := strconv.ParseUint(string(id), 10, 64)
	if !found || !ended || err != nil {
		return fmt.Errorf("parse push: no member in %.100q", line)
	}
	p.moved[0] = n
	p.change = bench.MemberChange{Left: p.moved[:]}
	if bytes.Contains(line, joinKey) {
		p.change = bench.MemberChange{Entered: p.moved[:]}
	}
	emit(bench.Event{Kind: bench.Changed, Change: &p.change})
	return nil
}

// startCentrifuge starts one server.
func startCentrifuge(config centrifugeConfig) (bench.Target, func() error, error) {
	config.Token = newSecret()
	var ready centrifugeReady
	c, err := startChild("", centrifugeRole, config, &ready)
	if err != nil {
		return bench.Target{}, nil, err
	}
	return bench.Target{
		Servers:  []string{"ws://" + ready.WebSocket},
		PIDs:     []int{c.pid()},
		Protocol: newCentrifugeProtocol(config),
	}, c.stop, nil
}
