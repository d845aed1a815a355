package torture

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// heal notes that nothing is broken any more and waits until every member serves,
// for as long as it may take. It returns how long that took.
func (s *site) heal(w *workload) time.Duration {
	var names []string
	for _, i := range s.members() {
		names = append(names, s.cluster.Name(i))
	}
	s.recorder.Add(Event{Kind: Healed, Note: strings.Join(names, " ")})
	healed := time.Now()
	alive := make(map[int]bool)
	for time.Since(healed) < liveWithin && len(alive) < len(names) {
		s.tend()
		for _, i := range s.members() {
			if alive[i] || s.ended(i) || s.ready(i) != nil || s.nodes[i].damaged && !s.scrub(w, i) {
				continue
			}
			e := Event{
				Kind: Publish, Node: s.cluster.Name(i), Channel: channels[0], Tag: w.tag("healed"),
				Began: s.recorder.Now(),
			}
			bound, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
			r, err := w.rest(s.door(i), w.serverKey).Publish(bound, client.Publication{Channel: e.Channel, Data: payload(e.Tag)})
			cancel()
			w.settle(settled(e, r, err))
			if err == nil {
				alive[i] = true
				s.recorder.Add(Event{Kind: Live, Node: s.cluster.Name(i)})
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(healed)
}

// scrub has a node read everything that it stores, for it to find what is damaged
// now and not later. It reports whether that can be read.
func (s *site) scrub(w *workload, i int) bool {
	for _, channel := range channels {
		for after := uint64(0); ; {
			h, err := w.rest(s.door(i), w.serverKey).History(s.t.Context(), channel, after, 1000)
			if err != nil {
				return false
			}
			if len(h.Messages) == 0 {
				break
			}
			after = h.Messages[len(h.Messages)-1].Offset
		}
	}
	s.nodes[i].damaged = false
	return true
}

// settle waits until all members have the same, and nothing has come for a while:
// what clients gave up may be on its way through the cluster. It returns the heads.
func (s *site) settle(w *workload) map[string]uint64 {
	const quiet = 1500 * time.Millisecond
	var heads map[string]uint64
	for end, since := time.Now().Add(30*time.Second), time.Now(); time.Since(since) < quiet && time.Now().Before(end); {
		now, agreed := s.heads(w)
		if !agreed || !maps.Equal(now, heads) {
			heads, since = now, time.Now()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return heads
}

// heads returns how far each channel reaches, and whether all members say so.
func (s *site) heads(w *workload) (heads map[string]uint64, agreed bool) {
	heads, agreed = make(map[string]uint64), true
	for n, i := range s.members() {
		for _, channel := range channels {
			h, err := w.rest(s.door(i), w.serverKey).History(s.t.Context(), channel, 0, 1)
			agreed = agreed && err == nil && (n == 0 || h.Offset == heads[channel])
			heads[channel] = max(heads[channel], h.Offset)
		}
	}
	return heads, agreed
}

// readAll reads every channel from every member.
func (s *site) readAll(w *workload) {
	for _, channel := range channels {
		for _, i := range s.members() {
			s.read(w, i, channel)
		}
	}
}

// read reads what node i has of a channel.
func (s *site) read(w *workload, i int, channel string) {
	name := s.cluster.Name(i)
	after, earliest, head := uint64(0), uint64(0), uint64(0)
	for {
		var h client.History
		var err error
		for range 20 {
			if h, err = w.rest(s.door(i), w.serverKey).History(s.t.Context(), channel, after, 1000); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil {
			s.note("%s of %s cannot be read: %v", channel, name, err)
			break
		}
		earliest, head = h.Earliest, h.Offset
		for _, m := range h.Messages {
			s.recorder.Add(Event{
				Kind: Read, Node: name, Channel: channel, Tag: tagOf(m.Data), Offset: m.Offset,
				Stamp: m.Timestamp,
			})
			after = m.Offset
		}
		if len(h.Messages) == 0 || after >= h.Offset {
			break
		}
	}
	s.recorder.Add(Event{Kind: Retained, Node: name, Channel: channel, Offset: earliest, Head: head})
}

// resumeAll subscribes on every member from the beginning and from a few offsets.
func (s *site) resumeAll(w *workload, heads map[string]uint64, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1<<32))
	for _, i := range s.members() {
		for tries := range 3 {
			last := make(map[string]uint64)
			for channel, head := range heads {
				if tries > 0 && head > 0 {
					last[channel] = random.Uint64N(head + 1)
				}
			}
			l := &listening{
				workload: w, session: fmt.Sprintf("resumed-%s-%d", s.cluster.Name(i), tries),
				node: s.cluster.Name(i), last: last,
			}
			var err error
			if l.socket, err = dial(s.cluster.Addr(i), w.serverKey); err != nil {
				s.note("resume on %s: %v", l.node, err)
				w.caughtUp(l.session, l.node, heads)
				continue
			}
			w.finish.Store(&finish{heads, time.Now().Add(20 * time.Second)})
			l.run(time.Now())
			l.socket.close()
		}
	}
}
