package test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

func TestLeaderCutOffFromTheOthers(t *testing.T) {
	n := startNetwork(t)
	l := startLoad(t, n, 10, 90)
	f := follow(t, n, l.channels)
	l.await(200)
	lead := leader(t, n)
	door := n.door(t, lead)
	leaked := leak(t, n)
	left := watchConnection(t, "ws://"+door, leaked.Text)
	l.watch()
	n.hosts[lead].Cut()
	cut := time.Now()
	refused := make(chan error, 1)
	go func() {
		inside := client.REST{BaseURL: "http://" + door, APIKey: n.keys().server}
		_, err := inside.Publish(t.Context(), client.Publication{Channel: "cut", Data: 1})
		refused <- err
	}()
	// The others revoke the key of the client that stays with this node. Asked
	// again, they may know of it no more.
	eventually(t, 8*time.Second, func() error {
		err := admin(n, (lead+1)%n.Len()).RevokeKey(within(t, 3*time.Second), leaked.ID)
		var refusal *client.Error
		if errors.As(err, &refusal) && refusal.Code == client.CodeNotFound {
			return nil
		}
		return err
	})
	// Promised, so asserted: the majority publishes within three seconds, the
	// minority refuses and closes its clients within ten.
	select {
	case <-left:
		t.Logf("the client of the minority is closed after %v", time.Since(cut))
	case <-time.After(10 * time.Second):
		t.Error("a client stays on a node that is cut off for ten seconds")
	}
	t.Logf("longest pause between acknowledgements: %v", l.pause())
	if pause := l.pause(); pause > 3*time.Second {
		t.Errorf("publishing resumed after %v", pause)
	}
	select {
	case err := <-refused:
		var refusal *client.Error
		if !errors.As(err, &refusal) || refusal.Code != client.CodeUnavailable && refusal.Code != client.CodeOutcomeUnknown {
			t.Errorf("a publish to the minority: %v", err)
		}
	case <-time.After(time.Until(cut.Add(11 * time.Second))):
		t.Error("a publish to the minority is not answered within ten seconds")
	}
	eventually(t, 5*time.Second, func() error {
		response, err := http.Get("http://" + door + "/readyz")
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("/readyz of the minority answers %s", response.Status)
		}
		return nil
	})
	l.await(120)
	n.hosts[lead].Mend()
	mended := time.Now()
	eventually(t, 30*time.Second, func() error {
		if got := status(within(t, time.Second), n, lead, "/readyz"); got != http.StatusOK {
			return fmt.Errorf("/readyz answers %d after the link is back", got)
		}
		return nil
	})
	t.Logf("ready again %v after the link is back", time.Since(mended))
	l.end()
	l.check()
	f.check(l)
}
