package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// The state counts what the clients of each project do, by hour and by day of the stamps.
// Nodes report their counts once a minute. A report tells what was done since the one before
// it, so a node that dies takes the counts of its last minute with it.

const (
	usageHours = 48 // kept of each project
	usageDays  = 92

	// MaxUsage bounds the projects in one AddUsage.
	MaxUsage = 1000
	// maxUsageCount bounds each number of a report, so that sums cannot overflow.
	maxUsageCount = 1 << 53
)

// AddUsage adds what clients of one node did since its last report. It skips unknown
// projects.
type AddUsage struct{ Projects []ProjectUsage }

// ProjectUsage is what the clients of a project did.
type ProjectUsage struct {
	Project string
	Usage
}

// Usage counts what clients did in a span of time.
type Usage struct {
	// Connections are those open now, in a report. In a period they are the most that were
	// open at a time, by the reports of one minute.
	Connections uint64 `json:"connections"`
	Opened      uint64 `json:"opened"` // connections
	Publishes   uint64 `json:"publishes"`
	Deliveries  uint64 `json:"deliveries"` // of messages to clients
	Refusals    uint64 `json:"refusals"`
}

// UsagePeriod is the usage of an hour or a day.
type UsagePeriod struct {
	At int64 `json:"at"` // its begin, Unix ms
	Usage
}

// Plus returns the sum of two usages in the same span of time by different clients.
func (u Usage) Plus(v Usage) Usage {
	return Usage{
		addCount(u.Connections, v.Connections), addCount(u.Opened, v.Opened), addCount(u.Publishes, v.Publishes),
		addCount(u.Deliveries, v.Deliveries), addCount(u.Refusals, v.Refusals),
	}
}

// Then returns the usage of two spans of time, one after the other.
func (u Usage) Then(v Usage) Usage {
	sum := u.Plus(v)
	sum.Connections = max(u.Connections, v.Connections)
	return sum
}

// projectUsage is what the state keeps of a project. It never changes; a report makes
// another one.
type projectUsage struct {
	minute      int64  // that begins nearest to the newest report, since 1970
	connections uint64 // open in all reports of that minute
	hours, days []UsagePeriod
}

// Encode returns the encoded command.
func (c AddUsage) Encode() []byte {
	dst := binary.AppendUvarint([]byte{byte(opAddUsage), controlVersion}, uint64(len(c.Projects)))
	for i := range c.Projects {
		dst = c.Projects[i].append(wire.AppendBytes(dst, c.Projects[i].Project))
	}
	return dst
}

func (d *decoder) addUsage() *AddUsage {
	c := &AddUsage{}
	for n := d.Count(); n > 0 && d.Err == nil; n-- {
		c.Projects = append(c.Projects, ProjectUsage{d.string(), d.usage()})
	}
	return c
}

func (u *Usage) append(dst []byte) []byte {
	for _, n := range []uint64{u.Connections, u.Opened, u.Publishes, u.Deliveries, u.Refusals} {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

func (d *decoder) usage() Usage {
	return Usage{d.Uvarint(), d.Uvarint(), d.Uvarint(), d.Uvarint(), d.Uvarint()}
}

func (c *AddUsage) check() error {
	if len(c.Projects) > MaxUsage {
		return fmt.Errorf("usage of %d projects: %w", len(c.Projects), ErrInvalid)
	}
	for i := range c.Projects {
		u := &c.Projects[i]
		if max(u.Connections, u.Opened, u.Publishes, u.Deliveries, u.Refusals) > maxUsageCount {
			return fmt.Errorf("usage of project %q: %w", u.Project, ErrInvalid)
		}
	}
	return nil
}

func (a *application) addUsage(c *AddUsage) {
	for i := range c.Projects {
		id := c.Projects[i].Project
		if _, ok := a.registry.project(id); !ok {
			continue
		}
		var before projectUsage
		if known := a.usage[id]; known != nil {
			before = *known
		}
		next := before.with(&c.Projects[i].Usage, a.stamp)
		a.usage[id] = next
		a.gathering.set(bucketMeta, usageKey(id), next.append(nil))
	}
}

// with returns the usage with a report that came at a stamp.
func (p projectUsage) with(report *Usage, stamp int64) *projectUsage {
	// Each node reports when a minute begins by its own clock: the reports of one minute have
	// stamps on both sides of that.
	const length = int64(time.Minute / time.Millisecond)
	if minute := (stamp + length/2) / length; minute != p.minute {
		p.minute, p.connections = minute, 0
	}
	p.connections = addCount(p.connections, report.Connections)
	p.hours = withPeriod(p.hours, report, p.connections, periodOf(stamp, time.Hour), usageHours)
	p.days = withPeriod(p.days, report, p.connections, periodOf(stamp, 24*time.Hour), usageDays)
	return &p
}

func periodOf(stamp int64, length time.Duration) int64 { return stamp - stamp%length.Milliseconds() }

// withPeriod returns a copy of a list with a report in the period that begins at a time. The
// list has at most the newest periods.
func withPeriod(list []UsagePeriod, report *Usage, connections uint64, at int64, most int) []UsagePeriod {
	next := slices.Clone(list)
	if len(next) == 0 || next[len(next)-1].At < at {
		next = append(next, UsagePeriod{At: at})
	}
	added := *report
	added.Connections = connections
	u := &next[len(next)-1].Usage
	*u = u.Then(added)
	return next[max(len(next)-most, 0):]
}

func addCount(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

func (p *projectUsage) append(dst []byte) []byte {
	dst = binary.AppendVarint(dst, p.minute)
	dst = binary.AppendUvarint(dst, p.connections)
	for _, list := range [][]UsagePeriod{p.hours, p.days} {
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		for i := range list {
			dst = list[i].append(binary.AppendVarint(dst, list[i].At))
		}
	}
	return dst
}

func (d *decoder) projectUsage() *projectUsage {
	p := &projectUsage{minute: d.Varint(), connections: d.Uvarint()}
	for _, list := range []*[]UsagePeriod{&p.hours, &p.days} {
		for n := d.Count(); n > 0 && d.Err == nil; n-- {
			*list = append(*list, UsagePeriod{d.Varint(), d.usage()})
		}
	}
	return p
}

// usageKey is the key of a project's usage in bucketMeta. Programs that do not know it leave
// it alone.
func usageKey(project string) string { return string(metaUsage) + project }

func (im *image) loadUsage(tx *bolt.Tx) error {
	c := tx.Bucket(bucketMeta).Cursor()
	for key, value := c.Seek(metaUsage); bytes.HasPrefix(key, metaUsage); key, value = c.Next() {
		err := open(bucketMeta, key, value, func(d *decoder) {
			im.usage[string(key[len(metaUsage):])] = d.projectUsage()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// UsageByHour returns the usage of a project in the hours that had any, of the last two days.
func (s *State) UsageByHour(project string) []UsagePeriod {
	return s.usageSince(project, usageHours*time.Hour, func(p *projectUsage) []UsagePeriod { return p.hours })
}

// UsageByDay returns the usage of a project in the days that had any, of the last quarter.
func (s *State) UsageByDay(project string) []UsagePeriod {
	return s.usageSince(project, usageDays*24*time.Hour, func(p *projectUsage) []UsagePeriod { return p.days })
}

func (s *State) usageSince(project string, length time.Duration, of func(*projectUsage) []UsagePeriod) []UsagePeriod {
	s.mu.RLock()
	defer s.mu.RUnlock()
	known := s.usage[project]
	if known == nil {
		return nil
	}
	list := of(known)
	first, _ := slices.BinarySearchFunc(list, s.stamp-length.Milliseconds(),
		func(p UsagePeriod, oldest int64) int { return int(min(max(p.At-oldest, -1), 1)) })
	return slices.Clone(list[first:])
}
