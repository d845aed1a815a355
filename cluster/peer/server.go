package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
)

// Method is the kind of a request between nodes. Numbers are never reused.
type Method byte

// The methods, each with its request and its answer.
const (
	MethodSubmit    Method = 1 // a batch → outcome
	MethodReadIndex Method = 2 // report → view
	MethodApplied   Method = 3 // index → nothing, once applied
	MethodQuery     Method = 4 // the node's own
	MethodPropose   Method = 5 // bootstrapping a cluster: agree?
	MethodBootstrap Method = 6 // bootstrapping a cluster: do
	MethodJoin      Method = 7
	MethodRemove    Method = 8
	MethodMember    Method = 9  // is this node a member?
	MethodMessage   Method = 10 // the node's own, in order → its answer
	MethodReport    Method = 11 // nothing → report
	// MethodMembership asks whether the node's own configuration has another node.
	MethodMembership Method = 12
)

// openToOutsiders are the methods that a node without a cluster may call.
func (m Method) openToOutsiders() bool {
	return m == MethodPropose || m == MethodBootstrap || m == MethodJoin
}

const (
	// maxCalls bounds the requests of one connection that are worked on at a time.
	maxCalls = 64
	// maxSubmits bounds the unanswered batches of one connection.
	maxSubmits = 64
)

// Server answers the requests of peers.
type Server struct {
	// Submit takes a batch without blocking and answers exactly once.
	Submit func(raw []byte, reply func(answer []byte, err error))
	// Call answers every other request; it may block until ctx ends.
	Call func(ctx context.Context, from string, m Method, request []byte) ([]byte, error)
	// Receive takes a message without blocking and answers it; those of one connection come in
	// the order in which they were sent.
	Receive func(from string, message []byte) ([]byte, error)
	// Panicked is told of a request that could not be worked on.
	Panicked func(m Method, cause any)
}

// guard runs the work on a request. A panic is the request's failure, not the node's.
func (s *Server) guard(m Method, work func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.Panicked(m, cause)
			err = fmt.Errorf("%w: method %d could not be worked on", ErrMalformed, m)
		}
	}()
	return work()
}

// Serve answers requests until the connection ends, then waits for those it
// began.
func (s *Server) Serve(conn *Conn) {
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
		f, err := ReadFrame(r)
		if err != nil {
			return
		}
		m := Method(f.kind)
		if conn.outsider && !m.openToOutsiders() {
			// Not ErrNotMember: a node that joins cannot know who is one.
			s.answer(w, f.number, nil, fmt.Errorf("%w: the connection began before both nodes were in a cluster",
				ErrUnavailable))
			continue
		}
		if m == MethodSubmit {
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
			if err := s.guard(m, func() error { s.Submit(f.Payload, reply); return nil }); err != nil {
				reply(nil, err)
			}
			continue
		}
		if m == MethodMessage {
			var response []byte
			err := s.guard(m, func() (err error) {
				response, err = s.Receive(conn.Peer, f.Payload)
				return err
			})
			s.answer(w, f.number, response, err)
			continue
		}
		calls <- struct{}{}
		running.Go(func() {
			defer func() { <-calls }()
			var response []byte
			err := s.guard(m, func() (err error) {
				response, err = s.Call(ctx, conn.Peer, m, f.Payload)
				return err
			})
			s.answer(w, f.number, response, err)
		})
	}
}

// answer sends a response. A connection that failed needs no answer: its other
// end knows.
func (s *Server) answer(w *frameWriter, number uint64, response []byte, err error) {
	f := frame{number: number, Payload: response}
	if err != nil {
		code, text := encodeError(err)
		f.kind, f.Payload = code, []byte(text)
	}
	if err := w.give(f); errors.Is(err, ErrTooLarge) {
		code, text := encodeError(fmt.Errorf("%w: an answer of %d bytes", ErrTooLarge, len(response)))
		_ = w.give(frame{number: number, kind: code, Payload: []byte(text)})
	}
}
