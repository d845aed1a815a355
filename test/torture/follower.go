package torture

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// follower follows all channels with package client, which reconnects and resumes
// by itself.
type follower struct {
	*workload
	name   string
	random *rand.Rand
	client *client.Client
}

func newFollower(w *workload, name string, random *rand.Rand) *follower {
	f := &follower{workload: w, name: name, random: random}
	var err error
	f.client, err = client.New(client.Options{Endpoints: f.endpoints(random), APIKey: f.serverKey})
	if err != nil {
		panic(err) // the options are constants
	}
	return f
}

// endpoints returns the addresses of the nodes in some order.
func (w *workload) endpoints(random *rand.Rand) (endpoints []string) {
	for _, d := range w.doors() {
		endpoints = append(endpoints, "ws://"+d.address)
	}
	random.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })
	return endpoints
}

// run subscribes, and ends when there is an end and it has got that far.
func (f *follower) run() {
	defer f.client.Close()
	subscriptions := make(map[string]*client.Subscription)
	for _, channel := range channels {
		f.recorder.Add(Event{Kind: Subscribe, Session: f.name, Channel: channel})
		s, err := f.client.Subscribe(context.Background(), channel, client.SubscribeOptions{
			From: client.All(),
			OnMessage: func(m client.Message) {
				f.recorder.Add(Event{
					Kind: Deliver, Session: f.name, Channel: m.Channel, Tag: tagOf(m.Data), Offset: m.Offset,
					Stamp: m.Timestamp, Replay: m.Replay,
				})
			},
			OnGap: func(g client.Gap) {
				f.recorder.Add(Event{Kind: Gap, Session: f.name, Channel: g.Channel, Offset: g.From, Head: g.To})
			},
			OnReset: func(r client.Reset) {
				f.recorder.Add(Event{Kind: Reset, Session: f.name, Channel: r.Channel})
			},
		})
		if err != nil {
			f.recorder.Add(Event{Kind: Died, Node: f.name, Note: err.Error()})
			return
		}
		subscriptions[channel] = s
	}
	for {
		end := f.finish.Load()
		if end == nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		last := make(map[string]uint64)
		for channel, s := range subscriptions {
			last[channel], _, _ = s.Position()
		}
		if reached(last, end.heads) || time.Now().After(end.deadline) {
			for channel, head := range end.heads {
				if subscriptions[channel] != nil {
					f.recorder.Add(Event{Kind: CaughtUp, Session: f.name, Channel: channel, Head: head})
				}
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// publish publishes until the workload ends, and waits for every outcome.
func (f *follower) publish() {
	var pending sync.WaitGroup
	defer pending.Wait()
	for !f.stopped() {
		e := Event{
			Kind: Publish, Session: f.name, Channel: channels[f.random.IntN(len(channels))], Tag: f.tag(f.name),
			Began: f.recorder.Now(),
		}
		e.ID = e.Tag
		bound, cancel := context.WithTimeout(context.Background(), time.Minute)
		pending.Add(1)
		err := f.client.PublishAsync(bound, client.Publication{Channel: e.Channel, Data: payload(e.Tag), ID: e.ID},
			func(r client.Receipt, err error) {
				defer pending.Done()
				cancel()
				f.settle(settled(e, r, err))
			})
		if err != nil {
			pending.Done()
			cancel()
			f.settle(settled(e, client.Receipt{}, err))
		}
		f.pause(time.Duration(20+f.random.IntN(120)) * time.Millisecond)
	}
}
