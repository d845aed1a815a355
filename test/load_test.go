package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// load publishes on every node at a steady rate and keeps a ledger of what was
// acknowledged.
type load struct {
	t        *testing.T
	cluster  site
	channels []string
	clients  []*client.Client

	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	acked   map[string]acked // by message id
	sent    map[string]bool
	last    time.Time     // of the latest acknowledgement
	longest time.Duration // between two acknowledgements, since watch
}

type acked struct {
	channel string
	offset  uint64
}

// entry is the payload of a load's messages.
type entry struct {
	ID string `json:"id"`
}

// startLoad publishes rate messages a second over all channels until end.
func startLoad(t *testing.T, c site, channels, rate int) *load {
	t.Helper()
	// A slow machine makes a load longer; what it checks in the end must still be there.
	rules := []client.Rule{{
		Pattern: "load:*", KeepMessages: 1_000_000, KeepFor: client.Duration(24 * time.Hour),
		Initial: &client.Initial{All: true},
	}}
	if _, err := admin(c, 0).UpdateProject(within(t, deadline), defaultProject(t, c).ID,
		client.ProjectChange{Rules: &rules}); err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, cluster: c, stop: make(chan struct{}), acked: make(map[string]acked), sent: make(map[string]bool)}
	for i := range channels {
		l.channels = append(l.channels, fmt.Sprintf("load:%d", i))
	}
	for i := range c.Len() {
		// Each publisher prefers its own node and has the others to fall back on.
		order := []int{i}
		for j := range c.Len() {
			if j != i {
				order = append(order, j)
			}
		}
		l.clients = append(l.clients, connect(t, c, c.keys().server, order...))
	}
	l.wg.Go(func() { l.publish(time.Second / time.Duration(rate)) })
	return l
}

func (l *load) publish(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
		case <-l.stop:
			return
		}
		id := fmt.Sprintf("m%d", n)
		channel := l.channels[n%len(l.channels)]
		data, err := json.Marshal(entry{id})
		if err != nil {
			panic(err)
		}
		l.mu.Lock()
		l.sent[id] = true
		l.mu.Unlock()
		l.wg.Add(1)
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		err = l.clients[n%len(l.clients)].PublishAsync(ctx,
			client.Publication{Channel: channel, Data: json.RawMessage(data), ID: id},
			func(r client.Receipt, err error) {
				defer l.wg.Done()
				defer cancel()
				l.settled(id, channel, r, err)
			})
		if err != nil {
			cancel()
			l.wg.Done()
			l.t.Errorf("publish %s: %v", id, err)
			return
		}
	}
}

func (l *load) settled(id, channel string, r client.Receipt, err error) {
	if err != nil {
		l.t.Errorf("publish %s: %v", id, err) // every one may be retried until the cluster heals
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.last.IsZero() {
		l.longest = max(l.longest, now.Sub(l.last))
	}
	l.last = now
	l.acked[id] = acked{channel, r.Offset}
}

// await waits for n more acknowledgements.
func (l *load) await(n int) {
	l.t.Helper()
	l.mu.Lock()
	target := len(l.acked) + n
	l.mu.Unlock()
	eventually(l.t, deadline, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.acked) < target {
			return fmt.Errorf("%d of %d messages acknowledged", len(l.acked), target)
		}
		return nil
	})
}

// watch forgets the longest pause so far.
func (l *load) watch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest = 0
}

// pause returns the longest time without an acknowledgement since watch, also when it
// has not ended.
func (l *load) pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.longest, time.Since(l.last))
}

// end stops publishing and waits for every outcome.
func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

// check reads every channel from every node and holds it against the ledger:
// what was acknowledged is there once at its offset, there is no hole, nothing
// comes twice, nothing is there that was not sent, and all nodes agree.
func (l *load) check() {
	l.t.Helper()
	ctx := within(l.t, deadline)
	heads := make(map[string]uint64) // as far as was acknowledged
	for _, a := range l.acked {
		heads[a.channel] = max(heads[a.channel], a.offset)
	}
	var first map[string][]client.Message
	for i := range l.cluster.Len() {
		began := time.Now()
		l.awaitHeads(ctx, i, heads)
		l.t.Logf("%s is in step after %v", l.cluster.Name(i), time.Since(began))
		found := make(map[string]acked)
		logs := make(map[string][]client.Message)
		for _, channel := range l.channels {
			var messages []client.Message
			eventually(l.t, deadline, func() error {
				var err error
				messages, err = history(ctx, l.cluster, i, channel)
				return err
			})
			logs[channel] = messages
			for n, m := range messages {
				var e entry
				if err := json.Unmarshal(m.Data, &e); err != nil {
					l.t.Fatal(err)
				}
				if m.Offset != uint64(n+1) {
					l.t.Fatalf("%s on %s: offset %d where %d belongs", channel, l.cluster.Name(i), m.Offset, n+1)
				}
				if before, twice := found[e.ID]; twice {
					l.t.Errorf("%s on %s: %s is at %d and again at %d", channel, l.cluster.Name(i), e.ID, before.offset, m.Offset)
				}
				if !l.sent[e.ID] {
					l.t.Errorf("%s on %s: nobody sent %s", channel, l.cluster.Name(i), e.ID)
				}
				found[e.ID] = acked{channel, m.Offset}
			}
		}
		for id, want := range l.acked {
			if found[id] != want {
				l.t.Errorf("%s: %s was acknowledged at %v and is at %v", l.cluster.Name(i), id, want, found[id])
			}
		}
		if first == nil {
			first = logs
			continue
		}
		if err := equalLogs(first, logs); err != nil {
			l.t.Errorf("%s and %s differ: %v", l.cluster.Name(0), l.cluster.Name(i), err)
		}
	}
	if len(l.acked) == 0 {
		l.t.Error("nothing was acknowledged: the check shows nothing")
	}
}

// awaitHeads waits until node i has applied what was acknowledged: a node may
// learn of it a moment after the client.
func (l *load) awaitHeads(ctx context.Context, i int, heads map[string]uint64) {
	l.t.Helper()
	eventually(l.t, deadline, func() error {
		for channel, head := range heads {
			page, err := rest(l.cluster, i).History(ctx, channel, head, 1)
			if err != nil {
				return err
			}
			if page.Offset < head {
				return fmt.Errorf("%s has %s up to %d of %d", l.cluster.Name(i), channel, page.Offset, head)
			}
		}
		return nil
	})
}

func equalLogs(a, b map[string][]client.Message) error {
	for channel, messages := range a {
		if len(messages) != len(b[channel]) {
			return fmt.Errorf("%s has %d and %d messages", channel, len(messages), len(b[channel]))
		}
		for n, m := range messages {
			if other := b[channel][n]; m.Timestamp != other.Timestamp || string(m.Data) != string(other.Data) {
				return errors.New(channel + " differs at offset " + fmt.Sprint(m.Offset))
			}
		}
	}
	return nil
}
