package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// freePorts returns ports of 127.0.0.1 that are free for TCP and UDP and not taken,
// and adds them to taken. They lie
// below those that systems give to outgoing connections: a node that is down
// for a while must find its own free again.
func freePorts(n int, taken map[int]bool) ([]int, error) {
	const lowest, highest = 12000, 32000
	ports := make([]int, 0, n)
	var last error
	for tries := 0; len(ports) < n; tries++ {
		if tries > 100*n {
			return nil, fmt.Errorf("all ports tried are in use: %w", last)
		}
		port := lowest + rand.IntN(highest-lowest)
		if taken[port] {
			continue
		}
		if err := probe(port); err != nil {
			last = err
			continue
		}
		taken[port] = true
		ports = append(ports, port)
	}
	return ports, nil
}

// probe binds a port for a moment.
func probe(port int) error {
	ip := net.IPv4(127, 0, 0, 1)
	tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: ip, Port: port})
	if err != nil {
		return err
	}
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: ip, Port: port})
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	return errors.Join(tcp.Close(), udp.Close())
}
