// Package barrier calls functions once several peers have confirmed what they were told. It
// starts no goroutine and holds no lock: what one lock of its caller guards is used together.
package barrier

// Barrier calls a function once no queue holds it up any more.
type Barrier struct {
	queues int
	then   func()
}

// New returns a barrier that no queue holds up.
func New(then func()) *Barrier { return &Barrier{then: then} }

// Held reports whether a queue holds the barrier up.
func (b *Barrier) Held() bool { return b.queues > 0 }

// Queue holds up barriers until one peer has confirmed enough. The zero value is empty.
type Queue struct{ waiting []waiter }

type waiter struct {
	number  uint64
	barrier *Barrier
}

// Len returns how many barriers the queue holds up.
func (q *Queue) Len() int { return len(q.waiting) }

// Add holds a barrier up until the peer has confirmed everything up to a number.
func (q *Queue) Add(number uint64, b *Barrier) {
	q.waiting = append(q.waiting, waiter{number, b})
	b.queues++
}

// Release lets go of the barriers for which the peer has confirmed enough, in the order in which
// they came. It returns the functions of those that nothing holds up any more, to be called
// without the lock.
func (q *Queue) Release(confirmed uint64) (passed []func()) {
	n := 0
	for n < len(q.waiting) && q.waiting[n].number <= confirmed {
		b := q.waiting[n].barrier
		if b.queues--; b.queues == 0 {
			passed = append(passed, b.then)
		}
		n++
	}
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	return passed
}
