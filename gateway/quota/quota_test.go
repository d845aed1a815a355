package quota

import (
	"math"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
)

// However much each node's clients want to publish, all of them together come to
// the quota within a few exchanges and stay there, and a busy node gets what idle
// ones leave.
func TestQuotaShares(t *testing.T) {
	const quota, project = 900.0, "p"
	p := &fsm.Project{ID: project, Quotas: fsm.Quotas{PublishRate: quota}}
	for _, demands := range [][]float64{
		{5000, 5000, 5000},
		{5000, 0, 0},
		{5000, 90, 5000},
		{100, 200, 300},
		{5000, 299, 301},
	} {
		nodes := make([]*Counter, len(demands))
		for i := range nodes {
			nodes[i] = NewCounter()
			nodes[i].of(project).share = quota // as if nobody knew of the others
		}
		sum, want := 0.0, 0.0
		for _, d := range demands {
			want += d
		}
		want = min(want, quota)
		for range 10 {
			sum = 0
			for i, q := range nodes {
				u := q.projects[project]
				u.rate = min(demands[i], u.share)
				sum += u.rate
			}
			for i, q := range nodes {
				var others []map[string]Usage
				for j, other := range nodes {
					if j != i {
						others = append(others, map[string]Usage{project: {PublishRate: other.projects[project].rate}})
					}
				}
				q.Divide(others, func(string) (*fsm.Project, bool) { return p, true })
			}
		}
		if math.Abs(sum-want) > 0.05*quota {
			t.Errorf("demands of %v come to %.0f a second, want %.0f", demands, sum, want)
		}
	}
}
