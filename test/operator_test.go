package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

func TestCommandLineOfSeveralOperators(t *testing.T) {
	c := startCluster(t, 3)
	// A node asks those members for their connections that it has heard of.
	for i := range c.Len() {
		eventually(t, deadline, func() error {
			status, err := admin(c, i).Status(t.Context())
			for _, m := range status.Members {
				if m.State != "alive" {
					err = fmt.Errorf("%s has not heard of %s", c.Name(i), m.Name)
				}
			}
			return err
		})
	}
	project := aptlydJSON[client.Project](t, c, 0, "project", "create", "shop")
	var server client.Key
	for _, k := range project.Keys {
		if k.Kind == "server" {
			server = k
		}
	}
	viewer := aptlydJSON[client.AdminToken](t, c, 0, "admin", "create", "dashboard")
	as := func(node int, want int, args ...string) string {
		t.Helper()
		out, code := aptlyd(t, c, node, append(args, "--admin-token", viewer.Text)...)
		if code != want {
			t.Errorf("aptlyd %v as a viewer: exit code %d, want %d: %s", args, code, want, out)
		}
		return out
	}
	as(2, 0, "project", "list")
	if out := as(1, 1, "project", "delete", "shop"); !strings.Contains(out, "operator") {
		t.Errorf("a viewer is refused with %q", out)
	}
	as(1, 1, "admin", "list")

	updated := aptlydJSON[client.Project](t, c, 1, "project", "update", "shop",
		"--subscribe", "public:*", "--publish", "cursor:*=10/20", "--max-channels", "2")
	if updated.Access.Subscribe[0] != "public:*" ||
		updated.Access.Publish[0] != (client.PublishGrant{Pattern: "cursor:*", Rate: 10, Burst: 20}) ||
		updated.Quotas != (client.Quotas{Channels: 2}) {
		t.Errorf("updated to %+v", updated)
	}
	token := aptlydJSON[struct{ Token string }](t, c, 0, "token", "mint",
		"--signing-secret", server.SigningSecret, "--kid", server.ID, "--allow", "chat:*=publish")
	publish := func(key, channel, want string, wantCode int) {
		t.Helper()
		if out, code := aptlyd(t, c, 2, "publish", channel, "1", "--key", key); code != wantCode ||
			!strings.Contains(out, want) {
			t.Errorf("publish to %s: exit code %d, %q; want %d, %q", channel, code, out, wantCode, want)
		}
	}
	publish(token.Token, "chat:1", "offset 1", 0)
	publish(token.Token, "orders", "", 1)
	publish(server.Text, "orders", "offset 1", 0)
	_, err := (&client.REST{BaseURL: url(c, 1), APIKey: server.Text}).Publish(t.Context(),
		client.Publication{Channel: "third", Data: 1})
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Code != client.CodeRateLimited ||
		!strings.Contains(refused.Reason, "quota of 2 channels") {
		t.Errorf("publish to a third channel: %v", err)
	}

	if list := aptlydJSON[[]client.Channel](t, c, 1, "channel", "list", "shop"); len(list) != 2 ||
		list[0].Name != "chat:1" || list[0].Offset != 1 {
		t.Errorf("channels %+v", list)
	}
	if purge := aptlydJSON[client.Purge](t, c, 1, "channel", "purge", "shop",
		"chat:1"); purge != (client.Purge{Channel: "chat:1", Messages: 1, Offset: 1}) {
		t.Errorf("purged %+v", purge)
	}
	if list := aptlydJSON[[]client.Channel](t, c, 0, "channel", "list", "shop"); list[0].Earliest != 2 ||
		list[0].Bytes != 0 {
		t.Errorf("purged channel %+v", list[0])
	}

	subscriber := connect(t, c, server.Text, 2)
	connected := func(node int) []client.Connection {
		return aptlydJSON[[]client.Connection](t, c, node, "connection", "list", "--project", "shop", "--key-id", server.ID)
	}
	list := connected(0)
	if len(list) != 1 || list[0].Node != c.Name(2) {
		t.Fatalf("connections %+v", list)
	}
	first := list[0]
	aptlydJSON[map[string]string](t, c, 1, "connection", "close", first.ID)
	eventually(t, 10*time.Second, func() error {
		if list := connected(1); len(list) != 1 || list[0].ID == first.ID {
			return fmt.Errorf("the client did not come back on another connection: %+v", list)
		}
		return nil
	})
	subscriber.Close()

	refusals := aptlydJSON[[]client.Refusal](t, c, 0, "refusals", "--project", "shop", "--code", "forbidden")
	if len(refusals) == 0 || refusals[0].Channel != "orders" || refusals[0].KeyID != server.ID {
		t.Errorf("refusals %+v", refusals)
	}
	aptlydJSON[map[string]string](t, c, 2, "admin", "revoke", viewer.ID)
	as(0, 1, "project", "list")
	if list := aptlydJSON[[]client.AdminToken](t, c, 1, "admin", "list"); len(list) != 1 || list[0].Text != "" {
		t.Errorf("admin tokens %+v", list)
	}

	var actions []string
	for _, r := range aptlydJSON[[]client.AuditRecord](t, c, 1, "audit") {
		actions = append([]string{r.Action}, actions...)
		if r.Action != "cluster.init" && (r.By.Name != "first" || r.By.Via != "cli" || r.By.Address == "") {
			t.Errorf("audit record %+v", r)
		}
	}
	want := "cluster.init project.create token.create project.update channel.purge connection.close token.revoke"
	if got := strings.Join(actions, " "); got != want {
		t.Errorf("audit says %s, want %s", got, want)
	}
}
