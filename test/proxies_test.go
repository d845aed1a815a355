package test

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// packaged returns a configuration that we ship, for the nodes of a cluster.
func packaged(t *testing.T, c site, name, listen, port string) string {
	t.Helper()
	text, err := os.ReadFile("../" + name)
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	if name == "README.md" {
		_, config, _ = strings.Cut(config, "```\ndefaults\n")
		config, _, _ = strings.Cut("defaults\n"+config, "```")
	}
	for old, own := range map[string]string{
		listen:          strings.Fields(listen)[0] + " 127.0.0.1:" + port + listen[len(listen)-1:],
		"10.0.0.1:8080": c.Addr(0), "10.0.0.2:8080": c.Addr(1), "10.0.0.3:8080": c.Addr(2),
	} {
		if strings.Count(config, old) != 1 {
			t.Fatalf("%s has %q %d times", name, old, strings.Count(config, old))
		}
		config = strings.ReplaceAll(config, old, own)
	}
	return config
}

func startPackagedHAProxy(t *testing.T, c site) string {
	return lab.StartHAProxy(t, func(port string) string {
		return packaged(t, c, "packaging/haproxy.cfg", "bind :80\n",
			port)
	})
}

func startREADMEHAProxy(t *testing.T, c site) string {
	return lab.StartHAProxy(t, func(port string) string { return packaged(t, c, "README.md", "bind :80\n", port) })
}

func startPackagedNginx(t *testing.T, c site) string {
	return lab.StartNginx(t, func(port string) string {
		return packaged(t, c, "packaging/nginx.conf", "listen 80;",
			port)
	})
}

// What we ship for proxies carries everything: WebSockets, REST, the console's sign-in.
func TestPackagedProxies(t *testing.T) {
	for name, start := range map[string]func(t *testing.T, c site) string{
		"haproxy": startPackagedHAProxy, "nginx": startPackagedNginx, "README": startREADMEHAProxy,
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, 3, "--trusted-proxies", "127.0.0.1/32")
			at := start(t, c)
			messages := followThrough(t, c, at)
			publish := &client.REST{BaseURL: "http://" + at, APIKey: c.ServerKey}
			eventually(t, deadline, func() error {
				_, err := publish.Publish(within(t, deadline), client.Publication{Channel: "news", ID: "first", Data: 1})
				return err
			})
			awaitOffset(t, messages, 1)

			request, err := http.NewRequestWithContext(within(t, deadline), http.MethodPost, "http://"+at+"/console/session",
				strings.NewReader(`{"token":"`+c.AdminToken+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Origin", "http://"+at)
			request.Header.Set("X-Aptlyd-Console", "1")
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusNoContent {
				t.Errorf("sign-in answers %s", answer.Status)
			}
			// A node that stops takes nobody with it.
			for i := range c.Len() {
				if err := c.Restart(within(t, deadline), i); err != nil {
					t.Fatal(err)
				}
				if err := c.Ready(within(t, deadline), i); err != nil {
					t.Fatal(err)
				}
				mustPublish(t, c, i, "news", i)
				awaitOffset(t, messages, uint64(i+2))
			}
		})
	}
}

// A node that hangs does not close its clients. HAProxy does, and they go on elsewhere.
func TestPackagedHAProxyLeavesAHungNode(t *testing.T) {
	c := startCluster(t, 3)
	messages := followThrough(t, c, startPackagedHAProxy(t, c))
	mustPublish(t, c, 0, "news", 1)
	awaitOffset(t, messages, 1)
	hung := -1
	for i := range c.Len() {
		for connection, err := range admin(c, i).AllConnections(within(t, deadline), "", "") {
			if err == nil && connection.Node == c.Name(i) {
				hung = i
			}
		}
	}
	if hung < 0 {
		t.Fatal("no node has the client")
	}
	if err := c.Signal(hung, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Signal(hung, syscall.SIGCONT) }()
	other := (hung + 1) % 3
	eventually(t, deadline, func() error {
		_, err := rest(c, other).Publish(within(t, 15*time.Second),
			client.Publication{Channel: "news", ID: "second", Data: 2})
		return err
	})
	awaitOffset(t, messages, 2)
}

func followThrough(t *testing.T, c site, at string) <-chan client.Message {
	t.Helper()
	cl, err := client.New(client.Options{Endpoints: []string{"ws://" + at}, APIKey: c.keys().server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	messages := make(chan client.Message, 100)
	eventually(t, deadline, func() error { return cl.Connect(within(t, 5*time.Second)) })
	_, err = cl.Subscribe(within(t, deadline), "news",
		client.SubscribeOptions{OnMessage: func(m client.Message) { messages <- m }})
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

func awaitOffset(t *testing.T, messages <-chan client.Message, want uint64) {
	t.Helper()
	select {
	case m := <-messages:
		if m.Offset != want {
			t.Fatalf("got offset %d, want %d", m.Offset, want)
		}
	case <-time.After(deadline):
		t.Fatalf("offset %d did not come", want)
	}
}

// A balancer that does not look into HTTP says for whom it speaks.
func TestProxyProtocolOfHAProxy(t *testing.T) {
	c := startCluster(t, 1, "--trusted-proxies", "127.0.0.2/32", "--proxy-protocol")
	for _, version := range []string{"send-proxy", "send-proxy-v2"} {
		at := lab.StartHAProxy(t, func(port string) string {
			return `defaults
    mode tcp
    timeout connect 3s
    timeout client 75s
    timeout server 75s
listen clients
    bind 127.0.0.1:` + port + `
    option httpchk GET /readyz
    server node1 ` + c.Addr(0) + ` source 127.0.0.2 ` + version + ` check check-send-proxy inter 100ms
`
		})
		messages := followThrough(t, c, at)
		mustPublish(t, c, 0, version, 1)
		list := 0
		for connection, err := range admin(c, 0).AllConnections(within(t, deadline), "", "") {
			if err != nil || connection.Address != "127.0.0.1" {
				t.Errorf("%s: connection %+v, %v", version, connection, err)
			}
			list++
		}
		if list == 0 || len(messages) > 0 {
			t.Errorf("%s: %d connections, %d messages", version, list, len(messages))
		}
	}
}
