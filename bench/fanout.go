package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// Fanout publishes to channels with many subscribers, or none, and counts each subscriber's
// deliveries. Channels are new and have one publisher each, so that subscribers know the
// next message.
type Fanout struct {
	Channels    int
	Subscribers int     // of each channel; 0 only publishes
	Publishers  int     // publishing connections to each server, which share the channels
	Rate        float64 // messages per second over all channels; 0 publishes as fast as Window allows
	// messages of a channel that not all subscribers have; without any, that are not acknowledged
	Window   int
	Pending  int           // messages of all channels that are not acknowledged; 0 is as many as their windows allow
	Size     int           // bytes of payload, at least MinSize
	Messages int           // to publish at most; 0 is as many as Duration allows
	Duration time.Duration // for which is published
	InFlight int           // clients that connect at a time
	Settle   time.Duration // to wait for what is under way at the end
}

// Validate reports the first field that cannot be used.
func (f Fanout) Validate() error {
	return cmp.Or(
		atLeast("channels", f.Channels, 1),
		atLeast("subscribers", f.Subscribers, 0),
		atLeast("publishers", f.Publishers, 1),
		atLeast("rate", f.Rate, 0),
		atLeast("window", f.Window, 1),
		atLeast("pending", f.Pending, 0),
		atLeast("size", f.Size, MinSize),
		atLeast("messages", f.Messages, 0),
		positive("duration", f.Duration),
		atLeast("in-flight", f.InFlight, 1),
	)
}

// FanoutReport is the result of a Fanout.
type FanoutReport struct {
	Servers     int     `json:"servers"`
	Channels    int     `json:"channels"`
	Subscribers int     `json:"subscribers"` // of each channel
	Size        int     `json:"size"`        // bytes of payload
	Seconds     float64 `json:"seconds"`     // until all had arrived

	Published    uint64 `json:"published"`
	Acknowledged uint64 `json:"acknowledged"`
	Refused      uint64 `json:"refused"`
	Disconnected uint64 `json:"disconnected"`
	Verdict
	Problems []string `json:"problems"` // the first ones, in words

	Cost
	DeliveriesPerCPUSecond float64 `json:"deliveriesPerServerCPUSecond"`
	CPUPerDelivery         float64 `json:"serverCPUPerDelivery"` // µs

	PublishToAcknowledge Latency `json:"publishToAcknowledge"` // ms
	PublishToDeliver     Latency `json:"publishToDeliver"`     // ms
}

// Broken reports whether a promise was broken, or an acknowledgement did not come in
// time.
func (r FanoutReport) Broken() bool {
	return r.Verdict.Broken() || len(r.Problems) > 0
}

// WriteTable writes the report for people.
func (r FanoutReport) WriteTable(w io.Writer) error {
	t := &table{w: w}
	t.count("published", r.Published, r.Seconds)
	t.count("acknowledged", r.Acknowledged, r.Seconds)
	t.count("refused", r.Refused, 0)
	t.count("delivered", r.Delivered, r.Seconds)
	t.verdict(r.Verdict)
	t.count("disconnected", r.Disconnected, 0)
	t.cost(r.Cost)
	if r.ServerCPU > 0 && r.Delivered > 0 {
		t.printf("%-26s %9.0f\n", "deliveries per CPU second", r.DeliveriesPerCPUSecond)
		t.printf("%-26s %9.2f µs\n", "server CPU per delivery", r.CPUPerDelivery)
	}
	t.latencies()
	t.latency("publish → acknowledge", r.PublishToAcknowledge)
	t.latency("publish → deliver", r.PublishToDeliver)
	t.problems(r.Problems)
	return t.end()
}

// stream is one channel of a Fanout and its publisher's side.
type stream struct {
	number    int
	name      string
	publisher *member
	sent      []time.Duration // of each message, since the run began
	acked     uint64
	delivered uint64
}

// fanoutRun is one run of a Fanout.
type fanoutRun struct {
	Fanout
	*swarm
	id        uint32
	began     time.Time
	streams   []*stream
	prefix    string
	followers []follower // by member
	byMember  []*stream  // what a member subscribes to; nil for publishers
	turn      int        // whose turn it is to publish, at a fixed rate
	behind    bool       // the window has held us up, and the schedule waits
	data      []byte

	published, acknowledged uint64
	ack, deliver            *stopwatch
	report                  FanoutReport
}

// Run connects, publishes for Duration or until ctx ends, waits for outstanding messages
// and reports. An error means that there is nothing to report.
func (f Fanout) Run(ctx context.Context, target Target) (report FanoutReport, err error) {
	if err := errors.Join(f.Validate(), target.Validate()); err != nil {
		return FanoutReport{}, err
	}
	s, err := newSwarm(ctx, target)
	if err != nil {
		return FanoutReport{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r := &fanoutRun{
		Fanout: f, swarm: s, id: rand.Uint32(), began: time.Now(),
		ack: newStopwatch(), deliver: newStopwatch(),
	}
	r.report = FanoutReport{Servers: len(target.Servers), Channels: f.Channels, Subscribers: f.Subscribers, Size: f.Size}
	r.place()
	if err := s.connect(ctx, s.members, f.InFlight); err != nil {
		return FanoutReport{}, err
	}
	s.onEvent, s.onLost = r.event, r.lost
	meter, err := startMeter(target.PIDs)
	if err != nil {
		return FanoutReport{}, err
	}
	if err := r.run(ctx); err != nil {
		return FanoutReport{}, err
	}
	if r.report.Cost, err = meter.stop(); err != nil {
		return FanoutReport{}, err
	}
	return r.judge(), nil
}

// place makes the members: the publishers, and the subscribers of
// a channel spread over the servers from the one after its publisher's.
func (r *fanoutRun) place() {
	r.prefix = fmt.Sprintf("bench.%08x.", r.id)
	publishers := r.Publishers * len(r.servers)
	for i := range publishers {
		r.add(placement{server: i % len(r.servers)})
	}
	r.byMember = make([]*stream, publishers)
	for c := range r.Channels {
		st := &stream{number: c, name: r.prefix + strconv.Itoa(c), publisher: r.members[c%publishers]}
		r.streams = append(r.streams, st)
		for i := range r.Subscribers {
			r.add(placement{server: (c + 1 + i) % len(r.servers), channel: st.name})
			r.byMember = append(r.byMember, st)
		}
	}
	r.followers = make([]follower, len(r.members))
}

// run publishes and waits.
func (r *fanoutRun) run(ctx context.Context) error {
	start := time.Now()
	end := start.Add(r.Duration)
	err := r.serve(ctx, end.Add(time.Hour), func() (time.Time, bool) {
		now := time.Now()
		if now.After(end) || r.enough() {
			return end, true
		}
		if r.Rate == 0 {
			r.publishAll(end)
			return end, false
		}
		return r.publishDue(start, now), false
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	// Wait for outstanding messages even if the run was cut short.
	err = r.serve(context.WithoutCancel(ctx), time.Now().Add(r.Settle),
		func() (time.Time, bool) { return time.Time{}, r.settled() })
	r.report.Seconds = time.Since(start).Seconds()
	if errors.Is(err, errTimeout) {
		r.problem("not everything had arrived %v after the end", r.Settle)
		return nil
	}
	return err
}

func (r *fanoutRun) settled() bool {
	answered := r.transport.Silent || r.acknowledged+r.report.Refused >= r.published
	return answered && r.report.Delivered >= r.published*uint64(r.Subscribers)
}

// publishAll fills every window, as far as Pending allows. Channels take turns
// over its calls.
func (r *fanoutRun) publishAll(end time.Time) {
	for range r.streams {
		st := r.streams[r.turn]
		for r.room(st) {
			now := time.Now()
			if r.full() || r.enough() || now.After(end) {
				return
			}
			r.publish(st, now)
		}
		r.turn = (r.turn + 1) % len(r.streams)
	}
}

func (r *fanoutRun) full() bool {
	return r.Pending > 0 && r.published-r.acknowledged-r.report.Refused >= uint64(r.Pending)
}

func (r *fanoutRun) enough() bool { return r.Messages > 0 && r.published >= uint64(r.Messages) }

// publishDue publishes what is due by now and returns when the next one is.
func (r *fanoutRun) publishDue(start, now time.Time) time.Time {
	for {
		due := start.Add(time.Duration(float64(r.published) / r.Rate * float64(time.Second)))
		if due.After(now) {
			r.behind = false
			return due
		}
		if r.enough() {
			return now
		}
		st := r.streams[r.turn]
		if !r.room(st) {
			r.behind = true
			return time.Time{}
		}
		// Waiting for the window is the server's delay and counts as latency. A timer that
		// fires late does not.
		sent := time.Now()
		if r.behind {
			sent = due
		}
		r.publish(st, sent)
		r.turn = (r.turn + 1) % len(r.streams)
	}
}

func (r *fanoutRun) room(st *stream) bool {
	done := st.acked
	if r.Subscribers > 0 {
		done = st.delivered / uint64(r.Subscribers)
	}
	return uint64(len(st.sent))-done < uint64(r.Window) && st.publisher.phase == phaseLive
}

// An id of a publication says its channel and number.
const idShift = 40

func (r *fanoutRun) publish(st *stream, at time.Time) {
	sent := at.Sub(r.began)
	st.sent = append(st.sent, sent)
	r.published++
	number := uint64(len(st.sent))
	r.data = payload{run: r.id, sequence: number, sent: sent}.appendTo(r.data[:0], r.Size)
	r.scratch = r.protocol.AppendPublish(r.scratch[:0], st.publisher.number, st.name, uint64(st.number)<<idShift|number,
		r.data)
	r.send(st.publisher, r.scratch)
}

func (r *fanoutRun) event(m *member, e Event) {
	switch e.Kind {
	case Delivered:
		r.delivered(m, e)
	case Acknowledged:
		r.acked(m, e)
	case Refused:
		r.report.Refused++
		r.problem("refused: %s", e.Data)
	case Gap:
		r.report.Lost += e.To - e.Offset + 1
		r.problem("messages %d to %d of a channel are announced as gone", e.Offset, e.To)
	}
}

func (r *fanoutRun) delivered(m *member, e Event) {
	st := r.byMember[m.number]
	p, err := decodePayload(e.Data)
	switch {
	case err != nil || st == nil || p.run != r.id || p.sequence == 0 || p.sequence > uint64(len(st.sent)):
		r.report.Corrupt++
		r.problem("something arrived that was not published: %.100q", e.Data)
		return
	case e.Offset != 0 && e.Offset != p.sequence:
		r.report.OutOfOrder++
		r.problem("message %d came under offset %d", p.sequence, e.Offset)
	}
	r.followers[m.number].message(p.sequence, &r.report.Verdict)
	st.delivered++
	r.deliver.record(0, r.now.Sub(r.began)-p.sent)
}

func (r *fanoutRun) acked(m *member, e Event) {
	channel, number := int(e.ID>>idShift), e.ID&(1<<idShift-1)
	if e.ID == 0 {
		channel = -1
		if text, ok := bytes.CutPrefix(e.Channel, []byte(r.prefix)); ok {
			if n, err := strconv.Atoi(string(text)); err == nil {
				channel = n
			}
		}
	}
	if channel < 0 || channel >= len(r.streams) || r.streams[channel].publisher != m {
		r.report.Corrupt++
		r.problem("acknowledged what was not published: channel %q, id %d", e.Channel, e.ID)
		return
	}
	st := r.streams[channel]
	st.acked++
	if e.ID == 0 {
		number = st.acked
	}
	if number == 0 || number > uint64(len(st.sent)) || st.acked > uint64(len(st.sent)) {
		r.report.Corrupt++
		r.problem("acknowledged what was not published: message %d of channel %d", number, channel)
		return
	}
	if e.Offset != 0 && e.Offset != number {
		r.report.OutOfOrder++
		r.problem("message %d was acknowledged as offset %d", number, e.Offset)
	}
	r.acknowledged++
	r.ack.record(0, r.now.Sub(r.began)-st.sent[number-1])
}

func (r *fanoutRun) lost(_ *member, reason error) {
	r.report.Disconnected++
	r.problem("disconnected: %v", reason)
}

func (r *fanoutRun) problem(format string, args ...any) {
	if len(r.report.Problems) < maxProblems {
		r.report.Problems = append(r.report.Problems, fmt.Sprintf(format, args...))
	}
}

// judge completes the report.
func (r *fanoutRun) judge() FanoutReport {
	for i, st := range r.byMember {
		if st != nil {
			r.followers[i].end(uint64(len(st.sent)), &r.report.Verdict)
		}
	}
	r.report.Published, r.report.Acknowledged = r.published, r.acknowledged
	if delivered := float64(r.report.Delivered); delivered > 0 && r.report.ServerCPU > 0 {
		r.report.DeliveriesPerCPUSecond = delivered / r.report.ServerCPU
		r.report.CPUPerDelivery = r.report.ServerCPU / delivered * 1e6
	}
	r.report.PublishToAcknowledge, r.report.PublishToDeliver = r.ack.latency(), r.deliver.latency()
	return r.report
}
