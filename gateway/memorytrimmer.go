package gateway

import (
	"runtime"
	"runtime/debug"
	"time"
)

// memoryTrimmer notices when many clients have left. The runtime collects what they
// leave only when as much again is needed, and keeps it for minutes after that;
// then it is worth a collection to give the memory back at once.
type memoryTrimmer struct{ most, before int }

// manyClients is from how many on it matters.
const manyClients = 1000

// due reports whether at least a half of many clients has left and no more are
// leaving, given how many there are now. It is asked once a second.
func (c *memoryTrimmer) due(now int) bool {
	calm := now >= c.before
	c.before, c.most = now, max(c.most, now)
	if c.most < manyClients || now > c.most/2 || !calm {
		return false
	}
	c.most = now
	return true
}

// trimMemory returns memory to the system when a crowd has left.
func (s *Server) trimMemory() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var c memoryTrimmer
	for {
		select {
		case <-ticker.C:
			if c.due(s.ConnectionCount()) {
				s.trim()
				runtime.GC() // what pools hold goes with the second collection
				debug.FreeOSMemory()
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// trim has all that grew with a crowd take only what is needed now.
func (s *Server) trim() {
	s.ask(func(l *loop) func() {
		l.trim()
		return func() {}
	})
	s.interest.trim()
}
