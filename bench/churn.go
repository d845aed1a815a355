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

// Churn has clients enter and leave one channel at a steady rate. The members that stay are
// told of each of them.
type Churn struct {
	Members  int           // that stay, and are told of the others
	Rate     float64       // clients that enter each second, and as many that leave
	Stay     time.Duration // between a client's enter and its leave
	Data     int           // bytes of each member's data
	Duration time.Duration // for which clients enter
	InFlight int           // clients that connect at a time
	Settle   time.Duration // at most, until the members were told of the last one
}

// Rule returns the rule that the channel has to have.
func (c Churn) Rule() Rule {
	most := c.Members + c.others() + 1
	return Rule{Presence: &client.PresenceRule{MaxMembers: &most}}
}

// others returns how many clients take turns. Each has some seconds between its leave and its
// next enter, because a broker that is behind may take the two for one.
func (c Churn) others() int {
	const pause = 5 * time.Second
	return int(c.Rate*(c.Stay+pause).Seconds()) + 1
}

// Validate reports the first field that cannot be used.
func (c Churn) Validate() error {
	return cmp.Or(
		atLeast("members", c.Members, 1),
		positive("rate", c.Rate),
		positive("stay", c.Stay),
		atLeast("data", c.Data, 2),
		positive("duration", c.Duration),
		atLeast("in-flight", c.InFlight, 1),
		positive("settle", c.Settle),
	)
}

// ChurnReport is the result of a Churn.
type ChurnReport struct {
	Members int     `json:"members"`
	Seconds float64 `json:"seconds"` // of which the cost and the events are
	Turns   int     `json:"turns"`   // clients that entered, and left again, in all
	Events  uint64  `json:"events"`  // enters and leaves that members were told, summed over the members
	Missing int64   `json:"missing"` // of all turns
	Cost
	CPUPerEvent    float64  `json:"serverCPUPerEvent"` // µs
	BytesPerMember float64  `json:"bytesPerMember"`
	Told           Latency  `json:"told"` // ms from an enter to a member's hearing of it
	Disconnected   int      `json:"disconnected"`
	Problems       []string `json:"problems"`
}

// Broken reports whether a member was lost or missed something.
func (r ChurnReport) Broken() bool { return len(r.Problems) > 0 || r.Missing != 0 }

// WriteTable writes the report for people.
func (r ChurnReport) WriteTable(w io.Writer) error {
	t := &table{w: w}
	t.count("turns", uint64(r.Turns), 0)
	t.count("events told to members", r.Events, r.Seconds)
	t.printf("%-26s %9d\n", "missing", r.Missing)
	t.cost(r.Cost)
	if r.ServerCPU > 0 {
		t.printf("%-26s %9.2f µs\n", "server CPU per event", r.CPUPerEvent)
	}
	t.printf("%-26s %9.0f B/s\n", "told each member", r.BytesPerMember/r.Seconds)
	t.latencies()
	t.latency("enter → told", r.Told)
	t.problems(r.Problems)
	return t.end()
}

// churnRun is a Churn that runs.
type churnRun struct {
	Churn
	*watchers
	ctx      context.Context
	swarm    *swarm
	protocol MemberProtocol
	channel  string
	data     []byte
	entering pace
	entered  []time.Time // by turn
	latest   []time.Time // enter, by the client's number
	left     int         // turns that are over
	told     *stopwatch
}

// Run has clients enter and leave. An error means that there is nothing to report.
func (c Churn) Run(ctx context.Context, target Target) (report ChurnReport, err error) {
	if err := errors.Join(c.Validate(), target.Validate()); err != nil {
		return ChurnReport{}, err
	}
	s, protocol, err := newMemberSwarm(ctx, target)
	if err != nil {
		return ChurnReport{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r := &churnRun{
		Churn: c, ctx: ctx, swarm: s, protocol: protocol, channel: fmt.Sprintf("bench.%08x", rand.Uint32()),
		data: []byte(`"` + strings.Repeat("x", c.Data-2) + `"`), told: newStopwatch(),
		latest: make([]time.Time, c.Members+c.others()),
	}
	for n := range c.Members {
		s.add(placement{server: n % len(target.Servers), channel: r.channel})
	}
	r.watchers = newWatchers(s)
	for n := range c.others() {
		s.add(placement{server: n % len(target.Servers)})
	}
	s.onEvent = r.event
	if err := r.gather(); err != nil {
		return ChurnReport{}, err
	}
	return r.measure(target.PIDs)
}

func (r *churnRun) event(m *member, e Event) {
	if e.Kind == Refused {
		r.problem("member %d: refused: %s", m.number, e.Data)
	}
	r.hear(m, e)
	if e.Kind != Changed || m.number > 0 {
		return
	}
	for _, id := range e.Change.Entered {
		if id < uint64(len(r.latest)) && !r.latest[id].IsZero() {
			r.told.record(0, r.swarm.now.Sub(r.latest[id]))
		}
	}
}

// gather connects everybody and has those who stay enter. It returns once they have heard
// what there is to hear.
func (r *churnRun) gather() error {
	s := r.swarm
	if err := s.connect(r.ctx, s.members, r.InFlight); err != nil {
		return err
	}
	for n, m := range s.members[:r.Members] {
		s.scratch = r.protocol.AppendEnter(s.scratch[:0], n, r.channel, true, uint64(n), r.data)
		if len(s.scratch) > 0 {
			s.send(m, s.scratch)
		}
	}
	for heard := uint64(1); heard != r.moves+r.listed; {
		heard = r.moves + r.listed
		if err := s.rest(r.ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// measure has clients enter and leave. It measures from the first leave until the last enter.
func (r *churnRun) measure(pids []int) (ChurnReport, error) {
	s, start, before := r.swarm, time.Now(), r.moves
	steady, end := start.Add(r.Stay), start.Add(r.Stay+r.Duration)
	r.entering = pace{began: start, within: end.Sub(start), n: int(r.Rate * end.Sub(start).Seconds())}
	if err := r.churn(end, func() bool { return !time.Now().Before(steady) }); err != nil {
		return ChurnReport{}, err
	}
	meter, err := startMeter(pids)
	if err != nil {
		return ChurnReport{}, err
	}
	report := ChurnReport{Members: r.Members}
	moves, received, from := r.moves, s.received, time.Now()
	if err := r.churn(end.Add(r.Settle), func() bool { return !time.Now().Before(end) }); err != nil {
		return ChurnReport{}, err
	}
	report.Seconds, report.Events = time.Since(from).Seconds(), r.moves-moves
	report.BytesPerMember = float64(s.received-received) / float64(r.Members)
	if report.Cost, err = meter.stop(); err != nil {
		return ChurnReport{}, err
	}
	report.CPUPerEvent = report.ServerCPU / float64(report.Events) * 1e6
	all := before + uint64(2*r.entering.n*r.Members)
	err = r.churn(end.Add(r.Stay+r.Settle), func() bool { return r.left == r.entering.n && r.moves >= all })
	if err != nil && !errors.Is(err, errTimeout) {
		return ChurnReport{}, err
	}
	report.Turns, report.Missing, report.Told = len(r.entered), int64(all-r.moves), r.told.latency()
	report.Disconnected, report.Problems = r.disconnected, r.problems
	return report, nil
}

// churn has clients enter and leave as it is their turn.
func (r *churnRun) churn(deadline time.Time, done func() bool) error {
	s := r.swarm
	client := func(turn int) *member { return s.members[r.Members+turn%(len(s.members)-r.Members)] }
	return s.serve(r.ctx, deadline, func() (time.Time, bool) {
		now := time.Now()
		due, next := r.entering.due(now)
		for turn := len(r.entered); turn < due; turn++ {
			m := client(turn)
			r.entered, r.latest[m.number] = append(r.entered, now), now
			s.scratch = r.protocol.AppendEnter(s.scratch[:0], m.number, r.channel, false, uint64(m.number), r.data)
			s.send(m, s.scratch)
		}
		for ; r.left < len(r.entered); r.left++ {
			leaves := r.entered[r.left].Add(r.Stay)
			if leaves.After(now) {
				if next.IsZero() || leaves.Before(next) {
					next = leaves
				}
				break
			}
			m := client(r.left)
			s.scratch = r.protocol.AppendLeave(s.scratch[:0], m.number, r.channel, uint64(m.number))
			s.send(m, s.scratch)
		}
		return next, done()
	})
}
