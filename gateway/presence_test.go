package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/internal/testtoken"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// memberFrame is a presence or occupancy frame.
type memberFrame struct {
	Type    string
	Channel string
	Sync    *struct {
		Part int
		Last bool
	}
	Members json.RawMessage
	Entered []shownMember
	Updated []shownMember
	Left    []struct{ ID, Reason string }

	Count, Subscribers int
}

type shownMember struct {
	ID          string
	Data        json.RawMessage
	Since       int64
	Connections int
}

// watcher is a client that keeps the members of a channel by what it is told.
type watcher struct {
	*client
	members map[string]string // data by id
	events  []string
}

// havePresence gives all channels of the test project members.
func (h *harness) havePresence(adjust func(p *fsm.Presence)) {
	h.t.Helper()
	p := fsm.DefaultPresence
	p.Grace = 10 * time.Second
	if adjust != nil {
		adjust(&p)
	}
	rule := fsm.DefaultRule
	rule.Presence = p
	h.change(func(project *fsm.Project) { project.Rules = []fsm.Rule{rule} })
}

// tokenOf mints a token of a user with rights.
func (h *harness) tokenOf(sub, channels string) string {
	h.t.Helper()
	k, _ := h.broker.Key(h.secret)
	secret, _ := h.broker.SigningSecret(k.ID)
	ends := time.UnixMilli(h.broker.Stamp()).Add(time.Hour).Unix()
	claims := fmt.Sprintf(`{"kid":%q,"sub":%q,"exp":%d,"channels":%s}`, k.ID, sub, ends, channels)
	return testtoken.Mint(testtoken.Header, claims, secret)
}

// user opens a connection with the token of a user with all rights in all channels.
func (h *harness) user(sub string) *client {
	h.t.Helper()
	return h.open(h.tokenOf(sub, `{"*":["subscribe","publish","presence","members"]}`))
}

func (h *harness) watch(c *client, channel string) *watcher {
	h.t.Helper()
	c.subscribe(channel, `,"presence":"members"`)
	w := &watcher{client: c, members: make(map[string]string)}
	for last := false; !last; {
		f := w.memberFrame("presence")
		if f.Sync == nil {
			h.t.Fatalf("no sync: %+v", f)
		}
		last = f.Sync.Last
		w.take(f)
	}
	w.events = nil
	return w
}

func (c *client) memberFrame(kind string) (m memberFrame) {
	c.t.Helper()
	f := c.want(kind)
	if err := json.Unmarshal([]byte(f.raw), &m); err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (w *watcher) take(m memberFrame) {
	w.t.Helper()
	if m.Sync != nil {
		if m.Sync.Part == 1 {
			clear(w.members)
		}
		var list []shownMember
		if err := json.Unmarshal(m.Members, &list); err != nil {
			w.t.Fatal(err)
		}
		m.Entered = list
	}
	for _, e := range m.Entered {
		if _, is := w.members[e.ID]; is {
			w.t.Fatalf("%s entered twice", e.ID)
		}
		w.members[e.ID] = string(e.Data)
		w.events = append(w.events, "+"+e.ID)
	}
	for _, u := range m.Updated {
		if _, is := w.members[u.ID]; !is {
			w.t.Fatalf("%s is updated and not there", u.ID)
		}
		w.members[u.ID] = string(u.Data)
		w.events = append(w.events, "="+u.ID)
	}
	for _, l := range m.Left {
		if _, is := w.members[l.ID]; !is {
			w.t.Fatalf("%s left and was not there", l.ID)
		}
		delete(w.members, l.ID)
		w.events = append(w.events, "-"+l.ID+" "+l.Reason)
	}
	if m.Count != len(w.members) && (m.Sync == nil || m.Sync.Last) {
		w.t.Fatalf("count %d of %v", m.Count, w.members)
	}
}

// until takes frames until the events are those wanted.
func (w *watcher) until(want ...string) {
	w.t.Helper()
	for len(w.events) < len(want) {
		w.take(w.memberFrame("presence"))
	}
	slices.Sort(w.events)
	slices.Sort(want)
	if !slices.Equal(w.events, want) {
		w.t.Fatalf("got %q, want %q", w.events, want)
	}
	w.events = nil
}

func (c *client) enter(channel, data string) {
	c.t.Helper()
	c.text(`{"type":"presence","channel":%q,"action":"enter","data":%s}`, channel, data)
	c.want("presence_ok")
}

func (c *client) presence(channel, action, more string) {
	c.t.Helper()
	c.text(`{"type":"presence","channel":%q,"action":%q%s}`, channel, action, more)
}

func TestMembersOfAChannel(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller)
		h.havePresence(nil)
		w := h.watch(h.user("watcher"), "room")
		anna, bert := h.user("anna"), h.user("bert")
		anna.enter("room", `{"mood":1}`)
		w.until("+anna")
		bert.enter("room", "null")
		w.until("+bert")
		anna.presence("room", "update", `,"data":{"mood":2}`)
		if f := anna.want("presence_ok"); f.ID != "anna" {
			t.Errorf("got %s", f)
		}
		w.until("=anna")
		if w.members["anna"] != `{"mood":2}` {
			t.Errorf("anna has %s", w.members["anna"])
		}
		// Another connection of the same user is the same member.
		other := h.user("anna")
		other.enter("room", `{"mood":2}`)
		anna.presence("room", "leave", "")
		anna.want("presence_ok")
		bert.presence("room", "leave", "")
		bert.want("presence_ok")
		w.until("-bert left")
		late := h.watch(h.user("late"), "room")
		if len(late.members) != 1 || late.members["anna"] != `{"mood":2}` {
			t.Errorf("a late watcher has %v", late.members)
		}
		other.text(`{"type":"unsubscribe","channel":"room"}`)
		other.want("unsubscribed")
		w.until("-anna left")
		late.until("-anna left")
	})
}

// Who closes leaves at once, and whose connection breaks may come back within the grace.
func TestMembersLeaveByTheirClose(t *testing.T) {
	h := newHarness(t, "")
	h.havePresence(func(p *fsm.Presence) { p.Grace = 300 * time.Millisecond })
	w := h.watch(h.user("watcher"), "room")
	for _, code := range []ws.StatusCode{1000, 1001} {
		c := h.user("anna")
		c.enter("room", "1")
		w.until("+anna")
		c.send(string(clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(code, ""))))
		w.until("-anna left")
	}
	for name, leave := range map[string]func(c *client){
		"broken": func(c *client) { _ = c.socket.Close() },
		"4000":   func(c *client) { c.send(string(clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(4000, "")))) },
	} {
		c := h.user(name)
		c.enter("room", "1")
		w.until("+" + name)
		leave(c)
		w.until("-" + name + " timeout")
	}
	// A page that is loaded again is nothing.
	h.havePresence(nil)
	c := h.user("anna")
	c.enter("room", `"x"`)
	w.until("+anna")
	_ = c.socket.Close()
	eventually(t, func() string {
		members, _ := h.server.members.List(h.channel("room"), "", 10)
		if len(members) == 1 && members[0].Connections == 0 {
			return ""
		}
		return fmt.Sprintf("members %v", members)
	})
	c = h.user("anna")
	c.enter("room", `"x"`)
	c.presence("room", "update", `,"data":"y"`)
	c.want("presence_ok")
	w.until("=anna")
}

// More than maxMembers are counted, and named again when they are fewer.
func TestManyMembersAreCounted(t *testing.T) {
	h := newHarness(t, "")
	h.havePresence(func(p *fsm.Presence) { p.MaxMembers = 3 })
	w := h.watch(h.user("watcher"), "room")
	backend := h.open(h.secret)
	for i := range 3 {
		backend.presence("room", "enter", fmt.Sprintf(`,"id":"m%d"`, i))
		backend.want("presence_ok")
	}
	w.until("+m0", "+m1", "+m2")
	backend.presence("room", "enter", `,"id":"m3"`)
	backend.want("presence_ok")
	if f := w.memberFrame("occupancy"); f.Count != 0 || f.Subscribers != 1 || string(f.Members) != "4" {
		t.Errorf("got %+v", f)
	}
	late := h.user("late")
	late.subscribe("room", `,"presence":"members"`)
	late.memberFrame("occupancy")
	backend.presence("room", "leave", `,"id":"m1"`)
	backend.want("presence_ok")
	for {
		f := w.next()
		if f.Type == "occupancy" {
			continue
		}
		var m memberFrame
		if err := json.Unmarshal([]byte(f.raw), &m); err != nil || m.Sync == nil {
			t.Fatalf("got %s", f)
		}
		w.take(m)
		break
	}
	if names := slices.Sorted(maps.Keys(w.members)); !slices.Equal(names, []string{"m0", "m2", "m3"}) {
		t.Errorf("members %v", names)
	}
	counter := h.user("counter")
	counter.subscribe("room", `,"presence":"count"`)
	if f := counter.memberFrame("occupancy"); string(f.Members) != "3" || f.Channel != "room" {
		t.Errorf("got %+v", f)
	}
}

func TestPresenceIsRefused(t *testing.T) {
	h := newHarness(t, "")
	h.havePresence(func(p *fsm.Presence) { p.DataBytes = 10 })
	anna := h.user("anna")
	for _, c := range []struct {
		frame string
		code  refusal.Code
	}{
		{`"channel":"room","action":"dance"`, refusal.InvalidMessage},
		{`"channel":"","action":"enter"`, refusal.InvalidChannel},
		{`"channel":"room","action":"enter","data":"12345678901"`, refusal.MessageTooLarge},
		{`"channel":"room","action":"update"`, refusal.Conflict},
		{`"channel":"room","action":"enter","id":"bert"`, refusal.Forbidden},
		{`"channel":"room","action":"enter","id":7`, refusal.InvalidMessage},
	} {
		anna.text(`{"type":"presence",%s}`, c.frame)
		action, _, _ := strings.Cut(c.frame[strings.Index(c.frame, `"action"`):], ",")
		if f := anna.wantError(c.code); !strings.Contains(f.raw, action) {
			t.Errorf("%s does not say %s", f.raw, action)
		}
	}
	anna.text(`{"type":"subscribe","channel":"room","presence":"all"}`)
	anna.wantError(refusal.InvalidMessage)

	reader := h.open(h.tokenOf("reader", `{"*":["subscribe"]}`))
	reader.presence("room", "enter", "")
	reader.wantForbidden("room")
	reader.text(`{"type":"subscribe","channel":"room","presence":"count"}`)
	if f := reader.wantError(refusal.Forbidden); !strings.Contains(f.raw, `"presence":"count"`) {
		t.Errorf("%s does not say that it is about members", f.raw)
	}
	reader.subscribe("room", "")

	public := h.open(h.public)
	public.presence("room", "enter", "")
	public.wantForbidden("room")
	h.setAccess(fsm.Access{Presence: []string{"room"}, Members: []string{"room"}})
	public.presence("room", "enter", "")
	public.wantForbidden("room") // it has no sub
	h.havePresence(func(p *fsm.Presence) { p.Anonymous = true })
	public.presence("room", "enter", "")
	if f := public.want("presence_ok"); !strings.HasPrefix(f.ID, "anon:") {
		t.Errorf("got %s", f)
	}
	backend := h.open(h.secret)
	backend.presence("room", "enter", "")
	backend.wantError(refusal.InvalidMessage)

	// A project has room for so many.
	h.change(func(p *fsm.Project) { p.Quotas.Members = 1 })
	anna.presence("room", "enter", "")
	anna.wantError(refusal.RateLimited)
	h.change(func(p *fsm.Project) { p.Quotas.Members = 0 })

	// A channel without the rule has no members, and those that it had are gone.
	w := h.watch(anna, "room")
	h.change(func(p *fsm.Project) { p.Rules = nil })
	w.wantForbidden("room")
	public.wantForbidden("room")
	public.presence("room", "enter", "")
	public.wantForbidden("room")
	if n := h.server.members.InProject(testProject); n != 0 {
		t.Errorf("%d members are left", n)
	}
	// 20 at once, and then five a second.
	h.havePresence(nil)
	bert := h.user("bert")
	begun := time.Now()
	for i := range 100 {
		bert.presence("room", "leave", "")
		f := bert.next()
		switch most := 20 + 5*time.Since(begun).Seconds() + 1; {
		case i < 20 && f.Type != "presence_ok" || float64(i) > most && f.Code != refusal.RateLimited:
			t.Fatalf("%d: got %s", i, f)
		case f.Code == refusal.RateLimited:
			return
		}
	}
	t.Error("nothing is refused")
}

// The connection that takes another one's place counts as the same.
func TestMemberMoves(t *testing.T) {
	h := newHarness(t, "")
	h.havePresence(nil)
	w := h.watch(h.user("watcher"), "room")
	key := h.tokenOf("anna", `{"*":["subscribe","presence"]}`)
	old, id, _ := h.authenticate(key, "")
	old.enter("room", "1")
	w.until("+anna")
	fresh, _, _ := h.authenticate(key, fmt.Sprintf(`,"replaces":%q`, id))
	fresh.enter("room", "1")
	members, _ := h.server.members.List(h.channel("room"), "", 10)
	if len(members) != 1 || members[0].Connections != 1 {
		t.Errorf("members %+v", members)
	}
	old.send(string(clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(1000, ""))))
	fresh.presence("room", "update", `,"data":2`)
	fresh.want("presence_ok")
	w.until("=anna")
	_ = fresh.socket.Close()
}

// A connection whose place another one took, and which goes on after all, enters anew.
func TestMemberStaysWithItsOldConnection(t *testing.T) {
	h := newHarness(t, "")
	h.havePresence(nil)
	w := h.watch(h.user("watcher"), "room")
	key := h.tokenOf("anna", `{"*":["subscribe","presence"]}`)
	old, id, _ := h.authenticate(key, "")
	old.enter("room", "1")
	w.until("+anna")
	fresh, _, _ := h.authenticate(key, fmt.Sprintf(`,"replaces":%q`, id))
	fresh.enter("room", "1")
	fresh.send(string(clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(1000, ""))))
	old.enter("room", "2")
	old.presence("room", "update", `,"data":3`)
	old.want("presence_ok")
	eventually(t, func() string {
		members, _ := h.server.members.List(h.channel("room"), "", 10)
		if len(members) == 1 && members[0].Connections == 1 && members[0].Data == "3" {
			return ""
		}
		return fmt.Sprintf("members %+v", members)
	})
}

// A watcher whose socket is full is told everything that it missed.
func TestSlowWatcherCatchesUp(t *testing.T) {
	h := newHarness(t, "", func(c *Config) { c.SendBufferBytes = 4 << 10 })
	h.havePresence(func(p *fsm.Presence) { p.MaxMembers = 5000 })
	w := h.watch(h.user("watcher"), "room")
	backend := h.open(h.secret)
	const n = 300
	for i := range n {
		backend.presence("room", "enter", fmt.Sprintf(`,"id":"m%d","data":%q`, i, strings.Repeat("x", 900)))
	}
	for range n {
		backend.want("presence_ok")
	}
	backend.presence("room", "leave", `,"id":"m7"`)
	backend.want("presence_ok")
	for len(w.members) != n-1 || w.members["m7"] != "" {
		w.take(w.memberFrame("presence"))
	}
}

// A watcher whose socket is full of messages while something changes is told once there is room,
// even if nothing changes after that.
func TestBlockedWatcherIsTold(t *testing.T) {
	h := newHarness(t, "", func(c *Config) { c.SendBufferBytes, c.StallTimeout = 4<<10, time.Hour })
	h.havePresence(nil)
	w := h.watch(h.user("watcher"), "room")
	other := h.watch(h.user("other"), "room")
	for messages := 0; h.blockedConnections() == 0; messages++ {
		h.broker.append(h.channel("room"), fmt.Sprintf("%q", strings.Repeat("x", 32<<10)))
		other.want("message")
	}
	h.user("anna").enter("room", "1")
	other.until("+anna")
	for len(w.members) == 0 {
		f := w.next()
		if f.Type != "presence" {
			continue
		}
		var m memberFrame
		if err := json.Unmarshal([]byte(f.raw), &m); err != nil {
			t.Fatal(err)
		}
		w.take(m)
	}
}

// What a socket did not take of members is told again, unless a part of it is on its way.
func TestUnwrittenMembersAreToldAgain(t *testing.T) {
	h := newHarness(t, "")
	h.havePresence(nil)
	key := h.channel("room")
	h.server.ask(func(l *loop) func() {
		c := &conn{loop: l, who: auth.Unauthenticated, state: stateEnded}
		sub := &subscription{conn: c, channel: &localChannel{loop: l, key: key}}
		sub.startWatch(protocol.WatchMembers)
		c.out.urgent = []byte("answer")
		first := c.out.runs[0].frames.bytes
		c.account(c.joined(), 3)
		sub.tellMembers()
		if len(c.out.runs) != 1 || &c.out.runs[0].frames.bytes[0] != &first[0] {
			t.Errorf("told %v", c.out.runs)
		}
		c.account(c.joined(), len("wer")+1)
		sub.tellMembers()
		if len(c.out.runs) > 0 || string(c.out.partial) != string(first[1:]) {
			t.Errorf("told %v, and %q is left", c.out.runs, c.out.partial)
		}
		return func() {}
	})
}
