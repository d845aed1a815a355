package admin

import (
	"net/http"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// UsageStep is the length of the periods that usage is counted by.
type UsageStep string

// The lengths of periods, and how far back they go: an hour, two days and a quarter.
const (
	UsageByMinute UsageStep = "minute"
	UsageByHour   UsageStep = "hour"
	UsageByDay    UsageStep = "day"
)

var usageSteps = map[UsageStep]time.Duration{
	UsageByMinute: time.Minute, UsageByHour: time.Hour, UsageByDay: 24 * time.Hour,
}

// projectUsage serves GET /projects/{id}/usage.
func (h *Handler) projectUsage(r *http.Request) (int, any, error) {
	by := UsageByDay
	if text := r.URL.Query().Get("by"); text != "" {
		by = UsageStep(text)
	}
	step, known := usageSteps[by]
	if !known {
		return 0, nil, refusal.New(refusal.InvalidMessage, "by is none of minute, hour, day")
	}
	project, err := h.project(r)
	if err != nil {
		return 0, nil, err
	}
	periods, err := h.cfg.Broker.ProjectUsage(r.Context(), project.ID, by)
	if err != nil {
		return 0, nil, err
	}
	if periods == nil {
		periods = []fsm.UsagePeriod{}
	}
	return http.StatusOK, struct {
		StepSeconds int               `json:"stepSeconds"`
		Periods     []fsm.UsagePeriod `json:"periods"`
	}{int(step / time.Second), periods}, nil
}

// listUsage serves GET /usage: the last 24 hours of each project, by project id.
func (h *Handler) listUsage(r *http.Request) (int, any, error) {
	cursor, limit, _, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	found, next := cutPage(h.cfg.Broker.Projects(cursor, limit+1), limit, func(p *fsm.Project) string { return p.ID })
	type usageJSON struct {
		Project string `json:"project"`
		Name    string `json:"name"`
		fsm.Usage
	}
	usage := make([]usageJSON, len(found))
	for i, p := range found {
		usage[i] = usageJSON{p.ID, p.Name, h.cfg.Broker.DayUsage(p.ID)}
	}
	return http.StatusOK, struct {
		Usage []usageJSON `json:"usage"`
		Next  string      `json:"next"`
	}{usage, next}, nil
}
