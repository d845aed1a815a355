package gateway

import (
	"runtime"
	"slices"
	"sync"
)

// job is work that an event loop must not do because it may wait, and the task that
// follows on the loop.
type job struct{ run, then func() }

// jobsTogether bounds the jobs of a turn that a worker takes at a time, since handing one
// over costs as much as most of them.
const jobsTogether = 16

// work has a job done once this turn is over.
func (l *loop) work(j job) { l.jobs = append(l.jobs, j) }

// dispatch gives the jobs of this turn to the workers.
func (l *loop) dispatch() {
	for jobs := range slices.Chunk(l.jobs, jobsTogether) {
		l.server.workers.do(func() {
			for _, j := range jobs {
				j.run()
				runtime.Gosched() // event loops that can run come first
			}
			l.mail.post(func() {
				for _, j := range jobs {
					j.then()
				}
			})
		})
	}
	l.jobs = nil
}

// workers are a fixed number of goroutines that do the jobs of all loops. A connection
// has at most one job under way, which bounds the queue.
type workers struct {
	mu     sync.Mutex
	ready  sync.Cond
	queue  []func()
	closed bool
	done   sync.WaitGroup
}

func startWorkers(n int) *workers {
	w := &workers{}
	w.ready.L = &w.mu
	for range n {
		w.done.Go(w.run)
	}
	return w
}

// do queues a job. After close it is dropped.
func (w *workers) do(job func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.queue = append(w.queue, job)
	w.ready.Signal()
}

func (w *workers) run() {
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.closed {
			w.ready.Wait()
		}
		if w.closed {
			w.mu.Unlock()
			return
		}
		job := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.mu.Unlock()
		job()
	}
}

// close drops the queued jobs and waits for those under way.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.queue = nil
	w.ready.Broadcast()
	w.mu.Unlock()
	w.done.Wait()
}
