package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// channels are those whose messages are kept; transient ones are only passed on.
var (
	channels   = []string{"t:0", "t:1", "t:2", "t:3"}
	transients = []string{"m:0", "m:1"}
)

// door is a node as clients see it.
type door struct{ name, address string }

// workload is what the clients do while the cluster suffers.
type workload struct {
	recorder           *Recorder
	serverKey          string
	adminToken         string
	project            string
	sdk                string        // folder of the JavaScript SDK; empty for none
	doors              func() []door // those that clients may try now
	roomDoors          func() []door // the same for members, with a node that has joined
	http               *http.Client
	stop               chan struct{} // nothing new from here on
	stopOnce           sync.Once
	running            sync.WaitGroup // who publishes
	subscribers        sync.WaitGroup
	users              []*member
	clientUsers        []*clientMember
	members            sync.WaitGroup // users and watchers
	standing           sync.WaitGroup // users that still do something
	still, leave       chan struct{}  // users do nothing more; and end
	leaveOnce          sync.Once
	finish             atomic.Pointer[finish]
	tags               atomic.Int64
	published, refused atomic.Int64
}

// finish is what subscribers have yet to get before they end.
type finish struct {
	heads    map[string]uint64
	deadline time.Time
}

// caughtUp records that a session should have had all up to these heads.
func (w *workload) caughtUp(session, node string, heads map[string]uint64) {
	for channel, head := range heads {
		w.recorder.Add(Event{Kind: CaughtUp, Session: session, Node: node, Channel: channel, Head: head})
	}
}

func newWorkload(recorder *Recorder, serverKey, adminToken, project string, doors func() []door) *workload {
	return &workload{
		recorder: recorder, serverKey: serverKey, adminToken: adminToken, project: project, doors: doors,
		http: &http.Client{
			Timeout: 12 * time.Second, // a node answers within ten
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
				MaxIdleConnsPerHost: 4,
				IdleConnTimeout:     2 * time.Second,
			},
		},
		stop: make(chan struct{}), still: make(chan struct{}), leave: make(chan struct{}),
	}
}

// start lets the clients loose; watchers are one on each of nodes.
func (w *workload) start(seed uint64, nodes []door) {
	workers := 0
	random := func() *rand.Rand {
		workers++
		return rand.New(rand.NewPCG(seed, uint64(workers)))
	}
	for n := range 3 {
		p := &publisher{workload: w, name: fmt.Sprintf("publisher-%d", n), random: random()}
		w.running.Go(p.run)
	}
	for n := range 6 {
		p := &poster{workload: w, name: fmt.Sprintf("poster-%d", n), random: random()}
		w.running.Go(p.run)
	}
	for n := range 4 {
		s := &subscriber{workload: w, name: fmt.Sprintf("subscriber-%d", n), random: random()}
		w.subscribers.Go(s.run)
	}
	for n := range 2 {
		s := &streamer{workload: w, name: fmt.Sprintf("streamer-%d", n), random: random()}
		w.subscribers.Go(s.run)
	}
	p := &poller{workload: w, name: "poller-0", random: random()}
	w.subscribers.Go(p.run)
	for n := range 2 {
		f := newFollower(w, followers+strconv.Itoa(n), random())
		w.running.Go(f.publish)
		w.subscribers.Go(f.run)
	}
	if w.sdk != "" {
		f, err := startSDKFollower(w, w.sdk, followers+"sdk", random())
		if err != nil {
			w.recorder.Add(Event{Kind: Died, Node: followers + "sdk", Note: err.Error()})
		} else {
			w.running.Go(f.publish)
			w.subscribers.Go(f.run)
		}
	}
	k := &keyholder{workload: w, random: random()}
	w.running.Go(k.run)
	w.startMembers(random, nodes)
}

// end stops publishing and waits for every outcome.
func (w *workload) end() {
	w.stopOnce.Do(func() { close(w.stop) })
	w.running.Wait()
}

// abandon ends all clients, wherever they are.
func (w *workload) abandon() {
	w.finish.Store(&finish{})
	w.end()
	w.subscribers.Wait()
	w.endMembers()
}

// drain lets subscribers have what is there, up to heads, and waits for them.
func (w *workload) drain(heads map[string]uint64, patience time.Duration) {
	w.finish.Store(&finish{heads, time.Now().Add(patience)})
	w.subscribers.Wait()
}

func (w *workload) stopped() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

// pause waits a while, or less when the workload ends.
func (w *workload) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.stop:
	}
}

// tag names a new message.
func (w *workload) tag(by string) string { return fmt.Sprintf("%s.%d", by, w.tags.Add(1)) }

// pick returns a node to try.
func (w *workload) pick(random *rand.Rand) door {
	doors := w.doors()
	return doors[random.IntN(len(doors))]
}

// channel returns a channel to publish to.
func (w *workload) channel(random *rand.Rand) string {
	if random.IntN(12) == 0 {
		return transients[random.IntN(len(transients))]
	}
	return channels[random.IntN(len(channels))]
}

func (w *workload) rest(d door, key string) *client.REST {
	return &client.REST{BaseURL: "http://" + d.address, APIKey: key, HTTP: w.http}
}

// settled completes the event of a publish by what package client says of it.
func settled(e Event, r client.Receipt, err error) Event {
	var refusal *client.Error
	switch {
	case err == nil:
		e.Outcome, e.Offset, e.Duplicate, e.Stamp = OK, r.Offset, r.Duplicate, r.Timestamp
	case errors.Is(err, client.ErrUnknown), errors.Is(err, client.ErrClosed):
		e.Outcome, e.Code = Unknown, err.Error()
	case errors.As(err, &refusal):
		e.Outcome, e.Code = Failed, string(refusal.Code)
	default:
		e.Outcome, e.Code = Failed, err.Error()
	}
	return e
}

// settle records what became of a publish.
func (w *workload) settle(e Event) {
	if e.Outcome == OK {
		w.published.Add(1)
	} else {
		w.refused.Add(1)
	}
	w.recorder.Add(e)
}

// poster publishes over REST, one message or several at a time, some with an id
// that lets it try again.
type poster struct {
	*workload
	name   string
	random *rand.Rand
}

func (p *poster) run() {
	for !p.stopped() {
		count := 1
		if p.random.IntN(4) == 0 {
			count = 2 + p.random.IntN(6)
		}
		var messages []Event
		for range count {
			e := Event{Kind: Publish, Channel: p.channel(p.random), Tag: p.tag(p.name)}
			if kept(e.Channel) && p.random.IntN(3) > 0 {
				e.ID = e.Tag
			}
			messages = append(messages, e)
		}
		// What may not have happened is tried again, elsewhere, if its id allows it;
		// and now and then what has happened, too.
		for tries := 0; tries < 8 && len(messages) > 0; tries++ {
			again := messages[:0]
			for _, e := range p.post(p.pick(p.random), messages) {
				if e.ID != "" && (e.Outcome != OK || p.random.IntN(20) == 0) {
					again = append(again, Event{Kind: Publish, Channel: e.Channel, Tag: e.Tag, ID: e.ID})
				}
			}
			messages = again
			if len(messages) > 0 {
				time.Sleep(time.Duration(100+p.random.IntN(400)) * time.Millisecond)
			}
		}
		p.pause(time.Duration(20+p.random.IntN(100)) * time.Millisecond)
	}
}

// post publishes messages through one node and returns what became of them.
func (p *poster) post(to door, messages []Event) []Event {
	done := make([]Event, len(messages))
	for i, e := range messages {
		e.Began, e.Node, e.Session = p.recorder.Now(), to.name, p.name
		done[i] = e
	}
	done = publishAll(p.rest(to, p.serverKey), done)
	for _, e := range done {
		p.settle(e)
	}
	return done
}

// publishAll publishes messages at once and returns what became of them.
func publishAll(rest *client.REST, messages []Event) []Event {
	publication := func(e Event) client.Publication {
		return client.Publication{Channel: e.Channel, Data: payload(e.Tag), ID: e.ID}
	}
	if len(messages) == 1 {
		r, err := rest.Publish(context.Background(), publication(messages[0]))
		return []Event{settled(messages[0], r, err)}
	}
	var batch []client.Publication
	for _, e := range messages {
		batch = append(batch, publication(e))
	}
	results, err := rest.Batch(context.Background(), batch)
	done := make([]Event, len(messages))
	for i, e := range messages {
		if err != nil {
			done[i] = settled(e, client.Receipt{}, err)
		} else {
			done[i] = settled(e, results[i].Receipt, results[i].Err)
		}
	}
	return done
}
