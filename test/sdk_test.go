package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

const pageOrigin = "https://app.example.com"

// startWithOrigin starts a cluster whose default project allows pageOrigin only.
func startWithOrigin(t *testing.T, n int) spawned {
	t.Helper()
	c := startCluster(t, n)
	origins, native := []string{pageOrigin}, false
	change := client.ProjectChange{AllowedOrigins: &origins, AllowNativeClients: &native}
	if _, err := admin(c, 0).UpdateProject(within(t, deadline), defaultProject(t, c).ID, change); err != nil {
		t.Fatal(err)
	}
	return c
}

func mustPublish(t *testing.T, c site, node int, channel string, n int) {
	t.Helper()
	if _, err := rest(c, node).Publish(within(t, deadline), client.Publication{Channel: channel, Data: n}); err != nil {
		t.Fatal(err)
	}
}

// awaitMessages takes count messages and requires them to be numbered from
// offset first on, the payload being the offset too.
func (c *sdkClient) awaitMessages(first, count int, replay bool) {
	c.t.Helper()
	for n := first; n < first+count; n++ {
		m := c.await("message", deadline)
		if m.Offset != uint64(n) || string(m.Data) != fmt.Sprint(n) || m.Replay != replay {
			c.t.Fatalf("got offset %d, data %s, replay %v; want %d, replay %v", m.Offset, m.Data, m.Replay, n, replay)
		}
	}
}

func TestSDKGetsLiveAndMissedMessages(t *testing.T) {
	needNode(t)
	c := startWithOrigin(t, 3)
	for n := 1; n <= 5; n++ {
		mustPublish(t, c, 1, "news", n)
	}
	page := startSDK(t, c.Servers()[0], c.PublicKey, pageOrigin)
	page.connect()
	page.command("stream", map[string]any{"channel": "news"})
	page.awaitMessages(1, 5, true)
	for n := 6; n <= 10; n++ {
		mustPublish(t, c, 2, "news", n)
	}
	page.awaitMessages(6, 5, false)
}

func TestSDKPublishesWithServerKey(t *testing.T) {
	needNode(t)
	c := startCluster(t, 3)
	backend := startSDK(t, c.Servers()[1], c.ServerKey, "")
	backend.connect()
	backend.command("publish", map[string]any{"channel": "jobs", "message": map[string]any{"n": 1}})
	eventually(t, deadline, func() error {
		messages, err := history(t.Context(), c, 0, "jobs")
		if err != nil {
			return err
		}
		if len(messages) != 1 || string(messages[0].Data) != `{"n":1}` {
			return fmt.Errorf("the channel holds %v", messages)
		}
		return nil
	})
	backend.command("publishHttp", map[string]any{"channel": "jobs", "message": map[string]any{"n": 2}})
	if answer := backend.await("publishedHttp", deadline).Answer; !answer.Success || answer.Offset != 2 {
		t.Errorf("publishHttp answers %+v", answer)
	}
}

func TestSDKIsRefusedWithTheServersText(t *testing.T) {
	needNode(t)
	c := startWithOrigin(t, 1)
	for _, refused := range []struct{ name, key, origin string }{
		{"mistyped key", c.PublicKey[:len(c.PublicKey)-1] + "!", pageOrigin},
		{"foreign origin", c.PublicKey, "https://evil.example"},
		{"no origin", c.PublicKey, ""},
	} {
		t.Run(refused.name, func(t *testing.T) {
			page := startSDK(t, c.Servers()[0], refused.key, refused.origin)
			page.command("connect", nil)
			e := page.await("refused", deadline)
			want := refusalText(t, c, refused.key, refused.origin)
			if e.Reason == "" || e.Reason != want {
				t.Errorf("the SDK says %q, the server %q", e.Reason, want)
			}
		})
	}
}

// refusalText is what the server tells a plain client in the same place.
func refusalText(t *testing.T, c site, key, origin string) string {
	t.Helper()
	cl, err := client.New(client.Options{Endpoints: c.Servers()[:1], APIKey: key, Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	err = cl.Connect(within(t, deadline))
	if err == nil {
		t.Fatal("the server lets a plain client in")
	}
	var refusal *client.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("not a refusal: %v", err)
	}
	return refusal.Reason
}

// TestSDKLosesNothingWhenItsNodeIsKilled runs the resume lines of the README
// behind a load balancer that follows /readyz.
func TestSDKLosesNothingWhenItsNodeIsKilled(t *testing.T) {
	needNode(t)
	c := startWithOrigin(t, 3)
	var nodes []string
	for i := range c.Len() {
		nodes = append(nodes, c.Addr(i))
	}
	b := startBalancer(t, nodes)
	eventually(t, deadline, func() error {
		addr, err := b.first()
		if err == nil && addr != c.Addr(0) {
			return fmt.Errorf("the balancer prefers %s", addr)
		}
		return err
	})
	page := startSDK(t, "ws://"+b.addr(), c.PublicKey, pageOrigin)
	page.command("resume", map[string]any{"channel": "orders"})
	page.connect()

	const before, during, after = 20, 40, 20
	for n := 1; n <= before; n++ {
		mustPublish(t, c, 1, "orders", n)
	}
	page.awaitOffsets(1, before)
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	publisher := connect(t, c, c.ServerKey, 1, 2)
	for n := before + 1; n <= before+during; n++ {
		data := json.RawMessage(fmt.Sprint(n))
		if _, err := publisher.Publish(within(t, deadline), client.Publication{Channel: "orders", Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	page.awaitOffsets(before+1, during)
	for n := before + during + 1; n <= before+during+after; n++ {
		mustPublish(t, c, 2, "orders", n)
	}
	page.awaitOffsets(before+during+1, after)
	page.nothingMore(500 * time.Millisecond)
}

// awaitOffsets takes count messages with consecutive offsets, replayed or live.
func (c *sdkClient) awaitOffsets(first, count int) {
	c.t.Helper()
	for n := first; n < first+count; n++ {
		if m := c.await("message", deadline); m.Offset != uint64(n) || string(m.Data) != fmt.Sprint(n) {
			c.t.Fatalf("got offset %d, data %s; want %d", m.Offset, m.Data, n)
		}
	}
}

// nothingMore fails when another message comes.
func (c *sdkClient) nothingMore(within time.Duration) {
	c.t.Helper()
	timeout := time.After(within)
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				c.t.Fatal("the SDK client ended")
			}
			if e.Event == "message" {
				c.t.Fatalf("one message too many: %+v", e)
			}
		case <-timeout:
			return
		}
	}
}
