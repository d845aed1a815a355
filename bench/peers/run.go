package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// result is what a row came to.
type result struct {
	Row     string   `json:"row"`
	Title   string   `json:"title"`
	Metrics []string `json:"metrics"` // in the order of the table
	Lines   []line   `json:"lines"`
	Ratio   string   `json:"ratio,omitempty"` // the metric that Times is of
}

// line is one contender in a row.
type line struct {
	Contender string             `json:"contender"`
	Rounds    []map[string]value `json:"-"`
	Median    map[string]float64 `json:"median"`
	Min       map[string]float64 `json:"min"`
	Max       map[string]float64 `json:"max"`
	Times     *spread            `json:"times,omitempty"` // as much as the first line, round by round
	Problems  []string           `json:"problems"`        // of all rounds
}

// spread is what the rounds came to.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// value is one measurement.
type value = float64

// runRows runs every row: in each round all contenders, one after the other, on
// servers started for it.
func runRows(ctx context.Context, chosen []row, rounds int, progress io.Writer) ([]result, error) {
	var results []result
	for _, r := range chosen {
		result := result{Row: r.Name, Title: r.Title, Ratio: r.ratio, Lines: make([]line, len(r.contenders))}
		for round := range rounds {
			for i, c := range r.contenders {
				if _, err := fmt.Fprintf(progress, "%s, round %d of %d: %s\n", r.Name, round+1, rounds, c.name); err != nil {
					return nil, fmt.Errorf("show progress: %w", err)
				}
				measured, problems, err := runOnce(ctx, r, c)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", r.Name, c.name, err)
				}
				values := make(map[string]value)
				for _, m := range measured {
					values[m.name] = m.value
					if !slices.Contains(result.Metrics, m.name) {
						result.Metrics = append(result.Metrics, m.name)
					}
				}
				l := &result.Lines[i]
				l.Contender = c.name
				l.Rounds = append(l.Rounds, values)
				l.Problems = append(l.Problems, problems...)
			}
		}
		for i := range result.Lines {
			result.Lines[i].summarise(result.Metrics)
			if i > 0 && r.ratio != "" {
				result.Lines[i].compare(result.Lines[0], r.ratio)
			}
		}
		results = append(results, result)
	}
	return results, nil
}

func runOnce(ctx context.Context, r row, c contender) (measured []metric, problems []string, err error) {
	target, stop, err := c.start(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("start: %w", err)
	}
	defer func() { err = errors.Join(err, stop()) }()
	// What starting leaves to do is not part of any load.
	select {
	case <-time.After(calm):
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return r.load(ctx, target)
}

// calm is between the start of servers and their load.
const calm = time.Second

// summarise computes the medians, and what they lie between.
func (l *line) summarise(metrics []string) {
	l.Median, l.Min, l.Max = make(map[string]float64), make(map[string]float64), make(map[string]float64)
	for _, name := range metrics {
		var values []float64
		for _, round := range l.Rounds {
			values = append(values, round[name])
		}
		s := spreadOf(values)
		l.Median[name], l.Min[name], l.Max[name] = s.Median, s.Min, s.Max
	}
}

// compare computes how many times the metric of first the line has in each round.
func (l *line) compare(first line, metric string) {
	var times []float64
	for n, round := range l.Rounds {
		times = append(times, round[metric]/first.Rounds[n][metric])
	}
	s := spreadOf(times)
	l.Times = &s
}

func spreadOf(values []float64) spread {
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

// writeTable writes results for people.
func writeTable(w io.Writer, results []result) error {
	var err error
	printf := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format, args...)
		}
	}
	for _, r := range results {
		printf("\n%s: %s; median (min–max)\n%-22s", r.Row, r.Title, "")
		for _, name := range r.Metrics {
			printf(" %28s", name)
		}
		printf("\n")
		for _, l := range r.Lines {
			printf("%-22s", l.Contender)
			for _, name := range r.Metrics {
				printf(" %28s", fmt.Sprintf("%s (%s–%s)", short(l.Median[name]), short(l.Min[name]), short(l.Max[name])))
			}
			printf("\n")
		}
		for _, l := range r.Lines {
			if l.Times != nil {
				printf("%s of %s: %.2f (%.2f–%.2f) times that of %s\n",
					r.Ratio, l.Contender, l.Times.Median, l.Times.Min, l.Times.Max, r.Lines[0].Contender)
			}
		}
		for _, l := range r.Lines {
			for _, problem := range l.Problems {
				printf("! %s: %s\n", l.Contender, problem)
			}
		}
	}
	return err
}

// short writes a figure with about three digits.
func short(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
