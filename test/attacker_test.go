package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/aptlyd/aptlyd/client"
)

// An attack is what one client, or many connections of it, does to a node with a
// public key or with none, while a hundred others use it.
type attack struct {
	name        string
	connections int
	told        []string // what the attacker hears, one of them: a code, or a status line
	run         func(ctx context.Context, a *attacker, n int)
	access      *client.Access // of public keys from then on; nil leaves it
}

// closed is what is heard of a TLS connection that ends before it has begun.
const closed = "closed"

// historyRequest asks for all of a channel that holds six megabytes.
const historyRequest = "GET /realtime/history?channel=big&limit=1000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

const healthRequest = "GET /healthz HTTP/1.1\r\nHost: x\r\n"

var attacks = []attack{
	{"empty frames", 150, []string{"rate_limited"}, func(ctx context.Context, a *attacker, _ int) {
		a.flood(ctx, a.PublicKey, `{}`)
	}, nil},
	{"unsubscribes", 150, []string{"rate_limited"}, func(ctx context.Context, a *attacker, _ int) {
		a.flood(ctx, a.PublicKey, `{"type":"unsubscribe","channel":"x"}`)
	}, nil},
	{"heartbeats before auth", 150, []string{"auth_required"}, func(ctx context.Context, a *attacker, _ int) {
		a.flood(ctx, "", `{"type":"heartbeat"}`)
	}, nil},
	{"history", 32, []string{"HTTP/1.1 429"}, func(ctx context.Context, a *attacker, _ int) {
		a.ask(ctx, true, historyRequest+"x-api-key: "+a.PublicKey+"\r\n\r\n")
	}, nil},
	{"history unread", 352, []string{"HTTP/1.1 429"}, func(ctx context.Context, a *attacker, _ int) {
		a.ask(ctx, false, historyRequest+"x-api-key: "+a.PublicKey+"\r\n\r\n")
	}, nil},
	{"idle keep-alive", 1500, []string{"HTTP/1.1 429", closed}, func(ctx context.Context, a *attacker, _ int) {
		a.ask(ctx, false, healthRequest+"\r\n")
	}, nil},
	{"idle before auth", 1500, []string{"HTTP/1.1 429", closed}, func(ctx context.Context, a *attacker, _ int) {
		a.again(ctx, idlePause, func(socket net.Conn) {
			if _, err := io.WriteString(socket, upgradeRequest); err == nil {
				a.hear(socket)
			}
		})
	}, nil},
	{"bodies without a right", 64, []string{"HTTP/1.1 403"}, func(ctx context.Context, a *attacker, _ int) {
		a.ask(ctx, true, "POST /realtime/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
			"Content-Length: 4000000\r\nx-api-key: "+a.PublicKey+"\r\n\r\n")
	}, nil},
	{"subscriptions", 60, []string{"too_many_channels", "rate_limited"}, func(ctx context.Context, a *attacker, n int) {
		a.subscribe(ctx, n)
	}, nil},
	{"subscriptions again", 60, []string{"HTTP/1.1 101"}, func(ctx context.Context, a *attacker, n int) {
		a.subscribeAgain(ctx, n)
	}, nil},
	{"replays", 100, []string{"HTTP/1.1 101"}, func(ctx context.Context, a *attacker, _ int) {
		a.replay(ctx)
	}, nil},
	{"metrics", 200, []string{"HTTP/1.1 200", closed}, func(ctx context.Context, a *attacker, _ int) {
		a.pump(ctx, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	}, nil},
	{"health checks", 200, []string{"HTTP/1.1 200", closed}, func(ctx context.Context, a *attacker, _ int) {
		a.pump(ctx, healthRequest+"\r\n")
	}, nil},
	{"console", 200, []string{"HTTP/1.1 200", closed}, func(ctx context.Context, a *attacker, _ int) {
		a.pump(ctx, "GET /console/parts.js HTTP/1.1\r\nHost: x\r\n\r\n")
	}, nil},
	{"upgrades", 64, []string{"HTTP/1.1 101", closed}, func(ctx context.Context, a *attacker, _ int) {
		a.again(ctx, time.Millisecond, func(socket net.Conn) {
			if _, err := io.WriteString(socket, upgradeRequest); err == nil {
				_, _ = socket.Read(make([]byte, 1024))
				a.tell("HTTP/1.1 101")
			}
		})
	}, nil},
	{"polls", 100, []string{"HTTP/1.1 200", "HTTP/1.1 429", closed}, func(ctx context.Context, a *attacker, _ int) {
		a.pump(ctx, "GET /realtime/poll?channel=big&from=all HTTP/1.1\r\nHost: x\r\nx-api-key: "+a.PublicKey+"\r\n\r\n")
	}, nil},
	{"events", 100, []string{"HTTP/1.1 200", "HTTP/1.1 429", closed}, func(ctx context.Context, a *attacker, _ int) {
		a.again(ctx, time.Millisecond, func(socket net.Conn) {
			request := "GET /realtime/sse?channel=big&from=all HTTP/1.1\r\nHost: x\r\nx-api-key: " + a.PublicKey + "\r\n\r\n"
			if _, err := io.WriteString(socket, request); err != nil {
				return
			}
			_ = socket.SetReadDeadline(time.Now().Add(idlePause))
			a.hear(socket)
		})
	}, nil},
	{"empty polls", 100, []string{"HTTP/1.1 200", "HTTP/1.1 429", closed}, func(ctx context.Context, a *attacker, _ int) {
		a.pump(ctx, "GET /realtime/poll?channel=none&wait=0 HTTP/1.1\r\nHost: x\r\nx-api-key: "+a.PublicKey+"\r\n\r\n")
	}, nil},
	{"wrong keys", 64, []string{"HTTP/1.1 401", "HTTP/1.1 429"}, func(ctx context.Context, a *attacker, _ int) {
		a.ask(ctx, true, historyRequest+"x-api-key: pk_wrong\r\n\r\n")
	}, nil},
	{
		"new connections", 32,
		[]string{"HTTP/1.1 200", "HTTP/1.1 429", closed},
		func(ctx context.Context, a *attacker, _ int) {
			a.again(ctx, time.Millisecond, func(socket net.Conn) {
				if _, err := io.WriteString(socket, healthRequest+"Connection: close\r\n\r\n"); err == nil {
					a.hear(socket)
				}
			})
		}, nil,
	},
	{"new channels", 50, []string{"rate_limited"}, func(ctx context.Context, a *attacker, n int) {
		a.publish(ctx, n)
	}, &client.Access{Subscribe: []string{"*"}, Publish: []client.PublishGrant{{Pattern: "made:*", Rate: 10}}}},
}

// attacker is one client, in a process of its own: its work must not be taken for the
// victim's, nor spoil what the others measure.
type attacker struct {
	Attack    string
	Addr      string
	TLS       bool
	PublicKey string

	mu    sync.Mutex
	heard map[string]int
}

// attackerJob is the variable of the environment that makes an attacker of a test's process.
const attackerJob = "APTLYD_TEST_ATTACKER"

// attackIfAsked attacks until the standard input ends, and writes what it has heard, if this
// process is an attacker.
func attackIfAsked() {
	job := os.Getenv(attackerJob)
	if job == "" {
		return
	}
	a := &attacker{heard: make(map[string]int)}
	if err := json.Unmarshal([]byte(job), a); err != nil {
		panic(err)
	}
	at := slices.IndexFunc(attacks, func(attack attack) bool { return attack.name == a.Attack })
	ctx, cancel := context.WithCancel(context.Background())
	var attackers sync.WaitGroup
	for n := range attacks[at].connections {
		attackers.Go(func() { attacks[at].run(ctx, a, n) })
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	attackers.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(a.heard); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// assault has a process attack a node, until stop is called, which returns what it heard.
func (v *victim) assault(t *testing.T, name string) (stop func() map[string]int) {
	t.Helper()
	job, err := json.Marshal(&attacker{Attack: name, Addr: v.addr, TLS: v.tls != nil, PublicKey: v.keys.public})
	if err != nil {
		t.Fatal(err)
	}
	// It stands for machines of its own: where processors are short, it gets what is left.
	cmd := exec.Command("nice", "-n", "10", os.Args[0])
	cmd.Env = append(os.Environ(), attackerJob+"="+string(job))
	cmd.Stderr = os.Stderr
	end, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // has ended, unless the test has failed
	return func() (heard map[string]int) {
		t.Helper()
		_ = end.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("attacker: %v", err)
		}
		if err := json.Unmarshal(out.Bytes(), &heard); err != nil {
			t.Fatalf("attacker: %v: %s", err, out.Bytes())
		}
		return heard
	}
}

func (a *attacker) tell(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard[what]++
}

func (a *attacker) dial(ctx context.Context) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if a.TLS {
		config := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the certificate is the test's own
		return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", a.Addr)
	}
	return dialer.DialContext(ctx, "tcp", a.Addr)
}

// idlePause is the pause of a client that comes back.
const idlePause = 250 * time.Millisecond

// again does something on a new connection until ctx ends.
func (a *attacker) again(ctx context.Context, pause time.Duration, do func(net.Conn)) {
	for ctx.Err() == nil {
		if socket, err := a.dial(ctx); err == nil {
			stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
			do(socket)
			stop()
			_ = socket.Close()
		} else if a.TLS && ctx.Err() == nil {
			a.tell(closed) // before TLS there is nothing to say it in
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

const upgradeRequest = "GET /realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

func clientFrame(format string, args ...any) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame(fmt.Appendf(nil, format, args...))))
}

// enter opens a WebSocket, with an auth if there is a key, and hears what comes back.
func (a *attacker) enter(socket net.Conn, key string) (ok bool) {
	hello := []byte(upgradeRequest)
	if key != "" {
		hello = append(hello, clientFrame(`{"type":"auth","apiKey":%q}`, key)...)
	}
	if _, err := socket.Write(hello); err != nil {
		return false
	}
	go a.hear(socket)
	return true
}

// flood sends one frame as fast as it is taken.
func (a *attacker) flood(ctx context.Context, key, text string) {
	batch := bytes.Repeat(clientFrame("%s", text), 1000)
	a.again(ctx, idlePause, func(socket net.Conn) {
		for ok := a.enter(socket, key); ok; {
			_, err := socket.Write(batch)
			ok = err == nil
		}
	})
}

// subscribe subscribes to more channels than a connection may, all with long names.
func (a *attacker) subscribe(ctx context.Context, n int) {
	var all []byte
	for i := range 1100 {
		all = append(all, clientFrame(`{"type":"subscribe","channel":"%04d:%04d:%s"}`, n, i, strings.Repeat("x", 240))...)
	}
	a.again(ctx, idlePause, func(socket net.Conn) {
		if !a.enter(socket, a.PublicKey) {
			return
		}
		if _, err := socket.Write(all); err == nil {
			<-ctx.Done()
		}
	})
}

// subscribeAgain subscribes to a thousand channels, leaves, and comes back.
func (a *attacker) subscribeAgain(ctx context.Context, n int) {
	var all []byte
	for i := range 1000 {
		all = append(all, clientFrame(`{"type":"subscribe","channel":"%d:%d"}`, n, i)...)
	}
	a.again(ctx, idlePause, func(socket net.Conn) {
		if !a.enter(socket, a.PublicKey) {
			return
		}
		if _, err := socket.Write(all); err == nil {
			select {
			case <-time.After(idlePause):
			case <-ctx.Done():
			}
		}
	})
}

// replay reads a channel that holds six megabytes, and again.
func (a *attacker) replay(ctx context.Context) {
	a.again(ctx, time.Millisecond, func(socket net.Conn) {
		if !a.enter(socket, a.PublicKey) {
			return
		}
		if _, err := socket.Write(clientFrame(`{"type":"subscribe","channel":"big"}`)); err == nil {
			select {
			case <-time.After(idlePause):
			case <-ctx.Done():
			}
		}
	})
}

// pump makes a request as often as the connection takes it.
func (a *attacker) pump(ctx context.Context, request string) {
	some := []byte(strings.Repeat(request, 100))
	a.again(ctx, idlePause, func(socket net.Conn) {
		go a.hear(socket)
		for {
			if _, err := socket.Write(some); err != nil {
				return
			}
		}
	})
}

// publish publishes to channels that are not there yet, as fast as it may.
func (a *attacker) publish(ctx context.Context, n int) {
	i := 0
	a.again(ctx, idlePause, func(socket net.Conn) {
		for ok := a.enter(socket, a.PublicKey); ok; i++ {
			_, err := socket.Write(clientFrame(`{"type":"publish","channel":"made:%d:%d","message":1}`, n, i))
			ok = err == nil
		}
	})
}

// hear tells of the codes and status lines in what a server says.
func (a *attacker) hear(socket net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := socket.Read(buf)
		for part := range bytes.SplitSeq(buf[:n], []byte(`"code":"`)) {
			if code, _, found := bytes.Cut(part, []byte(`"`)); found &&
				!bytes.ContainsFunc(code, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
				a.tell(string(code))
			}
		}
		if status, _, found := bytes.Cut(buf[:n], []byte("\r\n")); found && bytes.HasPrefix(status, []byte("HTTP/1.1 ")) {
			a.tell(string(status))
		}
		if err != nil {
			return
		}
	}
}

// ask makes a request again and again, or waits without reading the answer except for
// its first line.
func (a *attacker) ask(ctx context.Context, read bool, request string) {
	a.again(ctx, idlePause, func(socket net.Conn) {
		if _, err := io.WriteString(socket, request); err != nil {
			return
		}
		in := bufio.NewReaderSize(socket, 64)
		status, err := in.ReadString('\n')
		if err != nil {
			return
		}
		a.tell(strings.TrimSpace(status))
		if read {
			_ = socket.SetReadDeadline(time.Now().Add(time.Second))
			_, _ = io.Copy(io.Discard, in)
			return
		}
		if strings.HasPrefix(status, "HTTP/1.1 200") {
			<-ctx.Done()
		}
	})
}
