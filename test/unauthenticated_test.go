package test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
)

// Whoever reaches the ports between nodes without the secret learns nothing, keeps
// nobody out, and costs neither memory nor descriptors nor a full log.
func TestUnauthenticatedClientsGetAndCostNothing(t *testing.T) {
	t.Parallel()
	c := spawn(t, bench.SpawnOptions{
		Nodes: 3, Binary: binary, Dir: t.TempDir(),
		Env: []string{"APTLYD_CLUSTER_SECRET=what the client does not know"},
	})
	l := startLoad(t, c, 5, 100)
	l.await(100)
	victim := (leader(t, c) + 1) % c.Len()
	member := named(t, c, 0, c.Name(victim))[0]
	before := usageOf(t, c.PID(victim))
	logged := len(c.readLog(t, victim))

	for port, address := range map[string]string{"peer port": member.PeerAddr, "gossip port": member.GossipAddr} {
		for name, hello := range hellos(t) {
			t.Run(port+", "+name, func(t *testing.T) {
				for range 20 {
					if answer := hello(t, address); len(answer) > 0 {
						t.Fatalf("the client is told %q", answer)
					}
				}
			})
		}
	}
	t.Run("datagrams", func(t *testing.T) {
		if answer := sendDatagrams(t, member.GossipAddr); len(answer) > 0 {
			t.Errorf("the client is told %q", answer)
		}
	})
	t.Run("half-open connections", func(t *testing.T) {
		stop := make(chan struct{})
		var floods sync.WaitGroup
		for _, address := range []string{member.PeerAddr, member.GossipAddr} {
			floods.Go(func() { holdConnections(t, address, 300, stop) })
		}
		defer floods.Wait()
		defer close(stop)
		// For some time it is all as bad as it gets.
		for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if now := usageOf(t, c.PID(victim)); now.descriptors > before.descriptors+200 {
				t.Fatalf("%d descriptors, before the clients it was %d", now.descriptors, before.descriptors)
			}
		}
		// A node still comes in at the flooded one, and that one goes on.
		back := (victim + 1) % c.Len()
		if err := c.Kill(back); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(within(t, deadline), back); err != nil {
			t.Fatal(err)
		}
		l.await(200)
	})
	eventually(t, deadline, func() error {
		now := usageOf(t, c.PID(victim))
		if !raceEnabled && now.resident > before.resident+64<<20 || now.descriptors > before.descriptors+20 ||
			now.threads > before.threads+20 {
			return fmt.Errorf("the clients cost: %+v before, %+v now", before, now)
		}
		return nil
	})
	if lines := strings.Count(c.readLog(t, victim)[logged:], "\n"); lines > 100 {
		t.Errorf("the clients had %d lines written", lines)
	}
	l.end()
	l.check()
}

// hellos are what unauthenticated clients say on a connection; each returns the answer.
func hellos(t *testing.T) map[string]func(t *testing.T, address string) []byte {
	noise := make([]byte, 64<<10)
	rand.Read(noise)
	oversized := bytes.Repeat([]byte{10}, 1<<20) // memberlist's mark of what is encrypted
	copy(oversized[1:], []byte{1, 0, 0, 0})      // 16 MiB, of which not all comes
	huge := bytes.Repeat([]byte{0xff}, 1<<16)
	say := func(what []byte) func(*testing.T, string) []byte {
		return func(t *testing.T, address string) []byte { return exchangeRaw(t, address, what) }
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	shake := func(prefix []byte, certificates ...tls.Certificate) func(*testing.T, string) []byte {
		return func(t *testing.T, address string) []byte {
			return exchangeTLS(t, address, prefix, &tls.Config{InsecureSkipVerify: true, Certificates: certificates})
		}
	}
	return map[string]func(*testing.T, string) []byte{
		"one byte":                    say([]byte("R")),
		"noise":                       say(noise),
		"HTTP":                        say([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
		"a plain hello":               say(append([]byte("Captlyd1"), make([]byte, 48)...)),
		"plain gossip":                say(append([]byte{6}, noise[:1000]...)),
		"a great length":              say(oversized),
		"lengths all over":            say(huge),
		"TLS without a certificate":   shake(nil),
		"TLS with another":            shake(nil, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}),
		"TLS after a proof like ours": shake(noise[:48], tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}),
	}
}

// recorded notes what is read from a connection.
type recorded struct {
	net.Conn
	read bytes.Buffer
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.read.Write(b[:n])
	return n, err
}

func dialUnproved(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// exchangeRaw sends something, says no more, and returns the whole answer.
func exchangeRaw(t *testing.T, address string, what []byte) []byte {
	t.Helper()
	conn := dialUnproved(t, address).(*net.TCPConn)
	defer conn.Close()
	conn.Write(what) // it may be cut before the end
	conn.CloseWrite()
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the client is not turned away")
	}
	return answer
}

// exchangeTLS tries a handshake and a word, and returns all that was answered
// but alerts.
func exchangeTLS(t *testing.T, address string, prefix []byte, config *tls.Config) []byte {
	t.Helper()
	raw := dialUnproved(t, address)
	defer raw.Close()
	raw.Write(prefix)
	conn := &recorded{Conn: raw}
	secured := tls.Client(conn, config)
	secured.Write([]byte("a word"))
	io.Copy(io.Discard, secured)
	const alert = 21 // RFC 8446, section 5.1
	if answer := conn.read.Bytes(); len(answer) > 0 && answer[0] != alert {
		return answer
	}
	return nil
}

// sendDatagrams sends what a node of another secret sends, and worse, and returns
// what comes back.
func sendDatagrams(t *testing.T, address string) []byte {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for n := range 3000 {
		packet := make([]byte, 1+n%1400)
		rand.Read(packet)
		packet[0] = byte(n % 16) // all kinds that memberlist knows, in the open
		if n%3 == 0 {
			packet[0] = 1 // encrypted
		}
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
		if n%100 == 0 {
			time.Sleep(time.Millisecond) // the kernel would drop the rest
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1<<16)
	n, _ := conn.Read(answer)
	return answer[:n]
}

// holdConnections keeps n connections to an address open that say nothing, and
// opens another for each that is cut, until stop.
func holdConnections(t *testing.T, address string, n int, stop <-chan struct{}) {
	slots := make(chan struct{}, n)
	var held sync.WaitGroup
	defer held.Wait()
	for {
		select {
		case slots <- struct{}{}:
		case <-stop:
			return
		}
		held.Go(func() {
			defer func() { <-slots }()
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return
			}
			defer conn.Close()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				conn.Read(make([]byte, 1))
			}()
			select {
			case <-ended:
			case <-stop:
				conn.Close()
				<-ended
			}
			// As fast as a patient client, not as fast as the machine.
			select {
			case <-time.After(time.Second):
			case <-stop:
			}
		})
	}
}

// usage are what a process takes.
type usage struct {
	descriptors, threads int
	resident             int64 // bytes
}

var statusLine = regexp.MustCompile(`(?m)^(VmRSS|Threads):\s+(\d+)`)

func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	descriptors, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		t.Fatal(err)
	}
	v := usage{descriptors: len(descriptors)}
	for _, match := range statusLine.FindAllSubmatch(status, -1) {
		n, err := strconv.ParseInt(string(match[2]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if string(match[1]) == "VmRSS" {
			v.resident = n << 10
		} else {
			v.threads = int(n)
		}
	}
	return v
}
