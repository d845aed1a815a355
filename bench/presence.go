package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// Presence has clients that all watch one channel enter it, and most of them leave it again.
type Presence struct {
	Clients  int           // each watches the channel from the beginning
	Named    int           // most members that watchers are told by name, see Rule
	Stay     int           // members that do not leave again
	Within   time.Duration // all enter evenly within it, and later leave
	Data     int           // bytes of each member's data
	InFlight int           // clients that connect at a time
	Settle   time.Duration // at most, until every watcher knows the outcome
}

// Rule returns the rule that the channel has to have.
func (p Presence) Rule() Rule {
	return Rule{Presence: &client.PresenceRule{MaxMembers: &p.Named}}
}

// Validate reports the first field that cannot be used.
func (p Presence) Validate() error {
	return cmp.Or(
		atLeast("clients", p.Clients, 1),
		atLeast("named", p.Named, 1),
		atLeast("stay", p.Stay, 0),
		atLeast("clients", p.Clients, p.Stay),
		positive("within", p.Within),
		atLeast("data", p.Data, 2),
		atLeast("in-flight", p.InFlight, 1),
		positive("settle", p.Settle),
	)
}

// PresenceReport is the result of a Presence.
type PresenceReport struct {
	Clients      int             `json:"clients"`
	Named        int             `json:"named"`
	Data         int             `json:"data"`
	Phases       []PresencePhase `json:"phases"`
	Disconnected int             `json:"disconnected"`
	Problems     []string        `json:"problems"`
}

// PresencePhase is one part of a Presence: all connect, enter, or leave.
type PresencePhase struct {
	Name     string  `json:"name"`
	Seconds  float64 `json:"seconds"`
	Until    float64 `json:"secondsUntilAllKnow"` // after the last had entered or left
	Answered Latency `json:"answered"`            // ms
	Cost
	PeakRSS int64 `json:"serverPeakRSSBytes"` // of all servers, since they began

	// For each watcher.
	Bytes   float64 `json:"bytesPerWatcher"`
	CPU     float64 `json:"serverCPUPerWatcher"` // µs
	Moves   float64 `json:"movesPerWatcher"`     // members that it was told enter or leave
	Lists   float64 `json:"listsPerWatcher"`     // of all members
	Numbers float64 `json:"numbersPerWatcher"`   // instead of members
}

// Broken reports whether a watcher was lost or does not know what it has to.
func (r PresenceReport) Broken() bool { return len(r.Problems) > 0 }

// WriteTable writes the report for people.
func (r PresenceReport) WriteTable(w io.Writer) error {
	t := &table{w: w}
	t.printf("%d clients watch one channel and enter it; up to %d members are named, %d bytes of data each\n",
		r.Clients, r.Named, r.Data)
	t.printf("%-8s %8s %9s %10s %10s %9s %9s %7s %8s %10s %10s\n", "", "seconds", "all know", "B/watcher",
		"CPU/watch", "moves", "lists", "numbers", "CPU", "client CPU", "peak RSS")
	for _, p := range r.Phases {
		t.printf("%-8s %7.2fs %8.2fs %10.0f %8.0fµs %9.1f %9.2f %7.1f %7.2fs %9.2fs %7.1f MB\n", p.Name, p.Seconds,
			p.Until, p.Bytes, p.CPU, p.Moves, p.Lists, p.Numbers, p.ServerCPU, p.ClientCPU, float64(p.PeakRSS)/1e6)
	}
	t.latencies()
	for _, p := range r.Phases[1:] {
		t.latency(p.Name+" → answered", p.Answered)
	}
	t.problems(r.Problems)
	return t.end()
}

// presenceRun is a Presence that runs.
type presenceRun struct {
	Presence
	*watchers
	ctx      context.Context
	swarm    *swarm
	protocol MemberProtocol
	pids     []int
	report   PresenceReport
	sent     []time.Time // when each client last asked for something
	answered int
	took     *stopwatch
}

// Run has all clients enter and leave. An error means that there is nothing to report.
func (p Presence) Run(ctx context.Context, target Target) (report PresenceReport, err error) {
	if err := errors.Join(p.Validate(), target.Validate()); err != nil {
		return PresenceReport{}, err
	}
	s, protocol, err := newMemberSwarm(ctx, target)
	if err != nil {
		return PresenceReport{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	channel := fmt.Sprintf("bench.%08x", rand.Uint32())
	for n := range p.Clients {
		s.add(placement{server: n % len(target.Servers), channel: channel})
	}
	r := &presenceRun{
		Presence: p, watchers: newWatchers(s), ctx: ctx, swarm: s, protocol: protocol, pids: target.PIDs,
		report: PresenceReport{Clients: p.Clients, Named: p.Named, Data: p.Data},
		sent:   make([]time.Time, p.Clients),
	}
	s.onEvent = r.event
	if err := r.all(channel); err != nil {
		return PresenceReport{}, err
	}
	r.report.Disconnected, r.report.Problems = r.disconnected, r.problems
	return r.report, nil
}

func (r *presenceRun) event(m *member, e Event) {
	switch e.Kind {
	case Acknowledged:
		r.answered++
		r.took.record(0, r.swarm.now.Sub(r.sent[m.number]))
	case Refused:
		r.problem("member %d: refused: %s", m.number, e.Data)
	default:
		r.hear(m, e)
	}
}

// all goes through the phases.
func (r *presenceRun) all(channel string) error {
	s := r.swarm
	data := []byte(`"` + strings.Repeat("x", r.Data-2) + `"`)
	err := r.phase("connect", 0, view{}, func() error { return s.connect(r.ctx, s.members, r.InFlight) }, nil)
	if err != nil {
		return err
	}
	err = r.phase("enter", r.Clients, r.expected(0), nil, func(dst []byte, n int) []byte {
		return r.protocol.AppendEnter(dst, n, channel, true, uint64(n), data)
	})
	if err != nil {
		return err
	}
	return r.phase("leave", r.Clients-r.Stay, r.expected(r.Clients-r.Stay), nil, func(dst []byte, n int) []byte {
		return r.protocol.AppendLeave(dst, n, channel, uint64(n))
	})
}

// expected returns what watchers have to know when the members from first on are there. Whether
// they are named depends on whether they ever were too many, and are few enough again.
func (r *presenceRun) expected(first int) view {
	v := view{count: r.Clients - first}
	if v.count > r.Named || first > 0 && r.Clients > r.Named && v.count > r.Named-r.Named/10 {
		return v
	}
	for n := first; n < r.Clients; n++ {
		v.members ^= hash(uint64(n))
	}
	return v
}

// phase does something, has n clients say something, and waits until all watchers know what
// they have to.
func (r *presenceRun) phase(name string, n int, want view, do func() error, say func([]byte, int) []byte) error {
	s, before := r.swarm, *r.watchers
	received := s.received
	r.expect(want)
	r.answered, r.took = 0, newStopwatch()
	meter, err := startMeter(r.pids)
	if err != nil {
		return err
	}
	start := time.Now()
	if do != nil {
		if err := do(); err != nil {
			return err
		}
	}
	said, last := 0, time.Now()
	p := pace{began: last, within: r.Within, n: n}
	err = s.serve(r.ctx, last.Add(r.Within+r.Settle), func() (next time.Time, done bool) {
		due, next := p.due(time.Now())
		for ; said < min(due, n); said++ {
			last = time.Now()
			r.sent[said] = last
			s.scratch = say(s.scratch[:0], said)
			s.send(s.members[said], s.scratch)
		}
		return next, said == n && r.answered >= n && r.right == len(r.views)
	})
	switch {
	case errors.Is(err, errTimeout):
		r.problem("%s: %d of %d were answered, and %d of %d watchers know the outcome", name, r.answered, n, r.right,
			len(r.views))
	case err != nil:
		return err
	}
	now, each := time.Now(), float64(len(r.views))
	cost, err := meter.stop()
	if err != nil {
		return err
	}
	peak, err := peakOf(r.pids)
	if err != nil {
		return err
	}
	r.report.Phases = append(r.report.Phases, PresencePhase{
		Name: name, Seconds: now.Sub(start).Seconds(), Until: now.Sub(last).Seconds(), Answered: r.took.latency(),
		Cost: cost, PeakRSS: peak,
		Bytes:   float64(s.received-received) / each,
		CPU:     cost.ServerCPU / each * 1e6,
		Moves:   float64(r.moves-before.moves) / each,
		Lists:   float64(r.lists-before.lists) / each,
		Numbers: float64(r.numbers-before.numbers) / each,
	})
	return nil
}
