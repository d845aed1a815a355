package bench

import (
	"fmt"
	"io"
)

// table writes lines until the first error.
type table struct {
	w   io.Writer
	err error
}

func (t *table) end() error {
	if t.err != nil {
		return fmt.Errorf("write table: %w", t.err)
	}
	return nil
}

func (t *table) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

// count writes a line with a count and, where seconds are given, its rate.
func (t *table) count(name string, n uint64, seconds float64) {
	if seconds == 0 {
		t.printf("%-26s %9d\n", name, n)
		return
	}
	t.printf("%-26s %9d %9.0f/s\n", name, n, float64(n)/seconds)
}

// verdict writes what went wrong; what was delivered stands elsewhere.
func (t *table) verdict(v Verdict) {
	t.count("lost", v.Lost, 0)
	t.count("duplicated", v.Duplicated, 0)
	t.count("out of order", v.OutOfOrder, 0)
	t.count("corrupt", v.Corrupt, 0)
	t.count("expired", v.Expired, 0)
}

func (t *table) seconds(name string, seconds float64) {
	t.printf("%-26s %9.2f s\n", name, seconds)
}

func (t *table) megabytes(name string, bytes int64) {
	t.printf("%-26s %9.1f MB\n", name, float64(bytes)/1e6)
}

func (t *table) cost(c Cost) {
	if c.ServerCPU > 0 {
		t.seconds("server CPU", c.ServerCPU)
		t.megabytes("server RSS", c.ServerRSS)
	}
	t.seconds("client CPU", c.ClientCPU)
}

// latencies writes the head of the lines that latency writes.
func (t *table) latencies() {
	t.printf("\n%-26s %9s %9s %9s %9s %9s\n", "latency (ms)", "p50", "p90", "p99", "p99.9", "max")
}

func (t *table) latency(name string, l Latency) {
	t.printf("%-26s %9.2f %9.2f %9.2f %9.2f %9.2f\n", name, l.P50, l.P90, l.P99, l.P999, l.Max)
}

func (t *table) problems(problems []string) {
	for _, problem := range problems {
		t.printf("! %s\n", problem)
	}
}
