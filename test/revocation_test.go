package test

import (
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// everywhere is the nodes of a cluster.
func everywhere(c site) (nodes []int) {
	for i := range c.Len() {
		nodes = append(nodes, i)
	}
	return nodes
}

// leak makes a server key for a test to revoke.
func leak(t *testing.T, c site) client.Key {
	t.Helper()
	key, err := admin(c, 0).CreateKey(within(t, deadline), defaultProject(t, c).ID, "server", "leaked")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// revoke ends a key through a node and returns when it was asked to.
func revoke(t *testing.T, c site, node int, key client.Key) (asked time.Time) {
	t.Helper()
	asked = time.Now()
	if err := admin(c, node).RevokeKey(within(t, deadline), key.ID); err != nil {
		t.Fatal(err)
	}
	return asked
}

// Promised, so asserted: a thousand connections on each node are closed within a
// second of the end of their key, and nobody else's is.
func TestThousandsAreClosedWithinASecond(t *testing.T) {
	c := startCluster(t, 3)
	key := leak(t, c)
	victims := gather(t, c, key.Text, "news", 1000, everywhere(c)...)
	others := gather(t, c, c.ServerKey, "news", 100, everywhere(c)...)
	asked := revoke(t, c, 2, key)
	t.Logf("%d connections closed after %v", len(victims.members), await(t, victims.members, asked, time.Second))
	wantRevoked(t, victims.members)
	others.wantAlive(t)
	mustPublish(t, c, 0, "news", 1)
	others.wantAlive(t)
}

// What a leader has answered holds also when it dies a moment later.
func TestRevocationOutlivesTheLeader(t *testing.T) {
	c := startCluster(t, 3)
	key := leak(t, c)
	victims := gather(t, c, key.Text, "news", 300, everywhere(c)...)
	lead := leader(t, c)
	asked := revoke(t, c, 2, key)
	time.Sleep(time.Millisecond) // the kill falls into the revocation, not before it
	if err := c.Signal(lead, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var survivors []*member
	for i := range c.Len() {
		if i != lead {
			survivors = append(survivors, victims.of(i)...)
		}
	}
	t.Logf("%d connections closed after %v", len(survivors), await(t, survivors, asked, time.Second))
	wantRevoked(t, survivors)
	<-c.Exited(lead)
	await(t, victims.of(lead), asked, 2*time.Second)
	if err := c.Restart(within(t, deadline), lead); err != nil {
		t.Fatal(err)
	}
	for i := range c.Len() {
		r := client.REST{BaseURL: url(c, i), APIKey: key.Text}
		if _, err := r.Publish(within(t, deadline), client.Publication{Channel: "news", Data: 1}); err == nil {
			t.Errorf("node %d takes a publish with the revoked key", i)
		}
	}
}

// A node that was stopped while a key ended hears of it before it does anything
// for a client: what was published after the end is not shown.
func TestStoppedNodeHearsOfRevocationFirst(t *testing.T) {
	c := startCluster(t, 3)
	key := leak(t, c)
	pause := 5 * time.Second
	if long() {
		pause = 20 * time.Second // so long that the node closes everybody
	}
	asleep := (leader(t, c) + 1) % c.Len()
	awake := (asleep + 1) % c.Len()
	victims := gather(t, c, key.Text, "news", 300, everywhere(c)...)
	others := gather(t, c, c.ServerKey, "news", 30, everywhere(c)...)
	if err := c.Signal(asleep, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	asked := revoke(t, c, awake, key)
	var prompt []*member
	for i := range c.Len() {
		if i != asleep {
			prompt = append(prompt, victims.of(i)...)
		}
	}
	await(t, prompt, asked, time.Second)
	wantRevoked(t, prompt)
	mustPublish(t, c, awake, "news", 1)
	<-time.After(time.Until(stopped.Add(pause)))
	continued := time.Now()
	if err := c.Signal(asleep, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	woken := victims.of(asleep)
	t.Logf("stopped for %v; %d connections closed %v after it", pause, len(woken), await(t, woken, continued, time.Second))
	for _, m := range woken {
		if slices.Contains(m.messages, "1") {
			t.Fatal("a message is shown that was published after the end of the key")
		}
	}
	if !long() {
		wantRevoked(t, woken)
		others.wantAlive(t)
	}
}

// However many clients still have a key that was revoked, each is told so, also by a node
// that was restarted since; a key that never was is a guess.
func TestRevokedKeyIsToldAfterARestart(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	key := leak(t, c)
	revoke(t, c, 0, key)
	try := func(text string) (codes []client.Code) {
		for range 60 { // more than the burst of guesses
			r := &client.REST{BaseURL: url(c, 0), APIKey: text}
			_, err := r.History(within(t, deadline), "c", 0, 1)
			var refusal *client.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v", err)
			}
			codes = append(codes, refusal.Code)
		}
		return codes
	}
	for _, when := range []string{"at once", "after a restart"} {
		if codes := try(key.Text); slices.Contains(codes, client.CodeRateLimited) {
			t.Errorf("%s: %v", when, codes)
		}
		if err := c.Stop(within(t, deadline), 0); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(within(t, deadline), 0); err != nil {
			t.Fatal(err)
		}
	}
	if codes := try(startCluster(t, 1).ServerKey); !slices.Contains(codes, client.CodeRateLimited) {
		t.Errorf("a key of another cluster: %v", codes)
	}
}
