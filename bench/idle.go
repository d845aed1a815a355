package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Idle holds clients that only listen and measures their cost to the servers: memory while
// they are connected, CPU, and memory that remains after they left.
type Idle struct {
	Clients  int           // connections, spread over the servers
	Channels int           // each client subscribes to one; the same in all rounds
	InFlight int           // clients that connect at a time
	Rest     time.Duration // for which idle CPU is measured
	Leave    time.Duration // at most, to wait for the memory of those that have gone
	Rounds   int
}

// Validate reports the first field that cannot be used.
func (i Idle) Validate() error {
	return cmp.Or(
		atLeast("clients", i.Clients, 1),
		atLeast("channels", i.Channels, 1),
		atLeast("in-flight", i.InFlight, 1),
		positive("rest", i.Rest),
		atLeast("leave", i.Leave, 0),
		atLeast("rounds", i.Rounds, 1),
	)
}

// IdleReport is the result of an Idle.
type IdleReport struct {
	Clients  int         `json:"clients"`
	Channels int         `json:"channels"`
	Rounds   []IdleRound `json:"rounds"`
	Problems []string    `json:"problems"`
}

// IdleRound is one round in which all clients come and go. Memory and descriptors are the
// sum of all servers.
type IdleRound struct {
	Connect float64 `json:"connectSeconds"` // until the last had connected, authenticated and subscribed

	Before int64 `json:"rssBytesBefore"`
	Ready  int64 `json:"rssBytesReady"` // when the last was ready
	During int64 `json:"rssBytesDuring"`
	After  int64 `json:"rssBytesAfter"` // when all had gone

	PerClient          float64 `json:"rssBytesPerClient"` // of During
	AnonymousPerClient float64 `json:"anonymousBytesPerClient"`
	IdleCPU            float64 `json:"idleCPUPercent"` // of one core

	DescriptorsBefore int `json:"descriptorsBefore"`
	DescriptorsAfter  int `json:"descriptorsAfter"`

	Reached      int `json:"reached"` // clients that got the message at the end of their rest
	Disconnected int `json:"disconnected"`
}

// Broken reports whether a client was lost or deaf, or descriptors stayed open.
func (r IdleReport) Broken() bool { return len(r.Problems) > 0 }

// WriteTable writes the report for people.
func (r IdleReport) WriteTable(w io.Writer) error {
	t := &table{w: w}
	t.printf("%d clients, %d channels; memory in MB, CPU in %% of a core\n", r.Clients, r.Channels)
	t.printf("%7s %9s %9s %9s %9s %9s %11s %11s %8s %8s\n",
		"connect", "before", "ready", "during", "after", "B/client", "anon/client", "idle CPU", "reached", "fds")
	for _, o := range r.Rounds {
		mb := func(b int64) float64 { return float64(b) / 1e6 }
		t.printf("%6.2fs %9.1f %9.1f %9.1f %9.1f %9.0f %11.0f %10.2f%% %8d %+8d\n",
			o.Connect, mb(o.Before), mb(o.Ready), mb(o.During), mb(o.After), o.PerClient, o.AnonymousPerClient,
			o.IdleCPU, o.Reached, o.DescriptorsAfter-o.DescriptorsBefore)
	}
	t.problems(r.Problems)
	return t.end()
}

// Run goes through all rounds. An error means that there is nothing to report.
func (i Idle) Run(ctx context.Context, target Target) (IdleReport, error) {
	if err := errors.Join(i.Validate(), target.Validate()); err != nil {
		return IdleReport{}, err
	}
	report := IdleReport{Clients: i.Clients, Channels: i.Channels}
	run := rand.Uint32()
	channel := func(n int) string { return fmt.Sprintf("bench.%08x.%d", run, n%i.Channels) }
	for n := range i.Rounds {
		round, problems, err := i.round(ctx, target, uint64(n)+1, channel)
		if err != nil {
			return IdleReport{}, fmt.Errorf("round %d: %w", n+1, err)
		}
		report.Rounds = append(report.Rounds, round)
		for _, problem := range problems {
			report.Problems = append(report.Problems, fmt.Sprintf("round %d: %s", n+1, problem))
		}
	}
	return report, nil
}

func (i Idle) round(ctx context.Context, target Target, number uint64,
	channel func(n int) string,
) (round IdleRound, problems []string, err error) {
	before, err := usageOf(target.PIDs)
	if err != nil {
		return IdleRound{}, nil, err
	}
	if round.DescriptorsBefore, err = descriptorsOf(target.PIDs); err != nil {
		return IdleRound{}, nil, err
	}
	s, err := newSwarm(ctx, target)
	if err != nil {
		return IdleRound{}, nil, err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, s.close())
		}
	}()
	for n := range i.Clients {
		s.add(placement{server: n % len(target.Servers), channel: channel(n)})
	}
	start := time.Now()
	if err := s.connect(ctx, s.members, i.InFlight); err != nil {
		return IdleRound{}, nil, err
	}
	round.Connect = time.Since(start).Seconds()
	s.onLost = func(_ *member, reason error) {
		round.Disconnected++
		if len(problems) < maxProblems {
			problems = append(problems, reason.Error())
		}
	}
	ready, err := usageOf(target.PIDs)
	if err != nil {
		return IdleRound{}, nil, err
	}
	resting := time.Now()
	if err := s.rest(ctx, i.Rest); err != nil {
		return IdleRound{}, nil, err
	}
	during, err := usageOf(target.PIDs)
	if err != nil {
		return IdleRound{}, nil, err
	}
	round.IdleCPU = 100 * (during.cpu - ready.cpu).Seconds() / time.Since(resting).Seconds()
	if round.Reached, err = reach(ctx, s, number, i.Channels, channel); err != nil {
		return IdleRound{}, nil, err
	}
	if round.Reached != i.Clients {
		problems = append(problems, fmt.Sprintf("%d of %d clients got the message at the end", round.Reached, i.Clients))
	}
	closed = true
	if err := s.close(); err != nil {
		return IdleRound{}, nil, err
	}
	if err := round.leave(ctx, target.PIDs, before, i.Leave); err != nil {
		return IdleRound{}, nil, err
	}
	if round.DescriptorsAfter > round.DescriptorsBefore+spareDescriptors {
		problems = append(problems,
			fmt.Sprintf("%d descriptors are open, %d were before", round.DescriptorsAfter, round.DescriptorsBefore))
	}
	round.Before, round.Ready, round.During = before.rss, ready.rss, during.rss
	round.PerClient = float64(during.rss-before.rss) / float64(i.Clients)
	round.AnonymousPerClient = float64(during.anonymous-before.anonymous) / float64(i.Clients)
	return round, problems, nil
}

// spareDescriptors is the number of descriptors by which a server's own files and
// connections may differ between two measurements.
const spareDescriptors = 20

// reach publishes one message to each channel and returns how many of the
// members got it. Those of earlier rounds, which new members may still be sent,
// do not count.
func reach(ctx context.Context, s *swarm, round uint64, channels int, name func(int) string) (reached int, err error) {
	data := payload{sequence: round}.encode(MinSize)
	listeners := len(s.members)
	got := make([]bool, listeners)
	s.onEvent = func(m *member, e Event) {
		if e.Kind == Delivered && m.number < listeners && !got[m.number] && bytes.Equal(e.Data, data) {
			got[m.number] = true
			reached++
		}
	}
	publisher := s.add(placement{})
	if err := s.connect(ctx, []*member{publisher}, 1); err != nil {
		return 0, err
	}
	for c := range channels {
		s.scratch = s.protocol.AppendPublish(s.scratch[:0], publisher.number, name(c), uint64(c)+1, data)
		s.send(publisher, s.scratch)
	}
	// The publisher subscribes to nothing, and disconnected members cannot receive.
	const patience = 10 * time.Second
	err = s.serve(ctx, time.Now().Add(patience), func() (time.Time, bool) { return time.Time{}, reached >= s.live-1 })
	if errors.Is(err, errTimeout) {
		err = nil
	}
	return reached, err
}

// leave waits until memory is within a tenth of what it was before and the
// descriptors are closed, and no longer than given.
func (o *IdleRound) leave(ctx context.Context, pids []int, before usage, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		now, err := usageOf(pids)
		if err != nil {
			return err
		}
		if o.DescriptorsAfter, err = descriptorsOf(pids); err != nil {
			return err
		}
		o.After = now.rss
		back := now.rss <= before.rss+before.rss/10 && o.DescriptorsAfter <= o.DescriptorsBefore+spareDescriptors
		if back || time.Now().After(deadline) {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
