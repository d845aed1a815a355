package gateway

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aptlyd/aptlyd/gateway/poll"
)

// A slow client must not hide megabytes in the kernel, however it came in.
func TestSendBufferIsBounded(t *testing.T) {
	h := newHarness(t, "epoll", func(c *Config) { c.SendBufferBytes = 16 << 10 })
	h.open(h.public)
	late := h.connect()
	late.send("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" + upgradeHead + "\r\n")
	// The kernel doubles what it is asked for (socket(7)).
	want := []int{32 << 10, 32 << 10}
	eventually(t, func() string {
		var sizes []int
		h.server.ask(func(l *loop) func() {
			var mine []int
			for _, c := range l.conns {
				size, err := unix.GetsockoptInt(c.transport.(poll.Socket).FD(), unix.SOL_SOCKET, unix.SO_SNDBUF)
				if err != nil {
					size = -1
				}
				mine = append(mine, size)
			}
			return func() { sizes = append(sizes, mine...) }
		})
		if !slices.Equal(sizes, want) {
			return fmt.Sprintf("send buffers of %v bytes, want %v", sizes, want)
		}
		return ""
	})
}
