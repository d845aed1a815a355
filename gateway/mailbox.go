package gateway

import (
	"sync"

	"github.com/aptlyd/aptlyd/fsm"
)

// task is something that another goroutine has a loop do: run a function, or note that a
// publish has its outcome.
type task struct {
	run      func()
	answered *publish
}

func (t task) do() {
	if t.answered != nil {
		t.answered.conn.answer(t.answered)
		return
	}
	t.run()
}

// mailbox takes messages of other goroutines to an event loop. Tasks are bounded by
// their senders: a job, a request or a publish of a connection each bring one back.
// Commits are bounded here.
type mailbox struct {
	wake  chan struct{} // holds one token while there may be mail
	limit int           // bytes of commits that may wait

	mu      sync.Mutex
	closed  bool
	tasks   []task
	commits []commit
	bytes   int
	// raised holds how far channels reach whose commits did not fit.
	raised map[fsm.ChannelKey]uint64
}

func newMailbox(limit int) *mailbox {
	return &mailbox{wake: make(chan struct{}, 1), limit: limit, raised: make(map[fsm.ChannelKey]uint64)}
}

func (m *mailbox) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// post has the loop run a task. It reports false when the loop has ended.
func (m *mailbox) post(run func()) bool { return m.postTask(task{run: run}) }

// postAnswer hands over a publish that has its outcome.
func (m *mailbox) postAnswer(p *publish) { m.postTask(task{answered: p}) }

func (m *mailbox) postTask(t task) bool {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	m.tasks = append(m.tasks, t)
	first := len(m.tasks) == 1
	m.mu.Unlock()
	if first { // the loop takes all tasks at once, so it was told of the others with their first
		m.signal()
	}
	return true
}

// postCommits hands over commits in their order. It returns how many went without their
// payloads because the loop is too far behind.
func (m *mailbox) postCommits(batch []commit) (dropped int) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return 0
	}
	for _, c := range batch {
		size := c.bytes()
		if m.bytes+size > m.limit && m.bytes > 0 {
			dropped++
			if !c.transient {
				m.raised[c.channel] = c.messages[len(c.messages)-1].Offset
			}
			continue
		}
		m.bytes += size
		m.commits = append(m.commits, c)
	}
	m.mu.Unlock()
	m.signal()
	return dropped
}

// takeTasks returns all tasks. It uses buf for the next ones.
func (m *mailbox) takeTasks(buf []task) []task {
	m.mu.Lock()
	defer m.mu.Unlock()
	tasks := m.tasks
	m.tasks = buf[:0]
	return tasks
}

// takeCommits moves commits of about maxBytes of payload to buf, and all raised
// heads once no commit is left. It reports whether some are left.
func (m *mailbox) takeCommits(
	buf []commit, maxBytes int,
) (commits []commit, raised map[fsm.ChannelKey]uint64, more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, size := 0, 0
	for n < len(m.commits) && size < maxBytes {
		for _, msg := range m.commits[n].messages {
			size += len(msg.Data)
		}
		m.bytes -= m.commits[n].bytes()
		n++
	}
	commits = append(buf[:0], m.commits[:n]...)
	rest := copy(m.commits, m.commits[n:])
	clear(m.commits[rest:])
	m.commits = m.commits[:rest]
	if rest == 0 && len(m.raised) > 0 {
		raised = m.raised
		m.raised = make(map[fsm.ChannelKey]uint64)
	}
	return commits, raised, rest > 0
}

// close refuses later posts and returns the tasks that are left.
func (m *mailbox) close() (left []task) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	left = m.tasks
	m.tasks, m.commits, m.raised = nil, nil, nil
	return left
}
