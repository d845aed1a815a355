package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"
	"github.com/golang-jwt/jwt/v5"

	"github.com/aptlyd/aptlyd/client"
)

// call makes a call of the admin API that package client does not offer.
func call(t *testing.T, c site, node int, method, path string, body, answer any) {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(within(t, deadline), method, url(c, node)+"/admin/v1"+path,
		bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.keys().admin)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %s, %v", method, path, response.Status, text, err)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

// newSigner makes a server key that a backend signs tokens with.
func newSigner(t *testing.T, c site, node int) client.Key {
	t.Helper()
	key, err := admin(c, node).CreateKey(within(t, deadline), defaultProject(t, c).ID, "server", "signer")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// mint signs a token as any backend can, with any library.
func mint(t *testing.T, by client.Key, ends time.Duration, channels map[string][]string) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "user-17", "exp": time.Now().Add(ends).Unix(), "channels": channels,
	})
	token.Header["kid"] = by.ID
	text, err := token.SignedString([]byte(by.SigningSecret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A page with the published SDK needs nothing but a token in the place of its key.
func TestSDKConnectsWithToken(t *testing.T) {
	needNode(t)
	c := startWithOrigin(t, 3)
	token := mint(t, newSigner(t, c, 0), time.Hour, map[string][]string{"chat:*": {"subscribe", "publish"}})
	page := startSDK(t, c.Servers()[2], token, "https://no.rule.concerns.it.example")
	page.connect()
	page.command("stream", map[string]any{"channel": "chat:1"})
	mustPublish(t, c, 1, "chat:1", 1)
	if m := page.await("message", deadline); string(m.Data) != "1" {
		t.Errorf("got %+v", m)
	}
	page.command("publish", map[string]any{"channel": "chat:1", "message": 2})
	if m := page.await("message", deadline); string(m.Data) != "2" {
		t.Errorf("got %+v", m)
	}
}

// A token works on every node as soon as its key is there, and what is wrong with
// one has a code of its own on every node.
func TestTokensOnEveryNode(t *testing.T) {
	c := startCluster(t, 3)
	ours, other := newSigner(t, c, 0), newSigner(t, c, 1)
	channels := map[string][]string{"chat:*": {"subscribe", "publish"}}
	forged := client.Key{ID: ours.ID, SigningSecret: other.SigningSecret}
	for node := range c.Len() {
		for name, wrong := range map[string]struct {
			token, channel string
			code           client.Code
		}{
			"of another key":  {mint(t, forged, time.Hour, channels), "chat:1", "token_invalid"},
			"expired":         {mint(t, ours, -time.Hour, channels), "chat:1", "token_expired"},
			"another channel": {mint(t, ours, time.Hour, channels), "news", "forbidden"},
			"good":            {mint(t, ours, time.Hour, channels), "chat:1", ""},
		} {
			r := client.REST{BaseURL: url(c, node), APIKey: wrong.token}
			_, err := r.Publish(within(t, deadline), client.Publication{Channel: wrong.channel, Data: 1})
			var refusal *client.Error
			if got := errors.As(err, &refusal); got != (wrong.code != "") || got && refusal.Code != wrong.code {
				t.Errorf("node %d: %s: %v", node, name, err)
			}
		}
	}
	audience := gather(t, c, mint(t, ours, time.Hour, channels), "chat:1", 5, everywhere(c)...)
	asked := revoke(t, c, 0, ours)
	await(t, audience.members, asked, time.Second)
	wantRevoked(t, audience.members)

	// What was refused where is known everywhere, once gossip knows everybody.
	eventually(t, deadline, func() error {
		var list struct {
			Refusals []struct{ Node, Code, Detail, KeyID string }
		}
		call(t, c, 2, "GET", "/refusals?code=token_invalid", nil, &list)
		nodes := make(map[string]bool)
		for _, r := range list.Refusals {
			nodes[r.Node] = true
			if r.KeyID != ours.ID || r.Detail == "" {
				t.Errorf("got %+v", r)
			}
		}
		if len(nodes) != c.Len() {
			return fmt.Errorf("the refusals of %d nodes are listed", len(nodes))
		}
		return nil
	})
}

// What public keys may follow is changed for every client on every node at once.
func TestAccessChangesReachLiveConnections(t *testing.T) {
	c := startCluster(t, 3)
	var followers []*member
	for node := range c.Len() {
		m, err := join(c, c.PublicKey, "staff", node)
		if err != nil {
			t.Fatal(err)
		}
		defer m.socket.Close()
		followers = append(followers, m)
	}
	access := map[string]any{"access": map[string]any{"subscribe": []string{"news"}}}
	call(t, c, 1, "PATCH", "/projects/"+defaultProject(t, c).ID, access, nil)
	mustPublish(t, c, 0, "staff", 1)
	for _, m := range followers {
		if err := m.socket.SetReadDeadline(time.Now().Add(deadline)); err != nil {
			t.Fatal(err)
		}
		for _, frame := range []string{
			"", `{"type":"subscribe","channel":"staff"}`,
			`{"type":"subscribe","channel":"news"}`,
		} {
			if frame != "" {
				if err := wsutil.WriteClientText(m.socket, []byte(frame)); err != nil {
					t.Fatal(err)
				}
			}
			want := `"code":"forbidden","channel":"staff"`
			if strings.Contains(frame, "news") {
				want = `"type":"subscribed","channel":"news"`
			}
			if text, err := wsutil.ReadServerText(m.socket); err != nil || !strings.Contains(string(text), want) {
				t.Errorf("node %d sends %s, %v; want %s", m.node, text, err, want)
			}
		}
	}
}

// A quota counts connections wherever they are, and an operator ends one wherever
// it is.
func TestQuotaOfTheWholeCluster(t *testing.T) {
	c := startCluster(t, 3)
	project := defaultProject(t, c)
	call(t, c, 0, "PATCH", "/projects/"+project.ID, map[string]any{"quotas": map[string]int{"connections": 10}}, nil)
	audience := gather(t, c, c.ServerKey, "news", 3, everywhere(c)...)
	one := gather(t, c, c.ServerKey, "news", 1, 0)
	eventually(t, deadline, func() error {
		m, err := join(c, c.ServerKey, "news", 1)
		if err == nil {
			m.socket.Close()
			return fmt.Errorf("an eleventh connection is let in")
		}
		return nil
	})
	var list struct{ Connections []struct{ ID, Node string } }
	call(t, c, 0, "GET", "/connections", nil, &list)
	if len(list.Connections) != 10 {
		t.Errorf("%d connections", len(list.Connections))
	}
	for _, found := range list.Connections {
		if found.Node == c.Name(2) {
			call(t, c, 1, "DELETE", "/connections/"+found.ID, nil, nil)
		}
	}
	ended := audience.of(2)
	await(t, ended, time.Now(), deadline)
	for _, m := range ended {
		if m.close != 4009 {
			t.Errorf("ended with %d", m.close)
		}
	}
	one.wantAlive(t)
	eventually(t, deadline, func() error {
		m, err := join(c, c.ServerKey, "news", 1)
		if err == nil {
			m.socket.Close()
		}
		return err
	})
}
