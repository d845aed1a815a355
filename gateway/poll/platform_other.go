//go:build !linux

package poll

// pollers are the ways to watch sockets that this platform has.
var pollers = map[string]func(Options) (Poller, error){
	"portable": newPortablePoller,
}

// Default is the best poller of this platform.
const Default = "portable"

// acknowledged returns how many bytes the other end of a TCP socket has taken so far, if
// the kernel says so.
func acknowledged(int) (n uint64, ok bool) { return 0, false }
