package bench

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// broker is the least that can be called one: all its addresses lead to the
// same channels. It breaks its promises where a test tells it to.
type broker struct {
	mu        sync.Mutex
	channels  map[string]*hub
	stored    map[string]int // offset by channel and id
	sockets   map[net.Conn]bool
	anonymous int // publications without an id

	// lie is asked for each new message before it is stored.
	lie func(b *broker, offset int) lie
	// keep is how many messages of a channel can still be had; 0 is all.
	keep int
	// greedy announces a gap that covers a message too many.
	greedy bool
	// youngest is the connection that subscribed last.
	youngest net.Conn
}

type hub struct {
	messages    []json.RawMessage
	subscribers map[net.Conn]bool
}

type lie int

const (
	honest  lie = iota
	forget      // acknowledge and do not store
	repeat      // deliver twice
	skip        // leave an offset out, once
	double      // store twice
	hangUp      // store, and close every connection before the receipt
	refuse      // with unavailable
	forbid      // with forbidden
	swallow     // store, and never acknowledge
)

func startBroker(t *testing.T, lie func(b *broker, offset int) lie) []string {
	t.Helper()
	return (&broker{lie: lie}).start(t)
}

// start makes the broker listen on three addresses.
func (b *broker) start(t *testing.T) []string {
	t.Helper()
	b.channels = make(map[string]*hub)
	b.stored = make(map[string]int)
	b.sockets = make(map[net.Conn]bool)
	var urls []string
	for range 3 {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			socket, _, _, err := ws.UpgradeHTTP(r, w)
			if err == nil {
				b.serve(socket)
			}
		}))
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	return urls
}

func (b *broker) serve(socket net.Conn) {
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.sockets, socket)
		for _, h := range b.channels {
			delete(h.subscribers, socket)
		}
		socket.Close()
	}()
	for {
		text, err := wsutil.ReadClientText(socket)
		if err != nil {
			return
		}
		var f struct {
			Type, Channel, ID string
			FromOffset        int
			Message           json.RawMessage
		}
		if err := json.Unmarshal(text, &f); err != nil {
			return
		}
		b.mu.Lock()
		switch f.Type {
		case "auth":
			b.sockets[socket] = true
			send(socket, `{"type":"connected","epoch":"e1"}`)
		case "subscribe":
			h := b.hub(f.Channel)
			earliest := 1
			if b.keep > 0 {
				earliest = max(1, len(h.messages)-b.keep+1)
			}
			send(socket, `{"type":"subscribed","channel":%q,"offset":%d,"earliest":%d,"epoch":"e1","recovered":true}`, f.Channel,
				len(h.messages), earliest)
			b.youngest = socket
			if f.FromOffset+1 < earliest {
				if b.greedy {
					earliest++
				}
				send(socket, `{"type":"gap","channel":%q,"from":%d,"to":%d}`, f.Channel, f.FromOffset+1, earliest-1)
				f.FromOffset = earliest - 1
			}
			for i := f.FromOffset; i < len(h.messages); i++ {
				h.deliver(socket, f.Channel, i+1)
			}
			h.subscribers[socket] = true
		case "publish":
			if f.ID == "" {
				b.anonymous++
				f.ID = fmt.Sprint("anonymous", b.anonymous)
			}
			b.publish(socket, f.Channel, f.ID, f.Message)
		}
		b.mu.Unlock()
	}
}

func (b *broker) hub(channel string) *hub {
	h := b.channels[channel]
	if h == nil {
		h = &hub{subscribers: make(map[net.Conn]bool)}
		b.channels[channel] = h
	}
	return h
}

func (b *broker) publish(socket net.Conn, channel, id string, message json.RawMessage) {
	receipt := `{"type":"published","channel":%q,"id":%q,"offset":%d,"timestamp":1}`
	h := b.hub(channel)
	if offset := b.stored[channel+id]; offset > 0 {
		send(socket, receipt, channel, id, offset)
		return
	}
	offset := len(h.messages) + 1
	what := b.lie(b, offset)
	switch what {
	case forget:
		send(socket, receipt, channel, id, offset)
		return
	case refuse, forbid:
		code := map[lie]string{refuse: "unavailable", forbid: "forbidden"}[what]
		send(socket, `{"type":"error","error":"no","code":%q,"channel":%q,"id":%q}`, code, channel, id)
		return
	}
	h.messages = append(h.messages, message)
	b.stored[channel+id] = offset
	if what == hangUp {
		for s := range b.sockets {
			s.Close()
		}
		return
	}
	times := map[lie]int{honest: 1, repeat: 2, skip: 0, double: 1, swallow: 1}[what]
	for s := range h.subscribers {
		for range times {
			h.deliver(s, channel, offset)
		}
	}
	if what == double {
		h.messages = append(h.messages, message)
		for s := range h.subscribers {
			h.deliver(s, channel, offset+1)
		}
	}
	if what != swallow {
		send(socket, receipt, channel, id, offset)
	}
}

func (h *hub) deliver(socket net.Conn, channel string, offset int) {
	send(socket, `{"type":"message","channel":%q,"data":%s,"offset":%d,"timestamp":1,"replay":false}`, channel,
		h.messages[offset-1], offset)
}

// send ignores sockets that have gone: their reader ends too.
func send(socket net.Conn, format string, args ...any) {
	_ = wsutil.WriteServerText(socket, fmt.Appendf(nil, format, args...))
}
