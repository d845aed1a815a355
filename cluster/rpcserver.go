package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
)

// A method is what a request between nodes asks for. Numbers are never reused.
type method byte

const (
	methodSubmit    method = 1 // a batch → outcome
	methodReadIndex method = 2 // report → view
	methodApplied   method = 3 // index → nothing, once applied
	methodQuery     method = 4 // the node's own
	methodPropose   method = 5 // bootstrapping a cluster: agree?
	methodBootstrap method = 6 // bootstrapping a cluster: do
	methodJoin      method = 7
	methodRemove    method = 8
	methodMember    method = 9  // is this node a member?
	methodMessage   method = 10 // the node's own, in order → nothing
	methodReport    method = 11 // nothing → report
	// methodMembership asks for what the node's own configuration says of another.
	methodMembership method = 12
)

// openToOutsiders are the methods that a node without a cluster may call.
func (m method) openToOutsiders() bool {
	return m == methodPropose || m == methodBootstrap || m == methodJoin
}

const (
	// maxCalls is how many requests of one connection are worked on at a time.
	maxCalls = 64
	// maxSubmits is how many batches of one connection may be unanswered.
	maxSubmits = 64
)

// rpcServer answers the requests of peers.
type rpcServer struct {
	// submit takes a batch without blocking and answers exactly once.
	submit func(raw []byte, reply func(answer []byte, err error))
	// call answers every other request; it may block until ctx ends.
	call func(ctx context.Context, from string, m method, request []byte) ([]byte, error)
	// receive takes a message without blocking; those of one connection come in
	// the order in which they were sent.
	receive func(from string, message []byte) error
	// panicked is told of a request that could not be worked on.
	panicked func(m method, cause any)
}

// guard runs what works on a request. A panic is the request's failure, not the node's.
func (s *rpcServer) guard(m method, work func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.panicked(m, cause)
			err = fmt.Errorf("%w: method %d could not be worked on", ErrMalformed, m)
		}
	}()
	return work()
}

// serve answers requests until the connection ends, then waits for those it
// began.
func (s *rpcServer) serve(conn *peerConn) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	w := newFrameWriter(conn)
	running.Go(w.run)
	defer w.close(errors.New("connection ended"))

	calls := make(chan struct{}, maxCalls)
	submits := make(chan struct{}, maxSubmits)
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		f, err := readFrame(r)
		if err != nil {
			return
		}
		m := method(f.kind)
		if conn.outsider && !m.openToOutsiders() {
			// Not ErrNotMember: a newcomer cannot know who is one.
			s.answer(w, f.number, nil, fmt.Errorf("%w: the connection began before both nodes were in a cluster", ErrUnavailable))
			continue
		}
		if m == methodSubmit {
			select {
			case submits <- struct{}{}:
			default:
				return // no forwarder of ours has that many on their way
			}
			var once sync.Once
			reply := func(answer []byte, err error) {
				once.Do(func() {
					<-submits
					s.answer(w, f.number, answer, err)
				})
			}
			if err := s.guard(m, func() error { s.submit(f.payload, reply); return nil }); err != nil {
				reply(nil, err)
			}
			continue
		}
		if m == methodMessage {
			s.answer(w, f.number, nil, s.guard(m, func() error { return s.receive(conn.peer, f.payload) }))
			continue
		}
		calls <- struct{}{}
		running.Go(func() {
			defer func() { <-calls }()
			var response []byte
			err := s.guard(m, func() (err error) {
				response, err = s.call(ctx, conn.peer, m, f.payload)
				return err
			})
			s.answer(w, f.number, response, err)
		})
	}
}

// handle sends a response. A connection that failed needs no answer: its other
// end knows.
func (s *rpcServer) answer(w *frameWriter, number uint64, response []byte, err error) {
	f := frame{number: number, payload: response}
	if err != nil {
		code, text := encodeError(err)
		f.kind, f.payload = code, []byte(text)
	}
	if err := w.give(f); errors.Is(err, ErrTooLarge) {
		code, text := encodeError(fmt.Errorf("%w: an answer of %d bytes", ErrTooLarge, len(response)))
		_ = w.give(frame{number: number, kind: code, payload: []byte(text)})
	}
}
