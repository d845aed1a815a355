package node

import (
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/traffic"
)

const (
	meterStep  = time.Minute
	meterSteps = 60 // an hour
)

// usageMeter knows what the clients of each project did on this node in the last hour, by
// minutes of the wall clock, and what of it the state was not told yet.
type usageMeter struct {
	mu      sync.Mutex
	seen    map[string]traffic.Counts // when they were last read
	minutes [meterSteps]meterMinute   // minute n is at n modulo the length
	untold  map[string]fsm.Usage
}

type meterMinute struct {
	minute   int64 // since 1970
	projects map[string]fsm.Usage
}

func newUsageMeter() *usageMeter {
	return &usageMeter{seen: make(map[string]traffic.Counts), untold: make(map[string]fsm.Usage)}
}

func minuteAt(t time.Time) int64 { return t.UnixMilli() / meterStep.Milliseconds() }

// read notes what was counted since it was last called, as of a minute. It counts under its
// lock: of two calls at once, the one with the older counts must not come second.
func (m *usageMeter) read(minute int64, count func() (open map[string]int, counts map[string]traffic.Counts)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	open, counts := count()
	at := &m.minutes[minute%meterSteps]
	if at.minute != minute {
		*at = meterMinute{minute, make(map[string]fsm.Usage)}
	}
	add := func(project string, c traffic.Counts) {
		u := fsm.Usage{
			Connections: uint64(open[project]),
			Opened:      c.Opened, Publishes: c.Publishes, Deliveries: c.Deliveries, Refusals: c.Refusals,
		}
		if u == (fsm.Usage{}) {
			return
		}
		at.projects[project] = at.projects[project].Then(u)
		before := m.untold[project]
		before.Connections = 0 // those of a report are the ones open then
		m.untold[project] = before.Then(u)
	}
	for project, now := range counts {
		add(project, now.Minus(m.seen[project]))
		m.seen[project] = now
	}
	for project := range open {
		if _, counted := counts[project]; !counted {
			add(project, traffic.Counts{})
		}
	}
}

// list returns the usage of a project in the minutes since one.
func (m *usageMeter) list(project string, since int64) []fsm.UsagePeriod {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []fsm.UsagePeriod
	for minute := since; minute < since+meterSteps; minute++ {
		at := &m.minutes[minute%meterSteps]
		if u, used := at.projects[project]; used && at.minute == minute {
			found = append(found, fsm.UsagePeriod{At: minute * meterStep.Milliseconds(), Usage: u})
		}
	}
	return found
}

// of returns what the state was not told of a project.
func (m *usageMeter) of(project string) fsm.Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.untold[project]
}

// take returns what the state was not told, and regards it as told.
func (m *usageMeter) take() map[string]fsm.Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	untold := m.untold
	m.untold = make(map[string]fsm.Usage)
	return untold
}

// putBack keeps a usage for the next report.
func (m *usageMeter) putBack(project string, u fsm.Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.untold[project] = m.untold[project].Then(u)
}
