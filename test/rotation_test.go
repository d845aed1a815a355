package test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// A thousand publishes a second move from an old key to its successor. While both
// live nothing is refused; a second after the end of the old one nothing with it
// is accepted.
func TestRotationUnderLoad(t *testing.T) {
	const (
		pace    = 5 * time.Millisecond
		overlap = 4 * time.Second
		workers = 5 // of each node, each with a request a pace
	)
	c := startCluster(t, 3)
	old := leak(t, c)
	next, err := admin(c, 1).RotateKey(within(t, deadline), old.ID, overlap)
	if err != nil {
		t.Fatal(err)
	}
	begun, ends := time.Now(), time.UnixMilli(next.Replaces.ExpiresAt)
	over := ends.Add(2 * time.Second)
	pool := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}

	var mu sync.Mutex
	accepted := make(map[string]int)
	publish := func(node int, name, key string) {
		r := client.REST{BaseURL: url(c, node), APIKey: key, HTTP: pool}
		asked := time.Now()
		_, err := r.Publish(within(t, deadline), client.Publication{Channel: "jobs", Data: name})
		answered := time.Now()
		var refusal *client.Error
		switch {
		case err != nil && !errors.As(err, &refusal):
			t.Errorf("publish with the %s key: %v", name, err)
		case err != nil && (name == "new" || answered.Before(ends)):
			t.Errorf("the %s key is refused %v before the end of the old one: %v", name, ends.Sub(answered), err)
		case err == nil && name == "old" && asked.After(ends.Add(time.Second)):
			t.Errorf("the old key is taken %v after its end", asked.Sub(ends))
		case err == nil:
			mu.Lock()
			accepted[name]++
			mu.Unlock()
		}
	}
	var working sync.WaitGroup
	for node := range c.Len() {
		for range workers {
			working.Go(func() {
				tick := time.NewTicker(pace * time.Duration(c.Len()))
				defer tick.Stop()
				for now := time.Now(); now.Before(over) && !t.Failed(); now = <-tick.C {
					// The share of the old key falls from all to a twentieth.
					share := max(1-float64(now.Sub(begun))/float64(overlap), 0.05)
					if rand.Float64() < share {
						publish(node, "old", old.Text)
					} else {
						publish(node, "new", next.Text)
					}
				}
			})
		}
	}
	working.Wait()
	t.Logf("accepted with the old key %d, with the new one %d, in %v", accepted["old"], accepted["new"], time.Since(begun))
	if accepted["old"] == 0 || accepted["new"] == 0 {
		t.Error("the load did not move")
	}
}
