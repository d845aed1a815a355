package gateway

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/poll"
)

// BenchmarkSubscriptionMemory measures the heap of a subscription whose channel has
// a long name: one that no other connection has, and one that all have.
func BenchmarkSubscriptionMemory(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) {
			for range b.N {
				const connections, channels = 40, 1000
				h := newHarness(b, poll.Default, func(c *Config) { c.Rates = Rates{} })
				var clients []*client
				for range connections {
					clients = append(clients, h.open(h.public))
				}
				before := liveHeap()
				for i, c := range clients {
					for n := range channels {
						name := fmt.Sprintf("%d:%d:", i, n)
						if shared {
							name = fmt.Sprintf("%d:", n)
						}
						name += strings.Repeat("x", auth.MaxChannelName-len(name))
						_, err := c.socket.Write(clientFrame(ws.OpText, true,
							fmt.Appendf(nil, `{"type":"subscribe","channel":%q}`, name)))
						if err != nil {
							b.Fatal(err)
						}
					}
					for range channels {
						c.want("subscribed")
					}
				}
				b.ReportMetric(float64(liveHeap()-before)/connections/channels, "B/subscription")
				for _, c := range clients {
					_ = c.socket.Close()
				}
				runtime.KeepAlive(clients)
			}
		})
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
