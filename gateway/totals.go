package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Totals are what a gateway has counted since it was made.
type Totals struct {
	Publishes  uint64 // passed on, over WebSocket and HTTP
	Deliveries uint64 // message and gap frames written to clients
	BytesOut   uint64 // written to WebSocket clients
	Refusals   uint64 // of every code
}

// Totals reads the same counters that /metrics shows.
func (s *Server) Totals() Totals {
	m := s.metrics
	return Totals{
		Publishes:  counted(m.published),
		Deliveries: counted(m.delivered),
		BytesOut:   counted(m.sent),
		Refusals:   counted(m.refusals),
	}
}

// counted sums the counters of a collector.
func counted(c prometheus.Collector) uint64 {
	series := make(chan prometheus.Metric)
	go func() {
		defer close(series)
		c.Collect(series)
	}()
	var sum float64
	for s := range series {
		var read dto.Metric
		if err := s.Write(&read); err != nil {
			panic(err) // a counter without exemplars is always written
		}
		sum += read.GetCounter().GetValue()
	}
	return uint64(sum)
}
