package torture

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// holder publishes over REST with a key, and holds a part of the body back until the key
// was revoked.
type holder struct {
	*workload
	key     client.Key
	revoked <-chan struct{} // closed when it was, or when nobody knows
	random  *rand.Rand
}

func (h *holder) run() {
	to := h.pick(h.random)
	var messages []Event
	for range 1 + h.random.IntN(3) {
		messages = append(messages, Event{
			Kind: Publish, Session: "holder", Node: to.name, Key: h.key.ID,
			Channel: channels[h.random.IntN(len(channels))], Tag: h.tag("holder"),
		})
	}
	var released atomic.Int64
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &heldConn{Conn: conn, luck: h.random.Uint64(), wait: func() {
				<-h.revoked
				h.pause(time.Duration(h.random.IntN(1500)) * time.Millisecond)
				released.Store(h.recorder.Now())
			}}, nil
		},
	}
	began := h.recorder.Now()
	rest := &client.REST{
		BaseURL: "http://" + to.address, APIKey: h.key.Text,
		HTTP: &http.Client{Timeout: patience, Transport: transport},
	}
	messages = publishAll(rest, messages)
	for _, e := range messages {
		if e.Began = released.Load(); e.Began == 0 {
			e.Began = began // it failed before the body was held back
		}
		h.settle(e)
	}
}

// heldConn holds back a part of the body of the first request.
type heldConn struct {
	net.Conn
	luck uint64
	wait func() // until it may be sent
}

func (c *heldConn) Write(b []byte) (int, error) {
	wait := c.wait
	head := bytes.Index(b, []byte("\r\n\r\n")) + 4
	if wait == nil || head < 4 || head == len(b) {
		return c.Conn.Write(b)
	}
	c.wait = nil
	sent, err := c.Conn.Write(b[:head+int(c.luck%uint64(len(b)-head))])
	if err != nil {
		return sent, err
	}
	wait()
	rest, err := c.Conn.Write(b[sent:])
	return sent + rest, err
}
