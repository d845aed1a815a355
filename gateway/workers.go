package gateway

import "sync"

// workers is a fixed number of goroutines that do what an event loop must not:
// wait. A connection has at most one job in the queue, which bounds it.
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

// close drops what is queued and waits for the jobs under way.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.queue = nil
	w.ready.Broadcast()
	w.mu.Unlock()
	w.done.Wait()
}
