package test

import (
	"testing"

	"github.com/aptlyd/aptlyd/client"
)

// Whoever is told by a node that a message is there finds it at that node, in the
// very next request.
func TestReadYourWrites(t *testing.T) {
	c := startCluster(t, 3)
	project := defaultProject(t, c)
	ctx := within(t, deadline)
	const channel = "mine"
	stale := 0
	for range rounds(t, 100, 2000) {
		for i := range c.Len() {
			receipt, err := rest(c, i).Publish(ctx, client.Publication{Channel: channel, Data: 1})
			if err != nil {
				t.Fatal(err)
			}
			page, err := rest(c, i).History(ctx, channel, receipt.Offset-1, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Messages) != 1 {
				stale++
			}
			if receipt, err = rest(c, i).Publish(ctx, client.Publication{Channel: channel, Data: 2}); err != nil {
				t.Fatal(err)
			}
			if page, err = admin(c, i).Messages(ctx, project.ID, channel, receipt.Offset-1, 1); err != nil {
				t.Fatal(err)
			}
			if len(page.Messages) != 1 {
				stale++
			}
		}
	}
	if stale > 0 {
		t.Errorf("%d reads at the node that had acknowledged did not find the message", stale)
	}
}
