// Package quota counts what the clients of one node use of their projects' quotas, and
// divides a quota among nodes. It knows neither connections nor how nodes tell each other.
package quota

import (
	"fmt"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Usage is the part of a project's quotas that the clients of one node use.
type Usage struct {
	Connections   int     `json:"connections"`
	PublishRate   float64 `json:"publishRate"` // messages per second, in the last second or so
	Subscriptions int     `json:"subscriptions"`
}

// Counter holds the usage of each project on this node, and on the others as last heard.
// The sum over the cluster is soft: nodes tell each other each second, so it can be
// exceeded within one. The share of a publish rate that a node may use is the part that
// the others leave, and at least its equal part.
type Counter struct {
	began time.Time

	mu            sync.Mutex
	projects      map[string]*projectUsage
	subscriptions int       // of all projects
	counted       time.Time // when rates were last measured
}

type projectUsage struct {
	connections   int
	subscriptions int
	published     int     // since it was last measured
	rate          float64 // as last measured, per second
	spent         ratelimit.Bucket
	share         float64 // of the publish rate, for this node; 0 until told
	elsewhere     Usage
}

// quotaRetry is the retry time of a client that found no place among the connections.
const quotaRetry = time.Second

// NewCounter returns a counter of a node without clients.
func NewCounter() *Counter {
	now := time.Now()
	return &Counter{began: now, counted: now, projects: make(map[string]*projectUsage)}
}

func (q *Counter) of(project string) *projectUsage {
	u := q.projects[project]
	if u == nil {
		u = &projectUsage{}
		q.projects[project] = u
	}
	return u
}

// Connect counts a connection of a project in, unless there are too many.
func (q *Counter) Connect(p *fsm.Project) *refusal.Error {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(p.ID)
	if most := p.Quotas.Connections; most > 0 && u.connections+u.elsewhere.Connections >= most {
		return &refusal.Error{
			Code: refusal.RateLimited, Reason: "the project has too many connections", RetryAfter: quotaRetry,
			Detail: fmt.Sprintf("the project's quota is %d connections: %d are here, %d on other nodes",
				most, u.connections, u.elsewhere.Connections),
		}
	}
	u.connections++
	return nil
}

// Disconnect counts a connection out.
func (q *Counter) Disconnect(project string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.of(project).connections--
}

// Subscribe counts a subscription of a project in, unless it or the node, with a bound of
// its own, has too many.
func (q *Counter) Subscribe(p *fsm.Project, most int) *refusal.Error {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(p.ID)
	if q.subscriptions >= most {
		return &refusal.Error{
			Code: refusal.RateLimited, Reason: "this node has too many subscriptions", RetryAfter: quotaRetry,
			Detail: fmt.Sprintf("max-subscriptions of this node is %d", most),
		}
	}
	if most := p.Quotas.Subscriptions; most > 0 && u.subscriptions+u.elsewhere.Subscriptions >= most {
		return &refusal.Error{
			Code: refusal.RateLimited, Reason: "the project has too many subscriptions", RetryAfter: quotaRetry,
			Detail: fmt.Sprintf("the project's quota is %d subscriptions: %d are here, %d on other nodes",
				most, u.subscriptions, u.elsewhere.Subscriptions),
		}
	}
	q.subscriptions++
	u.subscriptions++
	return nil
}

// TooManyMembers refuses another member of a project.
func TooManyMembers(members, most int) *refusal.Error {
	return &refusal.Error{
		Code: refusal.RateLimited, Reason: "the project has too many members", RetryAfter: quotaRetry,
		Detail: fmt.Sprintf("the project's quota is %d members in all channels, and there are %d", most, members),
	}
}

// Unsubscribe counts subscriptions of a project out.
func (q *Counter) Unsubscribe(project string, n int) {
	if n == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.subscriptions -= n
	q.of(project).subscriptions -= n
}

// Subscriptions returns how many there are on this node.
func (q *Counter) Subscriptions() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.subscriptions
}

// Publish spends a message of a project's rate.
func (q *Counter) Publish(p *fsm.Project) *refusal.Error {
	most := p.Quotas.PublishRate
	if most == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(p.ID)
	share := most
	if u.share > 0 {
		share = min(most, u.share)
	}
	if wait := u.spent.Take(ratelimit.PerSecond(share, int(share)), time.Since(q.began)); wait > 0 {
		return &refusal.Error{
			Code: refusal.RateLimited, Reason: "the project publishes too much", RetryAfter: max(wait, time.Millisecond),
			Detail: fmt.Sprintf("the project's quota is %g messages a second, %g of them for this node", most, share),
		}
	}
	u.published++
	return nil
}

// Open returns how many connections each project has on this node.
func (q *Counter) Open() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	open := make(map[string]int)
	for id, u := range q.projects {
		if u.connections > 0 {
			open[id] = u.connections
		}
	}
	return open
}

// Measure ends a second of counting.
func (q *Counter) Measure(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	passed := max(now.Sub(q.counted).Seconds(), 0.1)
	q.counted = now
	for id, u := range q.projects {
		u.rate = float64(u.published) / passed
		if u.published = 0; u.rate == 0 && u.connections == 0 && u.subscriptions == 0 {
			delete(q.projects, id)
		}
	}
}

// Divide takes the usage of other nodes, one element for each.
func (q *Counter) Divide(others []map[string]Usage, project func(id string) (*fsm.Project, bool)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, u := range q.projects {
		u.elsewhere = Usage{}
		for _, other := range others {
			u.elsewhere.Connections += other[id].Connections
			u.elsewhere.PublishRate += other[id].PublishRate
			u.elsewhere.Subscriptions += other[id].Subscriptions
		}
		p, found := project(id)
		if !found || p.Quotas.PublishRate == 0 {
			u.share = 0
			continue
		}
		most := p.Quotas.PublishRate
		share := max(most/float64(len(others)+1), most-u.elsewhere.PublishRate)
		if u.share > 0 {
			// Half of the way: nodes that take the rest at once would sway.
			share = (share + u.share) / 2
		}
		u.share = share
	}
}

// Shared returns the usage of the projects that have quotas, for the other nodes.
func (q *Counter) Shared(project func(id string) (*fsm.Project, bool)) map[string]Usage {
	q.mu.Lock()
	defer q.mu.Unlock()
	used := make(map[string]Usage)
	for id, u := range q.projects {
		if p, found := project(id); found && p.Quotas.Shared() {
			used[id] = Usage{u.connections, u.rate, u.subscriptions}
		}
	}
	return used
}

// Uncount takes a connection and its channels out of what is counted; a negative number
// brings them back.
func (q *Counter) Uncount(project string, counts int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(project)
	connections := 1
	if counts < 0 {
		connections = -1
	}
	u.connections -= connections
	u.subscriptions -= counts - connections
	q.subscriptions -= counts - connections
}

// MovedHere notes that another node counts so much less by now.
func (q *Counter) MovedHere(project string, counts int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(project)
	u.elsewhere.Connections = max(u.elsewhere.Connections-1, 0)
	u.elsewhere.Subscriptions = max(u.elsewhere.Subscriptions-(counts-1), 0)
}
