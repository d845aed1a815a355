package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
)

// meterUsage reads the counts of the projects each minute, and reports them to the state,
// until ctx ends.
func (n *Node) meterUsage(ctx context.Context) {
	for {
		now := time.Now()
		ends := now.Truncate(meterStep).Add(meterStep)
		select {
		case <-time.After(ends.Sub(now)):
		case <-ctx.Done():
			return
		}
		n.readUsage(ends.Add(-1))
		n.reportUsage(ctx)
	}
}

// readUsage brings the meter up to date, as of a time.
func (n *Node) readUsage(at time.Time) { n.meter.read(minuteAt(at), n.gateway.Traffic) }

// reportUsage tells the state what clients did since the last report. A report that may
// have arrived is not repeated: usage is rather too low, by one report, than too high.
func (n *Node) reportUsage(ctx context.Context) {
	if !n.state.Initialised() || n.level.Load() < fsm.LevelOf(fsm.AddUsage{}.Encode()) {
		return
	}
	untold := n.meter.take()
	for part := range slices.Chunk(slices.Sorted(maps.Keys(untold)), fsm.MaxUsage) {
		var report fsm.AddUsage
		for _, project := range part {
			report.Projects = append(report.Projects, fsm.ProjectUsage{Project: project, Usage: untold[project]})
		}
		err := n.cluster.Apply(ctx, n.withSender(fsm.Sender{Kind: fsm.NodeSender}, report.Encode())).Err
		if err == nil || errors.Is(err, cluster.ErrOutcomeUnknown) {
			continue
		}
		for _, project := range part {
			n.meter.putBack(project, untold[project])
		}
	}
}

// projectUsageQuestion asks for a node's usage of a project in the minutes since Since.
type projectUsageQuestion struct {
	Project string `json:"project"`
	Since   int64  `json:"since"`
}

// projectUsage answers question.ProjectUsage.
type projectUsage struct {
	Minutes []fsm.UsagePeriod `json:"minutes"`
	Untold  fsm.Usage         `json:"untold"` // that the state was not told yet
}

func (p projectUsage) Check() error {
	if len(p.Minutes) > meterSteps {
		return fmt.Errorf("%d minutes", len(p.Minutes))
	}
	for _, m := range p.Minutes {
		if m.At < 0 {
			return fmt.Errorf("minute %d", m.At)
		}
	}
	return nil
}

func (n *Node) projectUsage(q projectUsageQuestion) projectUsage {
	n.readUsage(time.Now())
	return projectUsage{n.meter.list(q.Project, q.Since), n.meter.of(q.Project)}
}

// ProjectUsage implements admin.Operator.
func (n *Node) ProjectUsage(ctx context.Context, project string, by admin.UsageStep) ([]fsm.UsagePeriod, error) {
	q := projectUsageQuestion{project, minuteAt(time.Now()) - meterSteps + 1}
	nodes := []projectUsage{n.projectUsage(q)}
	others, err := askPeers[projectUsage](ctx, n, question{ProjectUsage: &q})
	if err != nil {
		return nil, err
	}
	nodes = append(nodes, others...)
	switch by {
	case admin.UsageByMinute:
		return sumMinutes(nodes), nil
	case admin.UsageByHour:
		return withUntold(n.state.UsageByHour(project), n.state.Stamp(), time.Hour, nodes), nil
	default:
		return withUntold(n.state.UsageByDay(project), n.state.Stamp(), 24*time.Hour, nodes), nil
	}
}

// sumMinutes adds up the minutes of several nodes.
func sumMinutes(nodes []projectUsage) []fsm.UsagePeriod {
	sum := make(map[int64]fsm.Usage)
	for _, u := range nodes {
		for _, m := range u.Minutes {
			sum[m.At] = sum[m.At].Plus(m.Usage)
		}
	}
	list := make([]fsm.UsagePeriod, 0, len(sum))
	for at, u := range sum {
		list = append(list, fsm.UsagePeriod{At: at, Usage: u})
	}
	slices.SortFunc(list, func(a, b fsm.UsagePeriod) int { return cmp.Compare(a.At, b.At) })
	return list
}

// withUntold adds what nodes have not reported yet to the period of now.
func withUntold(list []fsm.UsagePeriod, now int64, length time.Duration, nodes []projectUsage) []fsm.UsagePeriod {
	var untold fsm.Usage
	for _, u := range nodes {
		untold = untold.Plus(u.Untold)
	}
	if untold == (fsm.Usage{}) {
		return list
	}
	at := now - now%length.Milliseconds()
	if len(list) == 0 || list[len(list)-1].At < at {
		list = append(list, fsm.UsagePeriod{At: at})
	}
	last := &list[len(list)-1].Usage
	*last = last.Then(untold)
	return list
}

// DayUsage implements admin.Operator.
func (n *Node) DayUsage(project string) fsm.Usage {
	var sum fsm.Usage
	since := n.state.Stamp() - (24 * time.Hour).Milliseconds()
	for _, hour := range n.state.UsageByHour(project) {
		if hour.At > since {
			sum = sum.Then(hour.Usage)
		}
	}
	return sum
}
