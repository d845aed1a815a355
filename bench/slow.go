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

// Slow puts clients that never read, and clients that read slowly, beside normal ones on
// one channel. It measures the effect on the normal ones, and whether the slow ones get
// every retained message once they read again.
type Slow struct {
	Good     int
	Stalled  int           // never read
	Crawling int           // read Crawl bytes a second
	Crawl    int           // bytes a second
	Receive  int           // receive buffer of slow clients in bytes
	Rate     float64       // messages per second
	Size     int           // bytes of payload, at least MinSize
	Duration time.Duration // for which is published without the slow ones, and again with them
	Recover  time.Duration // at most, until the slow ones have caught up
	InFlight int           // clients that connect at a time
}

// Validate reports the first field that cannot be used.
func (s Slow) Validate() error {
	switch {
	case s.Stalled < 0 || s.Crawling < 0 || s.Stalled+s.Crawling == 0:
		return errors.New("stalled, crawling: at least one slow client is needed")
	case s.Duration <= 0 || s.Recover <= 0:
		return errors.New("duration, recover: must be above 0")
	}
	return cmp.Or(
		atLeast("good", s.Good, 1),
		atLeast("crawl", s.Crawl, 1),
		atLeast("receive", s.Receive, 0),
		positive("rate", s.Rate),
		atLeast("size", s.Size, MinSize),
		atLeast("in-flight", s.InFlight, 1),
	)
}

// SlowReport is the result of a Slow.
type SlowReport struct {
	Good      int    `json:"good"`
	Stalled   int    `json:"stalled"`
	Crawling  int    `json:"crawling"`
	Published uint64 `json:"published"`

	Without Latency `json:"without"` // ms, publish to deliver at the good ones, without the slow ones
	With    Latency `json:"with"`    // ms, with them

	Before int64 `json:"rssBytesBefore"` // of the servers, before the slow ones came
	Peak   int64 `json:"rssBytesPeak"`
	After  int64 `json:"rssBytesAfter"` // when they had caught up

	Closed    int     `json:"closed"`         // slow connections that the servers ended
	Recovered int     `json:"recovered"`      // slow clients that caught up
	Seconds   float64 `json:"recoverSeconds"` // until the last had
	Gaps      int     `json:"gaps"`           // announcements; what they cover is counted as expired

	Verdict
	Disconnected int      `json:"disconnected"` // good ones
	Problems     []string `json:"problems"`     // the first ones, in words
}

// Broken reports whether a promise was broken.
func (r SlowReport) Broken() bool {
	return r.Verdict.Broken() || r.Disconnected > 0 || r.Recovered < r.Stalled+r.Crawling || len(r.Problems) > 0
}

// WriteTable writes the report for people.
func (r SlowReport) WriteTable(w io.Writer) error {
	t := &table{w: w}
	t.printf("%d good clients, %d that never read, %d that crawl\n", r.Good, r.Stalled, r.Crawling)
	t.count("published", r.Published, 0)
	t.count("delivered", r.Delivered, 0)
	t.verdict(r.Verdict)
	t.count("good ones disconnected", uint64(r.Disconnected), 0)
	t.count("slow ones closed", uint64(r.Closed), 0)
	t.count("slow ones recovered", uint64(r.Recovered), 0)
	t.count("gaps", uint64(r.Gaps), 0)
	t.seconds("until all recovered", r.Seconds)
	t.megabytes("server RSS before", r.Before)
	t.megabytes("server RSS peak", r.Peak)
	t.megabytes("server RSS after", r.After)
	t.latencies()
	t.latency("good, without slow", r.Without)
	t.latency("good, with slow", r.With)
	t.problems(r.Problems)
	return t.end()
}

// slowRun is one run of a Slow.
type slowRun struct {
	Slow
	*swarm
	target    Target
	id        uint32
	channel   string
	epoch     string
	began     time.Time
	publisher *member
	good      []*member
	slow      []*member
	followers []follower // by member
	deliver   *stopwatch // of the good ones, in the present phase
	recovery  bool       // slow ones read again, and come back when closed
	crawled   int        // whose turn it is to crawl
	covered   uint64     // highest offset that a gap covered
	earliest  uint64
	refused   error

	report SlowReport
}

// Run goes through both phases and the recovery. An error means that there is
// nothing to report.
func (s Slow) Run(ctx context.Context, target Target) (report SlowReport, err error) {
	if err := errors.Join(s.Validate(), target.Validate()); err != nil {
		return SlowReport{}, err
	}
	swarm, err := newSwarm(ctx, target)
	if err != nil {
		return SlowReport{}, err
	}
	defer func() { err = errors.Join(err, swarm.close()) }()
	r := &slowRun{Slow: s, swarm: swarm, target: target, id: rand.Uint32(), began: time.Now()}
	r.channel = fmt.Sprintf("bench.%08x.0", r.id)
	r.report = SlowReport{Good: s.Good, Stalled: s.Stalled, Crawling: s.Crawling}
	swarm.onEvent, swarm.onLost = r.event, r.lost
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"without slow clients", r.without},
		{"with slow clients", r.with},
		{"recovery", r.catchUp},
	} {
		err := phase.run(ctx)
		if err = errors.Join(err, r.refused); err != nil {
			return SlowReport{}, fmt.Errorf("%s: %w", phase.name, err)
		}
	}
	return r.judge(), nil
}

// without connects the good clients and publishes.
func (r *slowRun) without(ctx context.Context) error {
	r.publisher = r.add(placement{})
	for n := range r.Good {
		r.good = append(r.good, r.add(placement{server: n % len(r.servers), channel: r.channel}))
	}
	for n := range r.Stalled + r.Crawling {
		r.slow = append(r.slow, r.add(placement{server: n % len(r.servers), channel: r.channel, receive: r.Receive}))
	}
	r.followers = make([]follower, len(r.members)+1)
	if err := r.connect(ctx, append([]*member{r.publisher}, r.good...), r.InFlight); err != nil {
		return err
	}
	var err error
	r.report.Without, err = r.publish(ctx, func(time.Time) error { return nil })
	return err
}

// with lets the slow clients come and publishes again.
func (r *slowRun) with(ctx context.Context) error {
	before, err := usageOf(r.target.PIDs)
	if err != nil {
		return err
	}
	r.report.Before, r.report.Peak = before.rss, before.rss
	for _, m := range r.slow {
		m.after = Position{Offset: r.report.Published, Epoch: r.epoch}
		r.followers[m.number].last = r.report.Published
	}
	r.onLive = func(m *member) { r.pause(m, true) }
	if err := r.connect(ctx, r.slow, r.InFlight); err != nil {
		return err
	}
	var looked time.Time
	r.report.With, err = r.publish(ctx, func(now time.Time) error {
		r.crawl()
		if now.Sub(looked) < time.Second {
			return nil
		}
		looked = now
		u, err := usageOf(r.target.PIDs)
		r.report.Peak = max(r.report.Peak, u.rss)
		return err
	})
	return err
}

// step is how often something is published or read, at least.
const step = 10 * time.Millisecond

// publish sends messages for Duration and returns what the good ones saw.
func (r *slowRun) publish(ctx context.Context, each func(now time.Time) error) (Latency, error) {
	r.deliver = newStopwatch()
	start, published := time.Now(), 0
	end := start.Add(r.Duration)
	var data []byte
	err := r.serve(ctx, end.Add(time.Hour), func() (time.Time, bool) {
		now := time.Now()
		if r.failed = errors.Join(r.failed, each(now)); now.After(end) {
			return end, true
		}
		for {
			due := start.Add(time.Duration(float64(published) / r.Rate * float64(time.Second)))
			if due.After(now) {
				if next := now.Add(step); due.After(next) {
					return next, false
				}
				return due, false
			}
			published++
			r.report.Published++
			data = payload{run: r.id, sequence: r.report.Published, sent: time.Since(r.began)}.appendTo(data[:0], r.Size)
			r.scratch = r.protocol.AppendPublish(r.scratch[:0], r.publisher.number, r.channel, r.report.Published, data)
			r.send(r.publisher, r.scratch)
		}
	})
	if err != nil {
		return Latency{}, err
	}
	err = r.serve(ctx, time.Now().Add(r.Recover), func() (time.Time, bool) {
		r.failed = errors.Join(r.failed, each(time.Now()))
		for _, m := range r.good {
			if m.phase == phaseLive && r.followers[m.number].last < r.report.Published {
				return time.Now().Add(step), false
			}
		}
		return time.Time{}, true
	})
	if errors.Is(err, errTimeout) {
		r.problem("not every good client had all %v after the end", r.Recover)
		err = nil
	}
	return r.deliver.latency(), err
}

// crawl lets as many of the crawling clients read as are due in a step.
func (r *slowRun) crawl() {
	const reads = 10 // a second and client
	crawling := r.slow[r.Stalled:]
	for range (len(crawling)*reads*int(step/time.Millisecond) + 999) / 1000 {
		m := crawling[r.crawled%len(crawling)]
		r.crawled++
		if m.phase == phaseLive {
			r.readSome(m, max(r.Crawl/reads, 1))
		}
	}
}

// catchUp lets the slow clients read again and come back.
func (r *slowRun) catchUp(ctx context.Context) error {
	r.recovery = true
	r.onLive = func(*member) {}
	for _, m := range r.slow {
		m.receive = 0
		if m.phase == phaseGone {
			r.comeBack(m)
		} else {
			r.pause(m, false)
		}
	}
	start := time.Now()
	err := r.serve(ctx, start.Add(r.Recover), func() (time.Time, bool) {
		r.report.Recovered = 0
		for _, m := range r.slow {
			if r.followers[m.number].last >= r.report.Published {
				r.report.Recovered++
			}
		}
		return time.Time{}, r.report.Recovered == len(r.slow)
	})
	r.report.Seconds = time.Since(start).Seconds()
	if err != nil && !errors.Is(err, errTimeout) {
		return err
	}
	after, err := usageOf(r.target.PIDs)
	if err != nil {
		return err
	}
	r.report.After = after.rss
	// A last subscriber is told what is retained.
	probe := r.add(placement{channel: r.channel, after: Position{Offset: r.report.Published, Epoch: r.epoch}})
	return r.connect(ctx, []*member{probe}, 1)
}

func (r *slowRun) comeBack(m *member) {
	m.after = Position{Offset: r.followers[m.number].last, Epoch: r.epoch}
	r.failed = errors.Join(r.failed, r.open(m))
}

func (r *slowRun) event(m *member, e Event) {
	f := &r.followers[m.number]
	switch e.Kind {
	case Ready:
		if e.Epoch != "" {
			r.epoch = e.Epoch
		}
		r.earliest = max(r.earliest, e.Earliest)
	case Delivered:
		p, err := decodePayload(e.Data)
		if err != nil || p.run != r.id || e.Offset != 0 && e.Offset != p.sequence {
			r.report.Corrupt++
			r.problem("offset %d is not what was published: %.100q", e.Offset, e.Data)
			return
		}
		f.message(p.sequence, &r.report.Verdict)
		if m.number <= r.Good {
			r.deliver.record(0, r.now.Sub(r.began)-p.sent)
		}
	case Gap:
		r.report.Gaps++
		if m.number <= r.Good {
			r.problem("a good client was told of a gap from %d to %d", e.Offset, e.To)
		}
		if e.Offset != f.last+1 {
			r.problem("a gap from %d to %d was announced after offset %d", e.Offset, e.To, f.last)
		}
		r.covered = max(r.covered, e.To)
		f.gap(e.Offset, e.To, &r.report.Verdict)
	case Refused:
		r.refused = errors.Join(r.refused, fmt.Errorf("refused: %s", e.Data))
	}
}

func (r *slowRun) lost(m *member, reason error) {
	if m.number <= r.Good {
		r.report.Disconnected++
		r.problem("a good client was disconnected: %v", reason)
		return
	}
	r.report.Closed++
	if r.recovery {
		r.comeBack(m)
	}
}

func (r *slowRun) problem(format string, args ...any) {
	if len(r.report.Problems) < maxProblems {
		r.report.Problems = append(r.report.Problems, fmt.Sprintf(format, args...))
	}
}

// judge completes the report.
func (r *slowRun) judge() SlowReport {
	if r.earliest > 0 && r.covered >= r.earliest {
		r.problem("a gap reached to offset %d, but everything from %d on is retained", r.covered, r.earliest)
	}
	for _, m := range r.members[1 : 1+r.Good+len(r.slow)] {
		r.followers[m.number].end(r.report.Published, &r.report.Verdict)
	}
	return r.report
}
