package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// PresenceOptions say what a Presence is for.
type PresenceOptions struct {
	// ID names the member. It is for server keys; a token says itself who its bearer is.
	ID string
	// OnChange, if set, hears of the members of the channel. It is called by the client's one
	// reading goroutine, as the functions of SubscribeOptions are.
	OnChange func(PresenceChange)
}

// PresenceChange is what is new in a channel, and what there is now.
type PresenceChange struct {
	Channel string
	Entered []ChannelMember
	Updated []ChannelMember
	Left    []MemberLeft
	// Anew says that Members were told anew. The lists of changes are empty then.
	Anew bool
	// Members are all that are known, by id. In a channel with too many there are none.
	Members []ChannelMember
	Count   int
	// Subscribers is how many follow the channel; it is told where Members are not.
	Subscribers int
}

// MemberLeft is a member that is gone.
type MemberLeft struct {
	ID     string `json:"id"`
	Reason string `json:"reason"` // "left", "timeout" or "node"
}

// Presence is a client's part among the members of a channel. What it has entered it enters
// again on each new connection.
type Presence struct {
	client  *Client
	channel string
	options PresenceOptions

	// Guarded by client.mu.
	entered bool
	data    json.RawMessage
	asks    [][]chan error // each group waits for one answer
	ahead   *link          // successor that it was taken up on
	members map[string]ChannelMember
	ended   bool
}

// presenceFrame has the fields of frames about members.
type presenceFrame struct {
	Sync *struct {
		Part int  `json:"part"`
		Last bool `json:"last"`
	} `json:"sync"`
	Members     json.RawMessage `json:"members"`
	Entered     []ChannelMember `json:"entered"`
	Updated     []ChannelMember `json:"updated"`
	Left        []MemberLeft    `json:"left"`
	Count       int             `json:"count"`
	Subscribers int             `json:"subscribers"`
}

// Presence takes part in the members of a channel. It returns at once; Close ends it. A client
// with a server key may have several in one channel, each with an ID of its own.
func (c *Client) Presence(channel string, options PresenceOptions) *Presence {
	p := &Presence{client: c, channel: channel, options: options, members: make(map[string]ChannelMember)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.presences = append(c.presences, p)
	if c.link != nil {
		p.takeUpLocked(c.link)
	}
	return p
}

// Enter makes the client a member and returns once every node that can be reached knows. The
// data may be nil.
func (p *Presence) Enter(ctx context.Context, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("enter %q: encode data: %w", p.channel, err)
	}
	return p.do(ctx, "enter", func() { p.entered, p.data = true, text })
}

// Update changes the data of the member.
func (p *Presence) Update(ctx context.Context, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("update in %q: encode data: %w", p.channel, err)
	}
	return p.do(ctx, "update", func() { p.data = text })
}

// Leave ends the membership, unless another Presence of the same member has entered, too.
func (p *Presence) Leave(ctx context.Context) error {
	p.client.mu.Lock()
	if p.sharedLocked() {
		p.entered, p.data = false, nil
		p.client.mu.Unlock()
		return nil
	}
	p.client.mu.Unlock()
	return p.do(ctx, "leave", func() { p.entered, p.data = false, nil })
}

// do sends a presence frame and waits for its answer.
func (p *Presence) do(ctx context.Context, action string, note func()) error {
	c, answer := p.client, make(chan error, 1)
	c.mu.Lock()
	if c.err != nil || p.ended {
		c.mu.Unlock()
		return fmt.Errorf("%s %q: %w", action, p.channel, ErrClosed)
	}
	note()
	if c.link == nil && action == "leave" {
		c.mu.Unlock()
		return nil // what broke ends by itself
	}
	p.asks = append(p.asks, []chan error{answer})
	p.sendLocked(action)
	c.mu.Unlock()
	select {
	case err := <-answer:
		if err != nil {
			return fmt.Errorf("%s %q: %w", action, p.channel, err)
		}
		return nil
	case <-c.done:
		return fmt.Errorf("%s %q: %w", action, p.channel, ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("%s %q: %w", action, p.channel, c.waited(ctx.Err(), nil))
	}
}

// Members returns those that are known, by id.
func (p *Presence) Members() []ChannelMember {
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	return p.sortedLocked()
}

// Close leaves as Leave does, and forgets the members. It does not wait for the answer. Where
// nothing else of the client needs the channel, it also unsubscribes.
func (p *Presence) Close() {
	c := p.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	c.presences = slices.DeleteFunc(slices.Clone(c.presences), func(other *Presence) bool { return other == p })
	if p.entered && !p.sharedLocked() {
		p.sendLocked("leave")
	}
	p.settleLocked(len(p.asks), ErrClosed)
	if c.subscriptions[p.channel] == nil && !c.takesPartLocked(p.channel) {
		c.unsubscribeLocked(p.channel, p.ahead)
	}
}

// sharedLocked reports whether another Presence has entered the same member.
func (p *Presence) sharedLocked() bool {
	return slices.ContainsFunc(p.client.presences, func(other *Presence) bool {
		return other != p && other.entered && other.channel == p.channel && other.options.ID == p.options.ID
	})
}

// takesPartLocked reports whether there is a Presence in a channel.
func (c *Client) takesPartLocked(channel string) bool {
	return slices.ContainsFunc(c.presences, func(p *Presence) bool { return p.channel == channel })
}

// sendLocked sends a presence frame, also to the successor of a connection that is about to be
// left: it was told already what came before.
func (p *Presence) sendLocked(action string) {
	c := p.client
	if c.link != nil {
		c.conn.send(p.encode(action))
	}
	if n := c.next; n != nil && p.ahead == n.link {
		n.conn.send(p.encode(action))
	}
}

func (p *Presence) encode(action string) []byte {
	b := append([]byte(`{"type":"presence","channel":`), quote(p.channel)...)
	b = append(b, `,"action":"`+action+`"`...)
	if p.options.ID != "" {
		b = append(append(b, `,"id":`...), quote(p.options.ID)...)
	}
	if action != "leave" && p.data != nil {
		b = append(append(b, `,"data":`...), p.data...)
	}
	return append(b, '}')
}

// takeUpLocked begins anew on a connection. All that waits is answered with the enter.
func (p *Presence) takeUpLocked(l *link) {
	if p.options.OnChange != nil {
		b := append([]byte(`{"type":"subscribe","channel":`), quote(p.channel)...)
		l.conn.send(append(b, `,"from":"live","presence":"members"}`...))
	}
	waiting := slices.Concat(p.asks...)
	if p.asks = nil; p.entered {
		p.asks = [][]chan error{waiting}
		l.conn.send(p.encode("enter"))
		return
	}
	for _, answer := range waiting {
		answer <- nil
	}
}

// settleLocked answers the first n groups that wait.
func (p *Presence) settleLocked(n int, err error) {
	for _, group := range p.asks[:n] {
		for _, answer := range group {
			answer <- err
		}
	}
	p.asks = p.asks[n:]
}

func (p *Presence) sortedLocked() []ChannelMember {
	return slices.SortedFunc(maps.Values(p.members), func(a, b ChannelMember) int { return cmp.Compare(a.ID, b.ID) })
}

// presenceLocked returns the part that an answer is for, nil if there is none.
func (c *Client) presenceLocked(f *frame) *Presence {
	for _, p := range c.presences {
		if p.channel == f.Channel && len(p.asks) > 0 && (p.options.ID == "" || f.ID == "" || p.options.ID == f.ID) {
			return p
		}
	}
	return nil
}

// presenceAnswered takes a "presence_ok" frame.
func (c *Client) presenceAnswered(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.presenceLocked(f); p != nil {
		p.settleLocked(1, nil)
	}
}

// presenceRefused takes an error frame about a channel, and reports whether it answers a
// presence frame. What was entered before is tried again.
func (c *Client) presenceRefused(conn *conn, f *frame) bool {
	if f.Action == "" {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.presenceLocked(f)
	if p == nil {
		return true // it waits no more, or a right has ended
	}
	refusal := f.refusal()
	if refusal.passing() && p.entered {
		time.AfterFunc(max(refusal.RetryAfter, c.timing.backoff.delay(1)), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.conn == conn && p.entered && !p.ended {
				c.conn.send(p.encode("enter"))
			}
		})
		return true
	}
	p.settleLocked(1, refusal)
	return true
}

// presenceTold takes a "presence" or "occupancy" frame.
func (c *Client) presenceTold(f *frame) error {
	var told presenceFrame
	if err := json.Unmarshal(f.text, &told); err != nil {
		return fmt.Errorf("decode frame: %w", err)
	}
	var listed []ChannelMember
	if told.Sync != nil {
		if err := json.Unmarshal(told.Members, &listed); err != nil {
			return fmt.Errorf("decode frame: %w", err)
		}
	}
	change := PresenceChange{
		Channel: f.Channel, Entered: told.Entered, Updated: told.Updated, Left: told.Left,
		Anew: told.Sync != nil, Count: told.Count, Subscribers: told.Subscribers,
	}
	large := f.Type == "occupancy"
	if large {
		change.Count, _ = strconv.Atoi(string(told.Members))
	}
	c.mu.Lock()
	var call []func(PresenceChange)
	for _, p := range c.presences {
		if p.channel != f.Channel || p.options.OnChange == nil {
			continue
		}
		if large || told.Sync != nil && told.Sync.Part == 1 {
			clear(p.members)
		}
		for _, m := range slices.Concat(listed, told.Entered, told.Updated) {
			p.members[m.ID] = m
		}
		for _, m := range told.Left {
			delete(p.members, m.ID)
		}
		change.Members = p.sortedLocked()
		call = append(call, p.options.OnChange)
	}
	c.mu.Unlock()
	if told.Sync != nil && !told.Sync.Last {
		return nil // the rest follows
	}
	for _, on := range call {
		on(change)
	}
	return nil
}
