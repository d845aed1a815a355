package peer

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// tunePeerSocket makes the kernel notice within seconds that a peer's machine is
// gone, whether bytes are on their way to it or not.
func tunePeerSocket(conn net.Conn) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	err := tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable:   true,
		Idle:     5 * time.Second,
		Interval: 2 * time.Second,
		Count:    3,
	})
	if err != nil {
		return fmt.Errorf("set keep-alive: %w", err)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return fmt.Errorf("reach socket: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = setUserTimeout(int(fd), userTimeout)
	})
	if err := errors.Join(err, set); err != nil {
		return fmt.Errorf("bound how long bytes stay unacknowledged: %w", err)
	}
	return nil
}
