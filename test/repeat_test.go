package test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/aptlyd/aptlyd/client"
)

// A backend's message is one message however it is repeated, and no other client's use of its
// id is taken for it.
func TestRepeatsOfABackendsMessage(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	project := defaultProject(t, c)
	access := client.Access{
		Subscribe: []string{"*"},
		Publish:   []client.PublishGrant{{Pattern: "orders", Rate: 10, Burst: 10}},
	}
	if _, err := admin(c, 0).UpdateProject(within(t, deadline), project.ID,
		client.ProjectChange{Access: &access}); err != nil {
		t.Fatal(err)
	}
	key := leak(t, c)
	rest := func(node int, key, id, data string) (client.Receipt, error) {
		r := client.REST{BaseURL: url(c, node), APIKey: key}
		return r.Publish(within(t, deadline), client.Publication{Channel: "orders", ID: id, Data: json.RawMessage(data)})
	}
	socket := func(node int, key, id, data string) (client.Receipt, error) {
		s, err := client.New(client.Options{Endpoints: []string{"ws://" + c.Addr(node)}, APIKey: key})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Connect(within(t, deadline)); err != nil {
			t.Fatal(err)
		}
		return s.Publish(within(t, deadline), client.Publication{Channel: "orders", ID: id, Data: json.RawMessage(data)})
	}
	want := func(what string, offset uint64, duplicate bool, got client.Receipt, err error) {
		t.Helper()
		if err != nil || got.Offset != offset || got.Duplicate != duplicate {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	conflict := func(what string, got client.Receipt, err error) {
		t.Helper()
		var refusal *client.Error
		if !errors.As(err, &refusal) || refusal.Code != client.CodeConflict {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	const order = `{"order": 17}`
	public := c.keys().public

	got, err := socket(0, public, "order-17", `"mine"`)
	want("another client that is first", 1, false, got, err)
	got, err = rest(1, key.Text, "order-17", order)
	want("the backend", 2, false, got, err)
	got, err = rest(2, key.Text, "order-17", order)
	want("again through another node", 2, true, got, err)
	got, err = socket(0, key.Text, "order-17", `{"order":17}`)
	want("again over WebSocket, without the space", 2, true, got, err)
	next, err := admin(c, 1).RotateKey(within(t, deadline), key.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err = rest(0, next.Text, "order-17", order)
	want("again with the key's successor", 2, true, got, err)
	got, err = rest(1, next.Text, "order-17", `{"order":18}`)
	conflict("another message", got, err)
	got, err = socket(1, next.Text, "order-17", `{"order":18}`)
	conflict("another message over WebSocket", got, err)
	got, err = socket(2, public, "order-17", `"mine"`)
	want("the other client again", 1, true, got, err)
	got, err = socket(2, public, "order-17", order)
	conflict("the other client with the backend's message", got, err)
}
