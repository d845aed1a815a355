package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/gateway/protocol"
)

// cursorScript drives one connection with a small socket at random: messages
// come, retention takes some, the client subscribes, unsubscribes and stops
// reading for a while.
type cursorScript struct {
	h      *harness
	rng    *rand.Rand
	c      *client
	gate   sync.Mutex // held while the client does not read
	mu     sync.Mutex
	starts []protocol.StartPoint // of the subscribes sent and not yet answered
}

func newCursorScript(h *harness, seed uint64) *cursorScript {
	c := h.dial("")
	if err := c.socket.(*net.TCPConn).SetReadBuffer(32 << 10); err != nil {
		h.t.Fatal(err)
	}
	c.in = bufio.NewReaderSize(c.socket, 1<<10)
	c.text(`{"type":"auth","apiKey":%q}`, h.secret)
	c.want("auth_success")
	c.want("connected")
	return &cursorScript{h: h, rng: rand.New(rand.NewPCG(seed, 0)), c: c}
}

// post sends a frame; an error shows at the reading end.
func (s *cursorScript) post(format string, args ...any) {
	_, _ = s.c.socket.Write(clientFrame(ws.OpText, true, fmt.Appendf(nil, format, args...)))
}

func (s *cursorScript) publish(n int) {
	head := s.head()
	data := make([]string, n)
	for i := range data {
		data[i] = fmt.Sprintf(`[%d,"%s"]`, head+uint64(i)+1, strings.Repeat("x", s.rng.IntN(3000)))
	}
	s.h.broker.append(s.h.channel("c"), data...)
}

func (s *cursorScript) head() uint64 {
	info, err := s.h.broker.Channel(s.h.t.Context(), s.h.channel("c"))
	if err != nil {
		panic(err)
	}
	return info.Head
}

func (s *cursorScript) trim() {
	if head := s.head(); head > 0 {
		s.h.broker.trim(s.h.channel("c"), head-min(head, s.rng.Uint64N(40))+1)
	}
}

func (s *cursorScript) subscribe() {
	var start protocol.StartPoint
	var more string
	switch s.rng.IntN(4) {
	case 0:
		start = protocol.StartPoint{From: protocol.StartAll}
		more = `,"from":"all"`
	case 1:
		start = protocol.StartPoint{From: protocol.StartLive}
		more = `,"from":"live"`
	case 2:
		start = protocol.StartPoint{From: protocol.StartLast, Offset: s.rng.Uint64N(30)}
		more = fmt.Sprintf(`,"from":{"last":%d}`, start.Offset)
	case 3:
		start = protocol.StartPoint{From: protocol.StartAfter, Offset: 1 + s.rng.Uint64N(s.head()+1)}
		more = fmt.Sprintf(`,"fromOffset":%d`, start.Offset)
	}
	s.mu.Lock()
	s.starts = append(s.starts, start)
	s.mu.Unlock()
	s.post(`{"type":"subscribe","channel":"c"%s}`, more)
}

// answered returns the start of the subscribe that is answered next.
func (s *cursorScript) answered() protocol.StartPoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := s.starts[0]
	s.starts = s.starts[1:]
	return start
}

// stall lets the client read nothing while do runs.
func (s *cursorScript) stall(do func()) {
	s.gate.Lock()
	defer s.gate.Unlock()
	do()
}

// read returns the next frame once the client may read.
func (s *cursorScript) read() frame {
	s.gate.Lock()
	s.gate.Unlock() //nolint:staticcheck // only to wait for it
	return s.c.next()
}

// finish tells the reader how far the channel reaches, and makes it look.
func (s *cursorScript) finish(end chan uint64) {
	end <- s.head()
	_, _ = s.c.socket.Write(clientFrame(ws.OpPing, true, nil))
}

func checkData(f frame) error {
	var data []any
	if err := json.Unmarshal(f.Data, &data); err != nil || data[0] != float64(f.offset()) {
		return fmt.Errorf("offset %d brings %.40s", f.offset(), f.Data)
	}
	return nil
}

// In order, no hole, no repeat, and a gap exactly where retention was faster.
func TestCursorKeepsOrder(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.SendBufferBytes, c.CommitBacklogBytes = 8<<10, 64<<10 })
		for seed := range uint64(12) {
			h.broker.set(func() { delete(h.broker.channels, h.channel("c")) })
			s := newCursorScript(h, seed)
			end := make(chan uint64, 1)
			go func() {
				subscribed := false
				for range 30 {
					switch s.rng.IntN(6) {
					case 0, 1:
						s.publish(1 + s.rng.IntN(30))
					case 2:
						s.trim()
					case 3:
						if subscribed {
							s.post(`{"type":"unsubscribe","channel":"c"}`)
						} else {
							s.subscribe()
						}
						subscribed = !subscribed
					default:
						s.stall(func() {
							for range s.rng.IntN(8) {
								s.publish(1 + s.rng.IntN(30))
							}
							s.trim()
						})
					}
				}
				if !subscribed {
					s.subscribe()
				}
				s.publish(2)
				s.finish(end)
			}()
			if err := s.followOne(end); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			_ = s.c.socket.Close()
		}
	})
}

// followOne checks what one subscription after the other gets, until the last
// one has reached the end.
func (s *cursorScript) followOne(end chan uint64) error {
	var (
		open     bool
		next     uint64
		replayTo uint64
		last     uint64
	)
	for {
		select {
		case last = <-end:
		default:
		}
		if last > 0 && open && next > last && s.waiting() == 0 {
			return nil
		}
		f := s.read()
		switch f.Type {
		case "subscribed":
			start := s.answered()
			open, replayTo = true, f.offset()
			switch {
			case start.From == protocol.StartAfter && start.Offset <= replayTo:
				next = start.Offset + 1
				if *f.Recovered != (f.Earliest <= next) {
					return fmt.Errorf("from %d: %s", start.Offset, f)
				}
			case start.From == protocol.StartAfter || start.From == protocol.StartLive:
				next = replayTo + 1
			case start.From == protocol.StartAll:
				next = f.Earliest
			case start.From == protocol.StartLast:
				next = max(f.Earliest, replayTo+1-min(start.Offset, replayTo))
			}
		case "unsubscribed":
			open = false
		case "message":
			offset := f.offset()
			switch {
			case !open:
				return fmt.Errorf("%.80s while not subscribed", f)
			case offset != next:
				return fmt.Errorf("offset %d, want %d", offset, next)
			case *f.Replay != (offset <= replayTo):
				return fmt.Errorf("offset %d has replay %v, subscribed at %d", offset, *f.Replay, replayTo)
			}
			if err := checkData(f); err != nil {
				return err
			}
			next = offset + 1
		case "gap":
			info, _ := s.h.broker.Channel(s.h.t.Context(), s.h.channel("c"))
			if !open || f.From != next || f.To < f.From || f.To >= info.Earliest {
				return fmt.Errorf("%s: want from %d, earliest is %d", f, next, info.Earliest)
			}
			next = f.To + 1
		case "pong":
		default:
			return fmt.Errorf("got %s", f)
		}
	}
}

// Whatever a client subscribes to again, it gets each message once.
func TestSubscribingAgainRepeatsNothing(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.SendBufferBytes = 8 << 10 })
		for seed := range uint64(8) {
			h.broker.set(func() { delete(h.broker.channels, h.channel("c")) })
			s := newCursorScript(h, 1000+seed)
			s.publish(40)
			end := make(chan uint64, 1)
			go func() {
				s.subscribe()
				for range 20 {
					switch s.rng.IntN(4) {
					case 0:
						s.publish(1 + s.rng.IntN(20))
					case 1:
						s.stall(func() { s.publish(60) })
					default:
						s.subscribe()
					}
				}
				s.publish(1)
				s.finish(end)
			}()
			if err := s.followAll(end); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			_ = s.c.socket.Close()
		}
	})
}

func (s *cursorScript) followAll(end chan uint64) error {
	seen := make(map[uint64]bool)
	low, last := uint64(1<<62), uint64(0)
	for {
		select {
		case last = <-end:
		default:
		}
		complete := last > 0 && s.waiting() == 0
		for offset := low; complete && offset <= last; offset++ {
			complete = seen[offset]
		}
		if complete {
			for offset := range seen {
				if offset < low {
					return fmt.Errorf("offset %d came, asked for from %d", offset, low)
				}
			}
			return nil
		}
		f := s.read()
		switch f.Type {
		case "subscribed":
			start, head := s.answered(), f.offset()
			wanted := head + 1
			switch {
			case start.From == protocol.StartAll:
				wanted = 1
			case start.From == protocol.StartLast:
				wanted = head + 1 - min(start.Offset, head)
			case start.From == protocol.StartAfter && start.Offset <= head:
				wanted = start.Offset + 1
			}
			low = min(low, wanted)
		case "message":
			if seen[f.offset()] {
				return fmt.Errorf("offset %d came twice", f.offset())
			}
			seen[f.offset()] = true
			if err := checkData(f); err != nil {
				return err
			}
		case "pong":
		default:
			var missing []uint64
			for offset := low; offset <= last; offset++ {
				if !seen[offset] {
					missing = append(missing, offset)
				}
			}
			return fmt.Errorf("got %s; of %d to %d are missing %v; %d subscribes not answered", f, low, last, missing,
				s.waiting())
		}
	}
}

func (s *cursorScript) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.starts)
}

// A connection with many channels behind serves them in turn, and one slow
// client does not hold up another.
func TestFairness(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) { c.Loops = 1 })
		big := `"` + strings.Repeat("x", 10<<10) + `"`
		for _, name := range []string{"a", "b"} {
			for range 100 {
				h.broker.append(h.channel(name), big)
			}
		}
		slow := h.open(h.public)
		slow.text(`{"type":"subscribe","channel":"a"}`) // and never reads again
		c := h.open(h.public)
		c.text(`{"type":"subscribe","channel":"a"}`)
		c.text(`{"type":"subscribe","channel":"b"}`)
		got := map[string]int{}
		for got["a"]+got["b"] < 200 {
			f := c.next()
			if f.Type == "message" {
				got[*f.Channel]++
			}
			if got["a"] == 60 && got["b"] == 0 {
				t.Fatal("one channel waits for the other")
			}
		}
	})
}

func TestStalledSocketIsClosed(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.StallTimeout, c.CloseGrace, c.SendBufferBytes = time.Second, 50*time.Millisecond, 4<<10
		})
		c := h.open(h.public)
		c.subscribe("c", "")
		big := `"` + strings.Repeat("x", 60<<10) + `"`
		for range 200 {
			h.broker.append(h.channel("c"), big)
		}
		eventually(t, func() string {
			if n := h.server.ConnectionCount(); n != 0 {
				return fmt.Sprintf("%d connections left", n)
			}
			return ""
		})
		// It comes back with its last offset and misses nothing.
		var last uint64
		for f := c.next(); f.Type == "message"; f = c.next() {
			last = f.offset()
		}
		d := h.open(h.public)
		d.subscribe("c", fmt.Sprintf(`,"fromOffset":%d`, last))
		for offset := last + 1; offset <= 200; offset++ {
			if f := d.want("message"); f.offset() != offset {
				t.Fatalf("offset %d, want %d", f.offset(), offset)
			}
		}
	})
}
