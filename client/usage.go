package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
)

// Usage is what the clients of a project did in a span of time.
type Usage struct {
	Connections uint64 `json:"connections"` // the most that were open at a time
	Opened      uint64 `json:"opened"`      // connections that were opened
	Publishes   uint64 `json:"publishes"`
	Deliveries  uint64 `json:"deliveries"` // messages written to clients
	Refusals    uint64 `json:"refusals"`
}

// ProjectUsage is the usage of a project in periods of equal length, oldest first. Periods
// without any usage are left out.
type ProjectUsage struct {
	StepSeconds int           `json:"stepSeconds"`
	Periods     []UsagePeriod `json:"periods"`
}

// UsagePeriod is the usage in one period.
type UsagePeriod struct {
	At int64 `json:"at"` // its begin, Unix ms
	Usage
}

// DayUsage is the usage of a project in the last 24 hours.
type DayUsage struct {
	Project string `json:"project"` // id
	Name    string `json:"name"`
	Usage
}

// ProjectUsage returns the usage of a project by "minute" (the last hour), by "hour" (two
// days) or by "day" (92 days).
func (a *Admin) ProjectUsage(ctx context.Context, project, by string) (ProjectUsage, error) {
	return request[ProjectUsage](ctx, a, call{
		method: http.MethodGet, path: "/projects/{id}/usage", id: project, query: url.Values{"by": {by}},
	})
}

// Usage lists the usage of all projects in the last 24 hours.
func (a *Admin) Usage(ctx context.Context) iter.Seq2[DayUsage, error] {
	return list(ctx, a, call{path: "/usage"}, func(page *listPage) []DayUsage { return page.Usage })
}
