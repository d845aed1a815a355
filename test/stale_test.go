package test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// What was under way on a node when it was cut off, and was answered with
// outcome_unknown, does not happen when the link is back and everybody has gone on: the
// same id was sent again elsewhere, the key was revoked, or the ids of that time are
// forgotten. TCP brings the bytes of then all the same.
func TestWhatWaitedBehindACut(t *testing.T) {
	t.Parallel()
	lab.NeedNetworks(t)
	for _, test := range []struct {
		name      string
		patches   []string
		forgotten bool // the ids of the time before the cut
		cut       time.Duration
	}{
		{name: "for some seconds"},
		{
			name: "for longer than ids are remembered", patches: []string{"hasty.patch"},
			forgotten: true, cut: 20 * time.Second,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			program := binary
			if test.patches != nil {
				program = patched(t, test.patches...)
			}
			n := startNetworkOf(t, program)
			away := (leader(t, n) + 1) % n.Len()
			here := (away + 1) % n.Len()
			door := "http://" + n.door(t, away)
			extra := leak(t, n)
			publish := func(at, key, id, what string) (client.Receipt, error) {
				rest := client.REST{BaseURL: at, APIKey: key}
				return rest.Publish(within(t, 30*time.Second), client.Publication{Channel: "c", ID: id, Data: what})
			}
			// The link to the leader is there, and so are the keys.
			for _, key := range []string{n.keys().server, extra.Text} {
				if _, err := publish(door, key, "", "before"); err != nil {
					t.Fatal(err)
				}
			}
			n.hosts[away].Cut()
			cut := time.Now()
			pending := map[string]string{ // message to key
				"twice": n.keys().server, "once": n.keys().server, "revoked": extra.Text,
			}
			refused := make(chan error, len(pending))
			for what, key := range pending {
				id := ""
				if what != "once" {
					id = what
				}
				go func() {
					_, err := publish(door, key, id, what)
					refused <- err
				}()
			}
			eventually(t, 10*time.Second, func() error {
				again, err := publish("http://"+n.Addr(here), n.keys().server, "twice", "twice")
				if err == nil && again.Offset != 3 {
					t.Errorf("sent again elsewhere it has offset %d", again.Offset)
				}
				return err
			})
			if err := admin(n, here).RevokeKey(within(t, 10*time.Second), extra.ID); err != nil {
				t.Fatal(err)
			}
			for range pending {
				var refusal *client.Error
				err := <-refused
				if !errors.As(err, &refusal) || refusal.Code != client.CodeOutcomeUnknown {
					t.Errorf("a publish behind the cut: %v", err)
				}
			}
			time.Sleep(time.Until(cut.Add(test.cut)))
			n.hosts[away].Mend()
			eventually(t, 30*time.Second, func() error {
				if got := status(within(t, time.Second), n, away, "/readyz"); got != http.StatusOK {
					return fmt.Errorf("/readyz answers %d after the link is back", got)
				}
				return nil
			})
			// Numbers go on: what comes through the same node now comes behind all that
			// could still have been on its way.
			eventually(t, 20*time.Second, func() error {
				_, err := publish(door, n.keys().server, "after", "after")
				return err
			})
			rest := client.REST{BaseURL: "http://" + n.Addr(here), APIKey: n.keys().server}
			var got []string
			eventually(t, deadline, func() error { // "after" was acknowledged by another node
				page, err := rest.History(within(t, 10*time.Second), "c", 0, 100)
				if err != nil {
					return err
				}
				got = nil
				for _, m := range page.Messages {
					got = append(got, string(m.Data))
				}
				if !slices.Contains(got, `"after"`) {
					return fmt.Errorf("this node has %q", got)
				}
				return nil
			})
			if once := slices.Index(got, `"once"`); once >= 0 && !test.forgotten {
				got = slices.Delete(got, once, once+1) // it may have been on its way
			}
			if want := []string{`"before"`, `"before"`, `"twice"`, `"after"`}; !slices.Equal(got, want) {
				t.Errorf("the channel has %q, want %q", got, want)
			}
		})
	}
}

func patched(t *testing.T, patches ...string) (program string) {
	t.Helper()
	lab.NeedTool(t, "git")
	program = filepath.Join(t.TempDir(), "aptlyd")
	if err := lab.Build(program, patches, buildFlags()...); err != nil {
		t.Fatal(err)
	}
	return program
}

// The first publish after a time without any node is not old, though the last stamp is:
// nobody serves before there is a new one.
func TestPublishAfterALongStop(t *testing.T) {
	t.Parallel()
	c := spawn(t, bench.SpawnOptions{Nodes: 1, Binary: patched(t, "hasty.patch"), Dir: t.TempDir()})
	if err := c.Stop(within(t, deadline), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(16 * time.Second) // longer than commands are taken
	if err := c.Restart(within(t, deadline), 0); err != nil {
		t.Fatal(err)
	}
	rest := client.REST{BaseURL: "http://" + c.Addr(0), APIKey: c.keys().server}
	receipt, err := rest.Publish(within(t, deadline), client.Publication{Channel: "c", ID: "x", Data: 1})
	if err != nil || receipt.Offset != 1 {
		t.Errorf("got %+v, %v", receipt, err)
	}
}
