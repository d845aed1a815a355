package gateway

// pollers are the ways to watch sockets that this platform has.
var pollers = map[string]func(*loop) (poller, error){
	"epoll":    newEpollPoller,
	"portable": newPortablePoller,
}

const defaultPoller = "epoll"
