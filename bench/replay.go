package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Replay reconnects clients that have each missed a number of messages. It measures the
// time until every client has all of them.
type Replay struct {
	Clients  int
	Channels int // over which the clients are spread
	Messages int // that each has missed
	Size     int // bytes of payload, at least MinSize
	InFlight int // clients that connect at a time
	Settle   time.Duration
}

// Validate reports the first field that cannot be used.
func (r Replay) Validate() error {
	err := cmp.Or(
		atLeast("clients", r.Clients, 1),
		atLeast("channels", r.Channels, 1),
		atLeast("messages", r.Messages, 1),
		atLeast("size", r.Size, MinSize),
		atLeast("in-flight", r.InFlight, 1),
	)
	if err == nil && r.Channels > r.Clients {
		err = errors.New("channels: no more than clients")
	}
	return err
}

// ReplayReport is the result of a Replay.
type ReplayReport struct {
	Clients  int     `json:"clients"`
	Channels int     `json:"channels"`
	Messages int     `json:"messages"`
	Seconds  float64 `json:"seconds"` // from the first connect until all had all
	Verdict
	Problems []string `json:"problems"` // the first ones, in words
	Cost
}

// Broken reports whether a promise was broken.
func (r ReplayReport) Broken() bool {
	return r.Verdict.Broken() || r.Expired > 0 || len(r.Problems) > 0
}

// WriteTable writes the report for people.
func (r ReplayReport) WriteTable(w io.Writer) error {
	t := &table{w: w}
	t.printf("%d clients that missed %d messages each, in %d channels\n", r.Clients, r.Messages, r.Channels)
	t.printf("%-26s %9.3f s\n", "until all have all", r.Seconds)
	t.count("delivered", r.Delivered, r.Seconds)
	t.verdict(r.Verdict)
	t.cost(r.Cost)
	t.problems(r.Problems)
	return t.end()
}

// Run publishes, lets the clients come back and reports. An error means that
// there is nothing to report.
func (r Replay) Run(ctx context.Context, target Target) (report ReplayReport, err error) {
	if err := errors.Join(r.Validate(), target.Validate()); err != nil {
		return ReplayReport{}, err
	}
	s, err := newSwarm(ctx, target)
	if err != nil {
		return ReplayReport{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	names, positions, err := r.publish(ctx, s)
	if err != nil {
		return ReplayReport{}, fmt.Errorf("publish what is to be missed: %w", err)
	}

	report = ReplayReport{Clients: r.Clients, Channels: r.Channels, Messages: r.Messages}
	first := len(s.members)
	for n := range r.Clients {
		s.add(placement{server: n % len(target.Servers), channel: names[n%r.Channels], after: positions[n%r.Channels]})
	}
	followers := make([]follower, r.Clients)
	complete, head := 0, uint64(r.Messages)
	s.onEvent = func(m *member, e Event) {
		if m.number < first {
			return
		}
		f := &followers[m.number-first]
		was := f.last
		switch e.Kind {
		case Delivered:
			p, err := decodePayload(e.Data)
			if err != nil {
				report.Corrupt++
				return
			}
			// The message before the first one missed has number 0.
			f.message(p.sequence, &report.Verdict)
		case Gap:
			f.gap(e.Offset-positions[0].Offset, e.To-positions[0].Offset, &report.Verdict)
		}
		if was < head && f.last >= head {
			complete++
		}
	}
	meter, err := startMeter(target.PIDs)
	if err != nil {
		return ReplayReport{}, err
	}
	start := time.Now()
	if err := s.connect(ctx, s.members[first:], r.InFlight); err != nil {
		return ReplayReport{}, err
	}
	err = s.serve(ctx, time.Now().Add(r.Settle), func() (time.Time, bool) { return time.Time{}, complete == r.Clients })
	report.Seconds = time.Since(start).Seconds()
	if errors.Is(err, errTimeout) {
		report.Problems = append(report.Problems,
			fmt.Sprintf("%d of %d clients had all after %v", complete, r.Clients, r.Settle))
		err = nil
	}
	if err != nil {
		return ReplayReport{}, err
	}
	for n := range followers {
		followers[n].end(head, &report.Verdict)
	}
	report.Cost, err = meter.stop()
	return report, err
}

// publish fills new channels: a first message that every client knows, and
// those that they miss. It returns the channels and the positions of the first.
func (r Replay) publish(ctx context.Context, s *swarm) (names []string, positions []Position, err error) {
	run := rand.Uint32()
	for c := range r.Channels {
		names = append(names, fmt.Sprintf("bench.%08x.%d", run, c))
		s.add(placement{channel: names[c]})
	}
	publisher := s.add(placement{})
	positions = make([]Position, r.Channels)
	received := 0
	s.onEvent = func(m *member, e Event) {
		switch e.Kind {
		case Ready:
			if m != publisher {
				positions[m.number].Epoch = e.Epoch
			}
		case Delivered:
			if positions[m.number].Offset == 0 {
				positions[m.number].Offset = max(e.Offset, 1)
			}
			received++
		case Refused:
			s.failed = fmt.Errorf("refused: %s", e.Data)
		}
	}
	if err := s.connect(ctx, s.members, r.InFlight); err != nil {
		return nil, nil, err
	}
	var data []byte
	for number := range r.Messages + 1 {
		data = payload{run: run, sequence: uint64(number)}.appendTo(data[:0], r.Size)
		for c, name := range names {
			s.scratch = s.protocol.AppendPublish(s.scratch[:0], publisher.number, name, uint64(number*r.Channels+c)+1, data)
			s.send(publisher, s.scratch)
		}
		// Channel by channel the broker has a say in how fast this goes.
		err := s.serve(ctx, time.Now().Add(connectTimeout), func() (time.Time, bool) {
			return time.Time{}, received == (number+1)*r.Channels
		})
		if err != nil {
			return nil, nil, err
		}
	}
	for _, m := range s.members {
		s.hangUp(m)
	}
	return names, positions, nil
}
