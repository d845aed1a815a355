package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// Clients with a public key use up the quota of channels; the operator forgets what
// they made, and everybody goes on, above the offsets that were given before.
func TestForgottenChannelsGiveTheQuotaBack(t *testing.T) {
	c := startCluster(t, 3)
	project := defaultProject(t, c).ID
	if out, code := aptlyd(t, c, 0, "project", "update", "default", "--publish", "spam:*=100000/100000", "--max-channels",
		"21"); code != 0 {
		t.Fatal(out)
	}
	watcher := connect(t, c, c.ServerKey, 2)
	messages, gaps := make(chan client.Message, 10), make(chan client.Gap, 10)
	_, err := watcher.Subscribe(within(t, deadline), "news", client.SubscribeOptions{
		OnMessage: func(m client.Message) { messages <- m }, OnGap: func(g client.Gap) { gaps <- g },
	})
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, c, 0, "news", 1)
	attacker := rest(c, 1)
	attacker.APIKey = c.PublicKey
	refused := 0
	for i := range 25 {
		_, err := attacker.Publish(within(t, deadline), client.Publication{Channel: fmt.Sprint("spam:", i), Data: i})
		if limited(err) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused != 5 {
		t.Errorf("%d of 25 channels were refused", refused)
	}
	if _, err := rest(c, 0).Publish(within(t, deadline), client.Publication{Channel: "orders", Data: 1}); !limited(err) {
		t.Errorf("beyond the quota: %v", err)
	}
	if out, code := aptlyd(t, c, 2, "channel", "forget", "default", "--prefix", "spam:"); code != 0 ||
		!strings.Contains(out, "channels removed: 20") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := aptlyd(t, c, 0, "channel", "list", "default"); code != 0 || strings.Contains(out, "spam") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := aptlyd(t, c, 0, "publish", "orders", "1", "--key", c.ServerKey); code != 0 ||
		!strings.Contains(out, "offset 2") {
		t.Errorf("within the quota again: exit code %d: %s", code, out)
	}
	if out, code := aptlyd(t, c, 1, "channel", "forget", "default", "news"); code != 0 ||
		!strings.Contains(out, "messages removed: 1, up to offset 1") {
		t.Errorf("exit code %d: %s", code, out)
	}
	mustPublish(t, c, 1, "news", 2)
	for _, want := range []uint64{1, 2} {
		select {
		case m := <-messages:
			if m.Offset != want {
				t.Errorf("the subscriber got offset %d, want %d", m.Offset, want)
			}
		case <-time.After(deadline):
			t.Fatalf("the subscriber did not get offset %d", want)
		}
	}
	if len(gaps) > 0 {
		t.Errorf("a gap was told where nothing is missing: %+v", <-gaps)
	}
	if out, code := aptlyd(t, c, 1, "channel", "forget", "default", "news", "--prefix", "n"); code != 2 {
		t.Errorf("exit code %d: %s", code, out)
	}
	for i := range c.Len() {
		page, err := admin(c, i).Messages(within(t, deadline), project, "news", 0, 0)
		if err != nil || page.Offset != 2 || page.Earliest != 2 || len(page.Messages) != 1 {
			t.Errorf("%s: %+v, %v", c.Name(i), page, err)
		}
	}
}

func limited(err error) bool {
	var refusal *client.Error
	return errors.As(err, &refusal) && refusal.Code == client.CodeRateLimited
}
