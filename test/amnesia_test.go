package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// A write is on two nodes of three. One of them loses its disk, the other is cut
// off, and the first comes back beside the third, which has never heard of the
// write: those two would be a majority, if the one without memory could vote.
func TestWipedNodeCannotVoteAWriteAway(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	mustPublish(t, n, 0, "c", 1)
	lead := leader(t, n)
	wiped, unaware := (lead+1)%3, (lead+2)%3
	n.hosts[unaware].Cut()
	publish := func(i int, data string) (client.Receipt, error) {
		return rest(n, i).Publish(within(t, 3*time.Second), client.Publication{Channel: "c", Data: data, ID: data})
	}
	eventually(t, deadline, func() error {
		_, err := publish(lead, "the write")
		return err
	})
	if err := n.Kill(wiped); err != nil {
		t.Fatal(err)
	}
	n.hosts[lead].Cut()
	forget(t, n.Dir(wiped))
	n.hosts[unaware].Mend()
	// Longer than elections take; the longer time is more than the name of the wiped
	// node is kept for its old self.
	wait := time.Duration(rounds(t, 10, 35)) * time.Second
	for end := time.Now().Add(wait); time.Now().Before(end); {
		select {
		case <-n.Exited(wiped):
			if err := n.Start(wiped); err != nil {
				t.Fatal(err)
			}
		default:
		}
		for _, i := range []int{wiped, unaware} {
			if r, err := publish(i, "without the others"); err == nil {
				t.Fatalf("%s acknowledges %+v although only a wiped node and one that lacks a write are there", n.Name(i), r)
			}
			if s, err := admin(n, i).Status(within(t, time.Second)); err == nil && s.Leader != "" && s.Leader != n.Name(lead) {
				t.Fatalf("%s sees %s lead", n.Name(i), s.Leader)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	n.hosts[lead].Mend()
	eventually(t, 2*deadline, func() error {
		select {
		case <-n.Exited(wiped): // its old name may still be taken
			if err := n.Start(wiped); err != nil {
				t.Fatal(err)
			}
		default:
		}
		var errs []error
		for i := range n.Len() {
			messages, err := history(within(t, 3*time.Second), n, i, "c")
			if err == nil && (len(messages) < 2 || string(messages[1].Data) != `"the write"`) {
				err = fmt.Errorf("%s has %d messages", n.Name(i), len(messages))
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// forget empties a data folder.
func forget(t *testing.T, dir string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}
