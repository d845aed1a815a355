package gateway

import (
	"errors"
	"net"
	"time"

	"github.com/aptlyd/aptlyd/gateway/poll"
)

// acceptBatch bounds how many clients are accepted before other sockets have their turn.
const acceptBatch = 64

// acceptor accepts clients where the poller can. The first loop watches the listener,
// and each client is given to the next loop as a bare descriptor. Only a client that
// wants neither a WebSocket, events nor a long poll becomes a net.Conn. The acceptor pauses
// when there are too many clients or no descriptor is left. Then clients wait in the
// kernel's backlog. All of it belongs to the first loop.
type acceptor struct {
	loop     *loop
	listener poll.Listener
	next     int               // whose turn it is among the loops
	taken    [][]poll.Accepted // of one call of accept, by loop
	paused   bool
	resumeAt time.Duration
}

// listen has the loop accept clients from a listener. It is called before the loop runs.
func (l *loop) listen(from poll.Acceptor, listener *net.TCPListener) (err error) {
	a := &acceptor{loop: l, taken: make([][]poll.Accepted, len(l.server.loops))}
	a.listener, err = from.Listen(listener, l.server.cfg.SendBufferBytes, a.accept)
	l.acceptor = a
	return err
}

// accept takes in the clients that wait.
func (a *acceptor) accept() {
	defer a.deal()
	s := a.loop.server
	for range acceptBatch {
		if reason := s.acceptBlocked(); reason != "" {
			a.pause(reason)
			return
		}
		c, err := a.listener.Accept()
		switch {
		case err == nil:
			a.take(c)
		case errors.Is(err, poll.ErrNoneWaits):
			return
		case errors.Is(err, poll.ErrDescriptors):
			a.pause("descriptors")
			return
		default:
			s.cfg.Logger.Warn("accept client", "err", err)
			a.pause("error")
			return
		}
	}
}

func (a *acceptor) pause(reason string) {
	a.loop.server.metrics.acceptPauses.WithLabelValues(reason).Inc()
	a.paused, a.resumeAt = true, a.loop.now+acceptPause
	a.listener.Pause()
}

// resume ends a pause when it is over.
func (a *acceptor) resume() {
	if a.paused && a.loop.now >= a.resumeAt {
		a.paused = false
		a.listener.Resume()
	}
}

// take keeps a client for the next loop, unless its address has too many.
func (a *acceptor) take(c poll.Accepted) {
	s := a.loop.server
	if refused := s.countSocket(c.From); refused != nil {
		s.refused(refused, "handshake", newPeer(c.From.String(), "", ""))
		a.listener.Refuse(c, tooManyHandshakes)
		return
	}
	s.pendingConns.Add(1)
	a.next = (a.next + 1) % len(s.loops)
	a.taken[a.next] = append(a.taken[a.next], c)
}

// deal gives the loops the clients that were taken for them.
func (a *acceptor) deal() {
	s := a.loop.server
	for i, mine := range a.taken {
		if len(mine) == 0 {
			continue
		}
		a.taken[i] = nil
		l := s.loops[i]
		posted := l.mail.post(func() {
			for _, c := range mine {
				l.beginHandshake(c)
			}
		})
		if !posted {
			for _, c := range mine {
				s.handshakes.Leave(c.From)
				s.unauthenticated.Leave(c.From)
				s.pendingConns.Add(-1)
				a.listener.Refuse(c, nil)
			}
		}
	}
}
