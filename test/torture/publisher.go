package torture

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// publisher publishes over one WebSocket after the other, several messages at a
// time. What has an id and may not have happened it sends again.
type publisher struct {
	*workload
	name   string
	random *rand.Rand
	again  []Event // to be sent again
}

func (p *publisher) run() {
	for n := 0; !p.stopped() || len(p.again) > 0 && n < 1000; n++ {
		to := p.pick(p.random)
		s, err := dial(to.address, p.serverKey)
		if err != nil {
			time.Sleep(time.Duration(100+p.random.IntN(300)) * time.Millisecond)
			if p.stopped() {
				n += 50 // the cluster is healed: a few tries will do
			}
			continue
		}
		c := &publishing{publisher: p, socket: s, session: p.tag(p.name), node: to.name}
		c.run(time.Duration(2000+p.random.IntN(8000)) * time.Millisecond)
		p.again = append(p.again, c.again...)
	}
}

// publishing is one connection of a publisher.
type publishing struct {
	*publisher
	socket  *socket
	session string
	node    string
	key     string // id of the API key, if it is one to be revoked
	seq     int

	mu      sync.Mutex
	ended   bool
	pending []Event // sent and not answered, oldest first
	again   []Event
}

const maxPending = 32

// run publishes for so long, or as long as the connection lasts.
func (c *publishing) run(lifetime time.Duration) {
	var reading sync.WaitGroup
	reading.Go(c.read)
	end := time.Now().Add(lifetime)
	backlog := c.publisher.again
	c.publisher.again = nil
	for time.Now().Before(end) && (!c.stopped() || len(backlog) > 0) {
		if c.waiting() >= maxPending {
			time.Sleep(5 * time.Millisecond)
			if c.over() {
				break
			}
			continue
		}
		var e Event
		if len(backlog) > 0 {
			e, backlog = backlog[0], backlog[1:]
		} else {
			e = Event{Kind: Publish, Channel: c.channel(c.random), Tag: c.tag(c.name)}
			if kept(e.Channel) && c.random.IntN(2) == 0 {
				e.ID = e.Tag
			}
		}
		if !c.send(e) {
			break
		}
		c.pause(time.Duration(c.random.IntN(60)) * time.Millisecond)
	}
	for patience := time.Now().Add(11 * time.Second); c.waiting() > 0 && time.Now().Before(patience) && !c.over(); {
		time.Sleep(5 * time.Millisecond)
	}
	c.socket.close()
	reading.Wait()
	c.again = append(c.again, backlog...)
}

func (c *publishing) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

func (c *publishing) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// send sends a message and reports whether the connection still lives.
func (c *publishing) send(e Event) bool {
	c.seq++
	e.Session, e.Node, e.Key, e.Seq, e.Began = c.session, c.node, c.key, c.seq, c.recorder.Now()
	message := map[string]any{
		"type": "publish", "channel": e.Channel, "message": payload(e.Tag),
		"timestamp": time.Now().UnixMilli(),
	}
	if e.ID != "" {
		message["id"] = e.ID
	}
	c.mu.Lock()
	if c.ended {
		c.repeat(e)
		c.mu.Unlock()
		return false
	}
	c.pending = append(c.pending, e)
	c.mu.Unlock()
	return c.socket.send(message) == nil
}

// read takes the answers until the connection ends.
func (c *publishing) read() {
	for {
		f, err := c.socket.next(silence)
		if err != nil {
			c.lost()
			return
		}
		switch f.Type {
		case "published":
			c.answered(f, OK)
		case "error":
			switch {
			case f.Channel == "":
				// It is about the connection, which ends now.
			case f.Code == "outcome_unknown" || f.Code == "internal":
				c.answered(f, Unknown)
				c.moveOn()
			default:
				c.answered(f, Failed)
			}
		}
	}
}

// answered settles the publish that a frame is about: that with its id, or the
// oldest of its channel without one.
func (c *publishing) answered(f frame, outcome Outcome) {
	c.mu.Lock()
	at := slices.IndexFunc(c.pending, func(e Event) bool { return e.Channel == f.Channel && e.ID == f.ID })
	if at < 0 {
		c.mu.Unlock()
		return
	}
	e := c.pending[at]
	c.pending = slices.Delete(c.pending, at, at+1)
	e.Outcome, e.Code = outcome, f.Code
	if outcome == OK {
		e.Offset, e.Stamp, e.Duplicate = f.Offset, f.Timestamp, f.Duplicate
	}
	c.repeat(e)
	c.mu.Unlock()
	c.settle(e)
}

// repeat queues a message to send again. mu is held.
func (c *publishing) repeat(e Event) {
	if e.Outcome != OK && e.ID != "" {
		c.again = append(c.again, Event{Kind: Publish, Channel: e.Channel, Tag: e.Tag, ID: e.ID})
	}
}

// moveOn has the publisher repeat elsewhere what this node does not know the outcome of.
func (c *publishing) moveOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// lost leaves open what became of all that was not answered.
func (c *publishing) lost() {
	c.mu.Lock()
	c.ended = true
	pending := c.pending
	c.pending = nil
	for i := range pending {
		pending[i].Outcome, pending[i].Code = Unknown, "connection lost"
		c.repeat(pending[i])
	}
	c.mu.Unlock()
	for _, e := range pending {
		c.settle(e)
	}
}

// refusalCode returns the code that authentication was refused with.
func refusalCode(err error) string {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.code
	}
	return err.Error()
}
