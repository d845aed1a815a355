package node

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/aptlyd/aptlyd/gateway"
)

func TestHistoryForgetsAfterAnHour(t *testing.T) {
	var h history
	for step := int64(1); step <= historySteps+5; step++ {
		h.put(historyRecord{Step: step, Connections: int(step)})
	}
	got := h.list(0, historySteps+10)
	if len(got) != historySteps || got[0].Step != 6 || got[len(got)-1].Step != historySteps+5 {
		t.Errorf("%d steps from %d to %d", len(got), got[0].Step, got[len(got)-1].Step)
	}
}

func TestHistoryRecordsDifferences(t *testing.T) {
	last := counters{gateway.Totals{Publishes: 10, BytesOut: 100}, []uint64{1, 0, 5}}
	now := counters{gateway.Totals{Publishes: 30, BytesOut: 100, Refusals: 2}, []uint64{1, 4, 6}}
	got, err := json.Marshal(now.since(last, 7, 3))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"step":7,"connections":3,"publishes":20,"deliveries":0,"bytesOut":0,` +
		`"refusals":2,"latency":{"1":4,"2":1}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestHistoryOfSeveralNodesIsAdded(t *testing.T) {
	one := []historyRecord{
		{Step: 100, Connections: 3, Publishes: 50, Latency: map[int]uint64{0: 98}},
		{Step: 102, Connections: 4},
	}
	two := []historyRecord{
		{Step: 100, Connections: 5, Publishes: 10, Latency: map[int]uint64{10: 2}},
		{Step: 999, Connections: 1},
	}
	got := sumHistory(100, 102, [][]historyRecord{one, two})
	text, err := json.Marshal(got.Series.Connections)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != "[8,null,4]" || got.From != 1_000_000 || got.StepSeconds != 10 {
		t.Errorf("connections %s from %d by %d", text, got.From, got.StepSeconds)
	}
	if got.Series.Publishes[0] != 6 {
		t.Errorf("%v publishes a second", got.Series.Publishes[0])
	}
	p50, p99 := float64(got.Series.LatencyP50[0]), float64(got.Series.LatencyP99[0])
	if p50 <= 0 || p50 > 1000*latencyBuckets[0] || p99 <= 1000*latencyBuckets[9] || p99 > 1000*latencyBuckets[10] {
		t.Errorf("p50 %v ms, p99 %v ms", p50, p99)
	}
	if !math.IsNaN(float64(got.Series.LatencyP50[2])) {
		t.Error("a latency without a publish")
	}
}
