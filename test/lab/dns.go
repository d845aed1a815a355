package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS answers the questions that hosts ask about names. A name may be set at any time.
type DNS struct {
	config string // resolv.conf of who asks it

	mu    sync.Mutex
	names map[string]netip.Addr
}

// NewDNS makes a server that answers on each of the hosts, until the test ends.
func NewDNS(t testing.TB, hosts ...*Host) *DNS {
	t.Helper()
	NeedTool(t, "unshare")
	d := &DNS{config: filepath.Join(t.TempDir(), "resolv.conf"), names: make(map[string]netip.Addr)}
	if err := os.WriteFile(d.config, []byte("nameserver 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		socket, err := h.listenPacket("127.0.0.1:53")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.serve(socket)
		}()
		t.Cleanup(func() {
			socket.Close()
			<-done
		})
	}
	return d
}

// Set gives a name an address.
func (d *DNS) Set(name, address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[name+"."] = netip.MustParseAddr(address)
}

// Command returns a command line that runs another with this DNS.
func (d *DNS) Command(line ...string) []string {
	// The mount is in a namespace of the command's own.
	return append([]string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, d.config},
		line...)
}

func (d *DNS) serve(socket net.PacketConn) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		answer, err := d.answer(buffer[:n])
		if err != nil {
			continue // not a question
		}
		_, _ = socket.WriteTo(answer, from) // who asked may be gone
	}
}

func (d *DNS) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	if len(m.Questions) != 1 {
		return nil, fmt.Errorf("%d questions", len(m.Questions))
	}
	q := m.Questions[0]
	d.mu.Lock()
	address, known := d.names[strings.ToLower(q.Name.String())]
	d.mu.Unlock()
	answer := dnsmessage.Message{Header: m.Header, Questions: m.Questions}
	answer.Response, answer.Authoritative = true, true
	head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
	switch {
	case !known:
		answer.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA && address.Is4():
		answer.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: address.As4()}}}
	case q.Type == dnsmessage.TypeAAAA && address.Is6():
		answer.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}}}
	}
	return answer.Pack()
}

// listenPacket binds a UDP address on the host.
func (h *Host) listenPacket(address string) (net.PacketConn, error) {
	type result struct {
		socket net.PacketConn
		err    error
	}
	bound := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // see Enter
		var r result
		if r.err = h.Enter(); r.err == nil {
			r.socket, r.err = net.ListenPacket("udp", address)
		}
		bound <- r
	}()
	r := <-bound
	return r.socket, r.err
}
