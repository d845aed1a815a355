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

// MemberMemory puts members into many channels and measures what they take of each server's
// memory. Nobody watches.
type MemberMemory struct {
	Members  int
	Channels int
	Clients  int           // connections that hold the members, spread over the servers
	Data     int           // bytes of each member's data
	Most     int           // bytes that a member may take besides its id and data
	Rest     time.Duration // before memory is read
}

// Rule returns the rule that the channels have to have.
func (MemberMemory) Rule() Rule { return Rule{Presence: &client.PresenceRule{}} }

// Validate reports the first field that cannot be used.
func (l MemberMemory) Validate() error {
	return cmp.Or(
		atLeast("members", l.Members, 1),
		atLeast("channels", l.Channels, 1),
		atLeast("clients", l.Clients, 1),
		atLeast("data", l.Data, 2),
		atLeast("most", l.Most, 1),
		atLeast("rest", l.Rest, 0),
	)
}

// MemberMemoryReport is the result of a MemberMemory.
type MemberMemoryReport struct {
	Members  int            `json:"members"`
	Channels int            `json:"channels"`
	Text     float64        `json:"textBytesPerMember"` // its id and data
	Seconds  float64        `json:"seconds"`            // until the last had entered
	Servers  []MemberServer `json:"servers"`
	Cost
	CPUPerMember float64  `json:"serverCPUPerMember"` // µs, of all servers
	Problems     []string `json:"problems"`
}

// MemberServer is what the members take of one server.
type MemberServer struct {
	Before    int64   `json:"anonymousBytesBefore"`
	During    int64   `json:"anonymousBytesDuring"`
	PerMember float64 `json:"bytesPerMember"` // besides its id and data
}

// Broken reports whether a member takes too much, or was refused or lost.
func (r MemberMemoryReport) Broken() bool { return len(r.Problems) > 0 }

// WriteTable writes the report for people.
func (r MemberMemoryReport) WriteTable(w io.Writer) error {
	t := &table{w: w}
	t.printf("%d members in %d channels, %.0f bytes of id and data each, entered in %.2f s, %.1f µs CPU each\n",
		r.Members, r.Channels, r.Text, r.Seconds, r.CPUPerMember)
	t.printf("%6s %10s %10s %18s\n", "server", "before MB", "during MB", "B/member besides")
	for i, s := range r.Servers {
		t.printf("%6d %10.1f %10.1f %18.0f\n", i+1, float64(s.Before)/1e6, float64(s.During)/1e6, s.PerMember)
	}
	t.problems(r.Problems)
	return t.end()
}

// Run has the members enter. An error means that there is nothing to report.
func (l MemberMemory) Run(ctx context.Context, target Target) (report MemberMemoryReport, err error) {
	if err := errors.Join(l.Validate(), target.Validate()); err != nil {
		return MemberMemoryReport{}, err
	}
	if len(target.PIDs) == 0 {
		return MemberMemoryReport{}, errors.New("the servers' processes have to be known")
	}
	s, protocol, err := newMemberSwarm(ctx, target)
	if err != nil {
		return MemberMemoryReport{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for n := range l.Clients {
		s.add(placement{server: n % len(target.Servers)})
	}
	if err := s.connect(ctx, s.members, l.Clients); err != nil {
		return MemberMemoryReport{}, err
	}
	if err := s.rest(ctx, l.Rest); err != nil {
		return MemberMemoryReport{}, err
	}
	before, err := anonymousOf(target.PIDs)
	if err != nil {
		return MemberMemoryReport{}, err
	}
	report = MemberMemoryReport{Members: l.Members, Channels: l.Channels}
	meter, err := startMeter(target.PIDs)
	if err != nil {
		return MemberMemoryReport{}, err
	}
	start := time.Now()
	text, err := l.enter(ctx, s, protocol)
	if err != nil {
		return MemberMemoryReport{}, err
	}
	report.Seconds, report.Text = time.Since(start).Seconds(), float64(text)/float64(l.Members)
	if report.Cost, err = meter.stop(); err != nil {
		return MemberMemoryReport{}, err
	}
	report.CPUPerMember = report.ServerCPU / float64(l.Members) * 1e6
	if err := s.rest(ctx, l.Rest); err != nil {
		return MemberMemoryReport{}, err
	}
	during, err := anonymousOf(target.PIDs)
	if err != nil {
		return MemberMemoryReport{}, err
	}
	for i := range during {
		each := float64(during[i]-before[i])/float64(l.Members) - report.Text
		report.Servers = append(report.Servers, MemberServer{Before: before[i], During: during[i], PerMember: each})
		if each > float64(l.Most) {
			report.Problems = append(report.Problems,
				fmt.Sprintf("a member takes %.0f bytes of server %d besides its id and data, not %d", each, i+1, l.Most))
		}
	}
	return report, nil
}

// memberWindow is how many members of a connection may wait for their answers.
const memberWindow = 50

// enter has all members enter and returns the bytes of their ids and data.
func (l MemberMemory) enter(ctx context.Context, s *swarm, protocol MemberProtocol) (text int, err error) {
	data := []byte(`"` + strings.Repeat("x", l.Data-2) + `"`)
	run := rand.Uint32()
	answered := 0
	// Connection c holds the members c, c+Clients, c+2*Clients and so on.
	next := func(m *member, id int) {
		if id >= l.Members {
			return
		}
		channel := fmt.Sprintf("bench.%08x.%d", run, id%l.Channels)
		s.scratch = protocol.AppendEnter(s.scratch[:0], m.number, channel, false, uint64(id), data)
		s.send(m, s.scratch)
		text += len(fmt.Sprint(id)) + len(data)
	}
	s.onEvent = func(m *member, e Event) {
		switch e.Kind {
		case Acknowledged:
			answered++
			next(m, int(e.ID)+memberWindow*l.Clients)
		case Refused:
			s.failed = fmt.Errorf("refused: %s", e.Data)
		}
	}
	for i := range memberWindow {
		for _, m := range s.members {
			next(m, m.number+i*l.Clients)
		}
	}
	err = s.serve(ctx, time.Now().Add(connectTimeout), func() (time.Time, bool) {
		return time.Time{}, answered == l.Members
	})
	return text, err
}

// anonymousOf returns the memory of each process that no file backs.
func anonymousOf(pids []int) (each []int64, err error) {
	for _, pid := range pids {
		u, err := processUsage(pid)
		if err != nil {
			return nil, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		each = append(each, u.anonymous)
	}
	return each, nil
}
