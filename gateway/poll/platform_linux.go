package poll

import "golang.org/x/sys/unix"

// pollers are the ways to watch sockets that this platform has.
var pollers = map[string]func(Options) (Poller, error){
	"epoll":    newEpollPoller,
	"portable": newPortablePoller,
}

// Default is the best poller of this platform.
const Default = "epoll"

// acknowledged returns how many bytes the other end of a TCP socket has taken so far, if
// the kernel says so.
func acknowledged(fd int) (n uint64, ok bool) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, false
	}
	return info.Bytes_acked, true
}
