package fsm

import (
	"slices"
	"testing"
	"time"
)

const (
	minuteMs = int64(time.Minute / time.Millisecond)
	hourMs   = 60 * minuteMs
)

// report adds usage to the test's project at a stamp.
func report(m *machine, stamp int64, u Usage) {
	m.t.Helper()
	results := m.entry(stamp-m.stamp, AddUsage{[]ProjectUsage{{projectID, u}, {"unknown", u}}}.Encode())
	if err := DecodeResult(results[0]); err != nil {
		m.t.Fatal(err)
	}
}

func TestUsageIsCountedByHourAndByDay(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	day := (start/(24*hourMs) + 1) * 24 * hourMs
	report(m, day, Usage{3, 3, 10, 30, 1})
	report(m, day+1, Usage{4, 4, 1, 2, 0})          // of another node, in the same minute
	report(m, day+minuteMs, Usage{5, 1, 1, 0, 0})   // the other closed its connections
	report(m, day+hourMs, Usage{1, 0, 5, 5, 0})     // another hour
	report(m, day+24*hourMs, Usage{Connections: 2}) // another day
	hours := []UsagePeriod{
		{day, Usage{7, 8, 12, 32, 1}},
		{day + hourMs, Usage{1, 0, 5, 5, 0}},
		{day + 24*hourMs, Usage{Connections: 2}},
	}
	days := []UsagePeriod{{day, Usage{7, 8, 17, 37, 1}}, {day + 24*hourMs, Usage{Connections: 2}}}
	for range 2 {
		if got := m.UsageByHour(projectID); !slices.Equal(got, hours) {
			t.Errorf("by hour %+v, want %+v", got, hours)
		}
		if got := m.UsageByDay(projectID); !slices.Equal(got, days) {
			t.Errorf("by day %+v, want %+v", got, days)
		}
		if m.UsageByDay("unknown") != nil {
			t.Error("an unknown project has usage")
		}
		m.flushed()
		m.kill()
		m = openMachine(t, dir, lazy)
	}
}

// TestReportsOfOneMinuteAreAddedUp, whose stamps lie around its begin.
func TestReportsOfOneMinuteAreAddedUp(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.createProject()
	day := (start/(24*hourMs) + 1) * 24 * hourMs
	report(m, day+minuteMs-2, Usage{Connections: 3})
	report(m, day+minuteMs+2, Usage{Connections: 4})
	report(m, day+2*minuteMs-2, Usage{Connections: 4})
	report(m, day+2*minuteMs+2, Usage{Connections: 3})
	want := []UsagePeriod{{day, Usage{Connections: 7}}}
	if got := m.UsageByHour(projectID); !slices.Equal(got, want) {
		t.Errorf("by hour %+v, want %+v", got, want)
	}
}

func TestUsageIsForgotten(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.createProject()
	for day := range int64(200) {
		report(m, start+day*24*hourMs, Usage{Publishes: 1})
	}
	if n := len(m.UsageByDay(projectID)); n != usageDays {
		t.Errorf("%d days are kept", n)
	}
	if n := len(m.UsageByHour(projectID)); n > 3 {
		t.Errorf("%d hours are kept", n)
	}
	m.must(DeleteProject{ID: projectID}.Encode())
	for range 2 {
		if got := m.UsageByDay(projectID); got != nil || len(m.usage) > 0 {
			t.Errorf("a deleted project has %+v", got)
		}
		m.flushed()
		m.kill()
		m = openMachine(t, dir, lazy)
	}
}

func TestUsageOutOfBoundsDoesNotEnterTheLog(t *testing.T) {
	for _, c := range []AddUsage{
		{[]ProjectUsage{{"p", Usage{Publishes: maxUsageCount + 1}}}},
		{make([]ProjectUsage, MaxUsage+1)},
	} {
		if _, err := check(c.Encode(), false); err == nil {
			t.Errorf("usage of %d projects is taken", len(c.Projects))
		}
	}
}
