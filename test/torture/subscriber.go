package torture

import (
	"math/rand/v2"
	"time"
)

// subscriber follows all channels over one WebSocket after the other, each time
// from where it was, or now and then from the beginning.
type subscriber struct {
	*workload
	name   string
	random *rand.Rand
	last   map[string]uint64
}

func (s *subscriber) run() {
	s.last = make(map[string]uint64)
	for {
		to := s.pick(s.random)
		socket, err := dial(to.address, s.serverKey)
		if err == nil {
			if s.random.IntN(6) == 0 {
				clear(s.last)
			}
			l := &listening{workload: s.workload, socket: socket, session: s.tag(s.name), node: to.name, last: s.last}
			done := l.run(time.Now().Add(time.Duration(1500+s.random.IntN(8000)) * time.Millisecond))
			socket.close()
			if done {
				return
			}
		}
		if f := s.finish.Load(); f != nil && time.Now().After(f.deadline) {
			// It could not even connect: the event says how far it got.
			s.caughtUp(s.tag(s.name), "", f.heads)
			return
		}
		time.Sleep(time.Duration(20+s.random.IntN(300)) * time.Millisecond)
	}
}

// listening is one connection of a subscriber.
type listening struct {
	*workload
	socket  *socket
	session string
	node    string
	last    map[string]uint64 // by channel
	from    map[string]uint64 // what it asked for
}

// run listens until then, and when there is an end in sight up to that. It
// reports whether it got that far.
func (l *listening) run(until time.Time) (done bool) {
	l.from = make(map[string]uint64)
	for _, channel := range append(append([]string{}, channels...), transients...) {
		l.from[channel] = l.last[channel]
		if l.socket.send(map[string]any{"type": "subscribe", "channel": channel, "fromOffset": l.last[channel]}) != nil {
			return false
		}
	}
	heard := time.Now()
	joined := 0
	for {
		// Short waits, so that it notices its end. Nothing is torn by one: the
		// connection is given up only when it is silent for long.
		f, err := l.socket.peek(200 * time.Millisecond)
		end := l.finish.Load()
		switch {
		case err == nil:
			heard = time.Now()
			ok, subscribed := l.take(f)
			if !ok {
				return false
			}
			if subscribed {
				joined++
			}
		case !isTimeout(err) || time.Since(heard) > silence:
			return false
		}
		if end == nil {
			if time.Now().After(until) {
				return false
			}
			continue
		}
		if reached(l.last, end.heads) && joined == len(l.from) || time.Now().After(end.deadline) {
			l.caughtUp(l.session, l.node, end.heads)
			return true
		}
	}
}

func reached(last, heads map[string]uint64) bool {
	for channel, head := range heads {
		if last[channel] < head {
			return false
		}
	}
	return true
}

// take records a frame and reports whether the connection is of further use.
func (l *listening) take(f frame) (ok, subscribed bool) {
	e := Event{Session: l.session, Node: l.node, Channel: f.Channel}
	switch f.Type {
	case "subscribed":
		from := l.from[f.Channel]
		e.Kind, e.Offset, e.Head = Subscribe, from, f.Offset
		l.recorder.Add(e)
		if from > 0 && !f.Recovered {
			e.Kind = Reset
			l.recorder.Add(e)
		}
		return true, true
	case "message":
		e.Kind, e.Tag, e.Offset, e.Stamp, e.Replay = Deliver, tagOf(f.Data), f.Offset, f.Timestamp, f.Replay
		l.last[f.Channel] = f.Offset
	case "gap":
		e.Kind, e.Offset, e.Head = Gap, f.From, f.To
		l.last[f.Channel] = f.To
	case "error":
		if f.Channel == "" {
			return false, false
		}
		e.Kind, e.Code = Subscribe, f.Code
		l.recorder.Add(e)
		return false, false
	default:
		return true, false
	}
	l.recorder.Add(e)
	return true, false
}
