package gateway

import (
	"runtime"
	"runtime/debug"
	"time"

	"github.com/aptlyd/aptlyd/internal/repeat"
)

// memoryTrimmer notices when many clients have left. The runtime collects their memory
// only when as much again is needed, and keeps it for minutes after that. A collection
// gives it back at once.
type memoryTrimmer struct{ most, before int }

// manyClients is the number of clients from which on it matters.
const manyClients = 1000

// due reports whether at least half of many clients have left and no more are leaving,
// given how many there are now. It is called once a second.
func (c *memoryTrimmer) due(now int) bool {
	calm := now >= c.before
	c.before, c.most = now, max(c.most, now)
	if c.most < manyClients || now > c.most/2 || !calm {
		return false
	}
	c.most = now
	return true
}

// trimMemory returns memory to the system when many clients have left.
func (s *Server) trimMemory() {
	var c memoryTrimmer
	for range repeat.Every(s.ctx, time.Second) {
		if c.due(s.ConnectionCount()) {
			s.trim()
			runtime.GC() // pools are emptied by the second collection
			debug.FreeOSMemory()
		}
	}
}

// trim shrinks everything that grew with the number of clients.
func (s *Server) trim() {
	s.ask(func(l *loop) func() {
		l.trim()
		return func() {}
	})
	s.interest.trim()
}
