package node

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/gateway"
	"github.com/aptlyd/aptlyd/gateway/admin"
)

const (
	historyStep  = 10 * time.Second
	historySteps = 360 // an hour
)

// history holds counts of this node for the last hour. Steps begin at multiples of
// historyStep of the wall clock, so that steps of several nodes can be added.
type history struct {
	mu    sync.Mutex
	steps [historySteps]historyRecord // step n is at n modulo the length
}

// historyRecord holds one node's counts of one step.
type historyRecord struct {
	Step        int64          `json:"step"` // Unix time over historyStep
	Connections int            `json:"connections"`
	Publishes   uint64         `json:"publishes"`
	Deliveries  uint64         `json:"deliveries"`
	BytesOut    uint64         `json:"bytesOut"`
	Refusals    uint64         `json:"refusals"`
	Latency     map[int]uint64 `json:"latency,omitempty"` // place in latencyBuckets to number of publishes
}

// counters are all counters at one moment.
type counters struct {
	gateway.Totals
	latency []uint64
}

func stepAt(t time.Time) int64 { return t.UnixMilli() / historyStep.Milliseconds() }

// since returns what was counted between two moments.
func (now counters) since(last counters, step int64, connections int) historyRecord {
	record := historyRecord{
		Step:        step,
		Connections: connections,
		Publishes:   now.Publishes - last.Publishes,
		Deliveries:  now.Deliveries - last.Deliveries,
		BytesOut:    now.BytesOut - last.BytesOut,
		Refusals:    now.Refusals - last.Refusals,
	}
	for i, count := range now.latency {
		if count -= last.latency[i]; count > 0 {
			if record.Latency == nil {
				record.Latency = make(map[int]uint64)
			}
			record.Latency[i] = count
		}
	}
	return record
}

func (h *history) put(r historyRecord) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps[r.Step%historySteps] = r
}

// list returns the recorded steps from first to last.
func (h *history) list(first, last int64) []historyRecord {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []historyRecord
	for step := first; step <= last; step++ {
		if r := h.steps[step%historySteps]; r.Step == step {
			found = append(found, r)
		}
	}
	return found
}

// recordHistory records every step until ctx ends.
func (n *Node) recordHistory(ctx context.Context) {
	read := func() counters { return counters{n.gateway.Totals(), n.latency.counts()} }
	last := read()
	for {
		now := time.Now()
		ends := now.Truncate(historyStep).Add(historyStep)
		select {
		case <-time.After(ends.Sub(now)):
		case <-ctx.Done():
			return
		}
		current := read()
		n.history.put(current.since(last, stepAt(ends)-1, n.gateway.ConnectionCount()))
		last = current
	}
}

// historyQuestion asks for a node's steps from First to Last, both inclusive. The answer is
// a list of historyRecord.
type historyQuestion struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

// History implements admin.Operator.
func (n *Node) History(ctx context.Context, minutes int) (admin.History, error) {
	last := stepAt(time.Now()) - 1
	first := last + 1 - int64(min(minutes, 60))*int64(time.Minute/historyStep)
	records := [][]historyRecord{n.history.list(first, last)}
	others, err := askPeers[historyList](ctx, n, question{History: &historyQuestion{first, last}})
	if err != nil {
		return admin.History{}, err
	}
	for _, list := range others {
		records = append(records, list)
	}
	return sumHistory(first, last, records), nil
}

// sumHistory adds up the records of several nodes.
func sumHistory(first, last int64, nodes [][]historyRecord) admin.History {
	steps := make([]historyRecord, last-first+1)
	recorded := make([]bool, len(steps))
	for _, records := range nodes {
		for _, r := range records {
			if r.Step < first || r.Step > last {
				continue
			}
			at := &steps[r.Step-first]
			recorded[r.Step-first] = true
			at.Connections += r.Connections
			at.Publishes += r.Publishes
			at.Deliveries += r.Deliveries
			at.BytesOut += r.BytesOut
			at.Refusals += r.Refusals
			for bucket, count := range r.Latency {
				if at.Latency == nil {
					at.Latency = make(map[int]uint64)
				}
				at.Latency[bucket] += count
			}
		}
	}
	sum := admin.History{StepSeconds: int(historyStep / time.Second), From: first * historyStep.Milliseconds()}
	series := &sum.Series
	for i, r := range steps {
		add := func(to *[]admin.Reading, value float64) {
			if !recorded[i] {
				value = math.NaN()
			}
			*to = append(*to, admin.Reading(value))
		}
		perSecond := func(to *[]admin.Reading, count uint64) { add(to, float64(count)/historyStep.Seconds()) }
		add(&series.Connections, float64(r.Connections))
		perSecond(&series.Publishes, r.Publishes)
		perSecond(&series.Deliveries, r.Deliveries)
		perSecond(&series.BytesOut, r.BytesOut)
		perSecond(&series.Refusals, r.Refusals)
		add(&series.LatencyP50, percentile(r.Latency, 0.50))
		add(&series.LatencyP99, percentile(r.Latency, 0.99))
	}
	return sum
}

// percentile returns the latency in ms that the given part of the publishes stayed below,
// or NaN without publishes. It assumes that latencies spread evenly within a bucket.
func percentile(latency map[int]uint64, part float64) float64 {
	var total uint64
	for _, count := range latency {
		total += count
	}
	if total == 0 {
		return math.NaN()
	}
	rank, below := part*float64(total), 0.0
	for i, bound := range latencyBuckets {
		count := float64(latency[i])
		if below+count < rank || count == 0 {
			below += count
			continue
		}
		low := 0.0
		if i > 0 {
			low = latencyBuckets[i-1]
		}
		return 1000 * (low + (bound-low)*(rank-below)/count)
	}
	return 1000 * latencyBuckets[len(latencyBuckets)-1]
}
