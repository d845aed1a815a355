package gateway

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// follow reads the messages of a channel after an offset, and the gaps between
// them, up to head or the end of the connection. each is called for every frame.
// It returns the last offset it was told of, and what was out of place.
func follow(c *client, after, head uint64, each func()) (last uint64, err error) {
	for last = after; last < head; each() {
		switch f := c.next(); {
		case f.Type == "message" && f.offset() == last+1:
			last++
		case f.Type == "gap" && f.From == last+1 && f.To >= f.From:
			last = f.To
		case f.eof || f.close != 0:
			return last, nil
		default:
			return last, fmt.Errorf("after offset %d came %.80s", last, f)
		}
	}
	return last, nil
}

// Beside clients that never read and some that crawl, good ones get everything
// live. The slow ones get what is retained, in order and with exact gaps: those
// that crawl when they read faster again, the others when they come back.
func TestSlowBesideGood(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		h := newHarness(t, poller, func(c *Config) {
			c.StallTimeout, c.CloseGrace = 500*time.Millisecond, 50*time.Millisecond
		})
		const each, messages, retained = 3, 500, 100
		join := func() *client {
			c := h.open(h.public)
			if err := c.socket.(*net.TCPConn).SetReadBuffer(8 << 10); err != nil {
				t.Fatal(err)
			}
			c.subscribe("c", `,"from":"live"`)
			return c
		}
		// comeBack goes on after an offset, with all that is retained.
		comeBack := func(last uint64) error {
			c := h.open(h.public)
			f := c.subscribe("c", fmt.Sprintf(`,"fromOffset":%d`, last))
			if *f.Recovered != (last+1 >= f.Earliest) {
				return fmt.Errorf("came back after offset %d: %s", last, f)
			}
			last, err := follow(c, last, messages, func() {})
			if err == nil && last != messages {
				err = fmt.Errorf("came back and was closed after offset %d", last)
			}
			return err
		}
		var good, stalled, crawling []*client
		for range each {
			good, stalled, crawling = append(good, h.open(h.public)), append(stalled, join()), append(crawling, join())
		}
		var slow sync.WaitGroup
		hurry := make(chan struct{})
		for _, c := range crawling {
			slow.Go(func() {
				last, err := follow(c, 0, messages, func() {
					select {
					case <-hurry:
					case <-time.After(20 * time.Millisecond):
					}
				})
				if err == nil && last < messages { // the kernel made it wait too long
					err = comeBack(last)
				}
				if err != nil {
					t.Error("a client that crawls:", err)
				}
			})
		}
		for _, c := range good {
			c.subscribe("c", `,"from":"live"`)
		}
		payload := `"` + strings.Repeat("x", 8<<10) + `"`
		for n := uint64(1); n <= messages; n++ {
			h.broker.append(h.channel("c"), payload)
			for _, c := range good {
				if f := c.next(); f.Type != "message" || f.offset() != n {
					t.Fatalf("a good client got %.80s, want offset %d", f, n)
				}
			}
			if n > retained {
				h.broker.trim(h.channel("c"), n-retained+1)
			}
		}
		close(hurry)
		eventually(t, func() string {
			if n := h.metric("aptlyd_closes_total", "4008"); n < each {
				return fmt.Sprintf("%v connections were closed as slow", n)
			}
			return ""
		})
		slow.Wait()
		for _, c := range stalled {
			last, err := follow(c, 0, messages, func() {})
			if err == nil && last == messages {
				err = fmt.Errorf("has everything")
			}
			if err == nil {
				err = comeBack(last)
			}
			if err != nil {
				t.Error("a client that never read:", err)
			}
		}
	})
}
