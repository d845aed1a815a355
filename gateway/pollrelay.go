package gateway

import (
	"bufio"
	"bytes"
	"maps"
	"net/http"
)

// pollRelay is the transport of a long poll whose socket net/http keeps, since with TLS
// another one costs a handshake. It keeps the answer for the handler of the request.
type pollRelay struct {
	loop *loop
	conn *conn
	over bool
	done chan struct{} // closed when the answer is there, or there will be none

	// Of the loop until done is closed, then of the handler.
	answer []byte
	leave  func() // counts a large answer out
}

func newPollRelay(l *loop) *pollRelay { return &pollRelay{loop: l, done: make(chan struct{})} }

// Write implements poll.Transport. What a poll is answered is bounded.
func (r *pollRelay) Write(p []byte) (int, error) {
	if !r.over {
		r.answer = append(r.answer, p...)
	}
	return len(p), nil
}

// Acknowledged implements poll.Transport.
func (r *pollRelay) Acknowledged() (n uint64, ok bool) { return 0, false }

// Pause implements poll.Transport. Nothing is read.
func (r *pollRelay) Pause() {}

// Resume implements poll.Transport.
func (r *pollRelay) Resume() {}

// ReadAtMost implements poll.Transport.
func (r *pollRelay) ReadAtMost(int) {}

// CloseWrite implements poll.Transport. The other end hangs up at once.
func (r *pollRelay) CloseWrite() {
	r.finish()
	r.loop.mail.post(r.hangUp)
}

// Close implements poll.Transport.
func (r *pollRelay) Close() { r.finish() }

// Reset implements poll.Transport.
func (r *pollRelay) Reset() {
	if !r.over {
		r.answer = nil
	}
	r.finish()
}

// finish gives the handler the answer.
func (r *pollRelay) finish() {
	if !r.over {
		r.over = true
		close(r.done)
	}
}

// hangUp ends the connection as a client does that has its answer, or waits no more.
func (r *pollRelay) hangUp() {
	if r.conn.state != stateEnded {
		r.conn.Gone()
	}
}

// serve waits for the answer and gives it to the client.
func (r *pollRelay) serve(w http.ResponseWriter, request *http.Request) {
	select {
	case <-r.done:
	case <-request.Context().Done():
		r.loop.mail.post(r.hangUp)
		<-r.done
	}
	if r.leave != nil {
		defer r.leave()
	}
	// A loop may answer many at once, which would all run before the loop does again. One that
	// has waited too long for its turn goes without.
	_ = r.loop.server.beginRequestTurn(request)
	_, body, _ := bytes.Cut(r.answer, []byte("\r\n\r\n"))
	head := r.answer[:len(r.answer)-len(body)]
	res, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(head), len(head)), request)
	if err != nil {
		panic(http.ErrAbortHandler) // the client has gone, or the node stops
	}
	defer res.Body.Close()
	maps.Copy(w.Header(), res.Header)
	if r.loop.server.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	w.WriteHeader(res.StatusCode)
	if _, err := w.Write(body); err != nil {
		panic(http.ErrAbortHandler)
	}
}
