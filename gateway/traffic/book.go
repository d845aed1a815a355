// Package traffic counts what the clients of each project do. It knows nothing of sockets and
// frames.
package traffic

import (
	"sync"
	"sync/atomic"
)

// Counter counts for one project, from the start of the node on.
type Counter struct {
	Opened     atomic.Uint64 // connections
	Publishes  atomic.Uint64
	Deliveries atomic.Uint64 // message and gap frames written to clients
	Refusals   atomic.Uint64
}

// Counts are the values of a Counter at one moment.
type Counts struct {
	Opened, Publishes, Deliveries, Refusals uint64
}

// Plus returns the sum of two counts.
func (c Counts) Plus(d Counts) Counts {
	return Counts{c.Opened + d.Opened, c.Publishes + d.Publishes, c.Deliveries + d.Deliveries, c.Refusals + d.Refusals}
}

// Minus returns what was counted since d.
func (c Counts) Minus(d Counts) Counts {
	return Counts{c.Opened - d.Opened, c.Publishes - d.Publishes, c.Deliveries - d.Deliveries, c.Refusals - d.Refusals}
}

// Book has a counter for each project that was active. It never drops one, since others may
// hold it: a Counter is small, and only operators make projects. The zero value is empty.
type Book struct {
	mu       sync.RWMutex
	projects map[string]*Counter
}

// Of returns the counter of a project.
func (b *Book) Of(project string) *Counter {
	b.mu.RLock()
	c := b.projects[project]
	b.mu.RUnlock()
	if c != nil {
		return c
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c = b.projects[project]; c != nil {
		return c
	}
	if b.projects == nil {
		b.projects = make(map[string]*Counter)
	}
	c = &Counter{}
	b.projects[project] = c
	return c
}

// AddTo adds the counts of each project to a sum.
func (b *Book) AddTo(sum map[string]Counts) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for project, c := range b.projects {
		sum[project] = sum[project].Plus(Counts{
			c.Opened.Load(), c.Publishes.Load(), c.Deliveries.Load(), c.Refusals.Load(),
		})
	}
}
