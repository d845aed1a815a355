//go:build !linux

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// poller stands in for epoll where there is none: no load with a swarm runs.
type poller struct{}

type happened struct {
	slot               int
	readable, writable bool
}

var errAgain = errors.ErrUnsupported

func newPoller() (*poller, error) {
	return nil, fmt.Errorf("this kind of load needs epoll, that is Linux: %w", errors.ErrUnsupported)
}

func (*poller) close() error { return errors.ErrUnsupported }
func (*poller) dial(netip.AddrPort, netip.Addr, int) (int, error) {
	return -1, errors.ErrUnsupported
}
func (*poller) add(int, int, bool, bool) error   { return errors.ErrUnsupported }
func (*poller) watch(int, int, bool, bool) error { return errors.ErrUnsupported }
func (*poller) wait(time.Time, []happened) ([]happened, error) {
	return nil, errors.ErrUnsupported
}
func (*poller) read(int, []byte) (int, error)  { return 0, errors.ErrUnsupported }
func (*poller) write(int, []byte) (int, error) { return 0, errors.ErrUnsupported }
func (*poller) hangUp(int) error               { return errors.ErrUnsupported }
