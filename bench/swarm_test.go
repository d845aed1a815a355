package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// lines is a protocol of lines, over a WebSocket or a plain connection.
type lines struct{ transport Transport }

func (l lines) Transport() Transport { return l.transport }

func (lines) AppendLogin(dst []byte, member int) []byte {
	return fmt.Appendf(dst, "login %d\n", member)
}

func (lines) AppendSubscribe(dst []byte, _ int, channel string, _ Position) []byte {
	return fmt.Appendf(dst, "subscribe %s\n", channel)
}

func (lines) AppendPublish(dst []byte, _ int, _ string, _ uint64, data []byte) []byte {
	return append(append(dst, data...), '\n')
}

func (lines) Parse(data []byte, emit func(Event)) (used int, err error) {
	for {
		line, _, found := bytes.Cut(data[used:], []byte{'\n'})
		if !found {
			return used, nil
		}
		used += len(line) + 1
		switch {
		case string(line) == "ready":
			emit(Event{Kind: Ready})
		case string(line) == "ping":
			emit(Event{Kind: Ping, Data: []byte("pong\n")})
		case bytes.HasPrefix(line, []byte("no ")):
			emit(Event{Kind: Refused, Data: line[3:]})
		default:
			emit(Event{Kind: Delivered, Data: line})
		}
	}
}

// listen starts a server that gives each connection to serve.
func listen(t *testing.T, serve func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return listener.Addr().String()
}

// dripUpgraded answers a handshake and frames, a byte at a time; every message
// is cut into two frames.
func dripUpgraded(conn net.Conn, r *bufio.Reader) {
	if _, err := http.ReadRequest(r); err != nil {
		return
	}
	frames := func(text string) string {
		half := len(text) / 2
		return "\x02" + string(rune(half)) + text[:half] + "\x80" + string(rune(len(text)-half)) + text[half:]
	}
	drip(conn, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "+handshakeAccept+"\r\n\r\n")
	drip(conn, frames("ready\n")+"\x89\x01!"+frames("ping\nhello\n")+"\x88\x05\x03\xf4bye")
	_, _ = r.ReadByte() // until the other side has gone
}

func drip(conn net.Conn, text string) {
	for i := range len(text) {
		if _, err := conn.Write([]byte(text[i : i+1])); err != nil {
			return
		}
		time.Sleep(50 * time.Microsecond) // so that most bytes arrive alone
	}
}

func newTestSwarm(t *testing.T, server string, transport Transport) *swarm {
	t.Helper()
	s, err := newSwarm(t.Context(), Target{Servers: []string{server}, Protocol: lines{transport}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSwarmJoinsWhatComesInPieces(t *testing.T) {
	s := newTestSwarm(t, "ws://"+listen(t, dripUpgraded),
		Transport{WebSocket: true, Path: "/", Binary: true, Stream: true})
	var got []string
	s.onEvent = func(_ *member, e Event) { got = append(got, string(e.Data)) }
	var end error
	s.onLost = func(_ *member, reason error) { end = reason }
	if err := s.connect(t.Context(), []*member{s.add(placement{})}, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.serve(t.Context(), time.Now().Add(patience),
		func() (time.Time, bool) { return time.Time{}, end != nil }); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, ",") != ",hello" || !strings.Contains(end.Error(), "1012 bye") {
		t.Errorf("got %q, then %v", got, end)
	}
}

func TestSwarmSpeaksPlainTCP(t *testing.T) {
	said := make(chan string, 10)
	server := listen(t, func(conn net.Conn, r *bufio.Reader) {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			said <- line
			drip(conn, map[bool]string{true: "ping\n", false: "ready\n"}[strings.HasPrefix(line, "x")])
		}
	})
	s := newTestSwarm(t, "tcp://"+server, Transport{Stream: true})
	m := s.add(placement{channel: "c"})
	if err := s.connect(t.Context(), s.members, 1); err != nil {
		t.Fatal(err)
	}
	// More than a socket takes at once.
	const size = 8 << 20
	s.send(m, s.protocol.AppendPublish(nil, 0, "c", 1, bytes.Repeat([]byte{'x'}, size)))
	var all []string
	err := s.serve(t.Context(), time.Now().Add(patience), func() (time.Time, bool) {
		select {
		case line := <-said:
			all = append(all, line)
		default:
		}
		return time.Now().Add(time.Millisecond), len(all) == 4
	})
	if err != nil {
		t.Fatal(err)
	}
	if all[0] != "login 0\n" || all[1] != "subscribe c\n" || len(all[2]) != size+1 || all[3] != "pong\n" {
		t.Errorf("said %.80q", all)
	}
}

func TestSwarmSaysWhyItCouldNotConnect(t *testing.T) {
	refusing := listen(t, func(conn net.Conn, r *bufio.Reader) {
		_, _ = r.ReadString('\n')
		fmt.Fprintf(conn, "no entry\n")
		_, _ = r.ReadString('\n')
	})
	deaf := listen(t, func(_ net.Conn, r *bufio.Reader) { _, _ = r.ReadString('\n') })
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for server, want := range map[string]string{
		"tcp://" + refusing: "refused: entry", "tcp://" + deaf: "without a word", "tcp://" + closed: "connection refused",
	} {
		s := newTestSwarm(t, server, Transport{})
		err := s.connect(t.Context(), []*member{s.add(placement{})}, 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
	}
	for _, server := range []string{"wss://127.0.0.1:1", "tcp://127.0.0.1", "::"} {
		if _, err := newSwarm(t.Context(), Target{Servers: []string{server}, Key: "sk_"}); err == nil {
			t.Errorf("server %s was taken", server)
		}
	}
}

func TestSwarmEndsWithItsContext(t *testing.T) {
	s := newTestSwarm(t, "tcp://"+listen(t, func(_ net.Conn, r *bufio.Reader) { _, _ = r.ReadString(0) }), Transport{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.connect(ctx, []*member{s.add(placement{})}, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	start := time.Now()
	if err := s.rest(t.Context(), 20*time.Millisecond); err != nil || time.Since(start) < 20*time.Millisecond {
		t.Errorf("rested %v, %v", time.Since(start), err)
	}
}
