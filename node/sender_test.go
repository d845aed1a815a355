package node

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Whatever a gateway lets through of an operator who has ended, the state refuses it,
// and nothing is changed: every write that there is.
func TestNothingIsChangedForWhoHasEnded(t *testing.T) {
	n := start(t, testConfig(t, t.TempDir()+"/data"))
	ctx := t.Context()
	owner := fsm.Actor{ID: fsm.FirstAdminToken, Name: "first", Via: "api", Token: fsm.FirstAdminToken}
	project := n.state.Projects("", 1)[0]
	key := n.state.Keys(project.ID)[0]
	token, _, err := n.CreateAdminToken(ctx, owner, admin.TokenSpec{Name: "leaver", Role: fsm.Owner})
	if err != nil {
		t.Fatal(err)
	}
	channel := fsm.ChannelKey{Project: project.ID, Name: "c"}
	if err := publish(t, n, fsm.Publish{Channel: channel, Data: []byte("1"), From: owner.Sender()}); err != nil {
		t.Fatal(err)
	}
	by := fsm.Actor{ID: token.ID, Name: "leaver", Via: "api", Token: token.ID}
	if err := n.RevokeAdminToken(ctx, owner, token.ID); err != nil {
		t.Fatal(err)
	}
	name, limit := "evil", int64(0)
	writes := map[string]func() error{
		"CreateProject": func() error {
			_, _, err := n.CreateProject(ctx, by, admin.ProjectSpec{Name: name})
			return err
		},
		"UpdateProject": func() error {
			_, err := n.UpdateProject(ctx, fsm.UpdateProject{By: by, ID: project.ID, Name: &name})
			return err
		},
		"DeleteProject": func() error { return n.DeleteProject(ctx, by, project.ID) },
		"CreateKey": func() error {
			_, err := n.CreateKey(ctx, by, project.ID, admin.KeySpec{Kind: fsm.ServerKey, Name: name})
			return err
		},
		"RotateKey": func() error { _, _, err := n.RotateKey(ctx, by, key.ID, time.Hour); return err },
		"RevokeKey": func() error { return n.RevokeKey(ctx, by, key.ID) },
		"CreateAdminToken": func() error {
			_, _, err := n.CreateAdminToken(ctx, by, admin.TokenSpec{Name: name, Role: fsm.Owner})
			return err
		},
		"RevokeAdminToken": func() error { return n.RevokeAdminToken(ctx, by, fsm.FirstAdminToken) },
		"Note":             func() error { return n.Note(ctx, by, "member.remove", "n2") },
		"PurgeChannel":     func() error { _, err := n.PurgeChannel(ctx, by, channel); return err },
		"ForgetChannel":    func() error { _, err := n.ForgetChannel(ctx, by, channel); return err },
		"ForgetChannels":   func() error { _, _, err := n.ForgetChannels(ctx, by, project.ID, "c"); return err },
		"UpdateSettings": func() error {
			_, err := n.UpdateSettings(ctx, fsm.UpdateSettings{By: by, MaxBytes: &limit})
			return err
		},
	}
	operator := reflect.TypeFor[admin.Operator]()
	for method := range operator.Methods() {
		for in := range method.Type.Ins() {
			_, changes := reflect.TypeAssert[fsm.Actor](reflect.Zero(in))
			if in.Kind() == reflect.Struct && in != reflect.TypeFor[fsm.Actor]() {
				field, found := in.FieldByName("By")
				changes = found && field.Type == reflect.TypeFor[fsm.Actor]()
			}
			if changes && writes[method.Name] == nil {
				t.Errorf("%s: this test does not know it", method.Name)
			}
		}
	}
	before := n.Audit(0, 1)[0].Seq
	for what, write := range writes {
		var refused *refusal.Error
		if err := write(); !errors.As(err, &refused) || refused.Code != refusal.InvalidKey {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := n.Audit(0, 1)[0].Seq; after != before {
		t.Errorf("the audit has %d changes more", after-before)
	}
}

// publish publishes one message and returns what came of it.
func publish(t *testing.T, n *Node, p fsm.Publish) error {
	t.Helper()
	result := make(chan error, 1)
	n.Publish([]fsm.Publish{p}, func(_ int, _ fsm.Receipt, err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-time.After(testDeadline):
		return context.DeadlineExceeded
	}
}

// The same of publishes, to channels that are logged and to such as are not.
func TestNothingIsPublishedForWhoHasEnded(t *testing.T) {
	n := start(t, testConfig(t, t.TempDir()+"/data"))
	ctx := t.Context()
	owner := fsm.Actor{ID: fsm.FirstAdminToken, Name: "first", Via: "api", Token: fsm.FirstAdminToken}
	project := n.state.Projects("", 1)[0]
	memory := fsm.DefaultRule
	memory.Pattern, memory.Durability = "memory", fsm.DurabilityMemory
	rules := []fsm.Rule{memory}
	access := fsm.Access{Publish: []fsm.PublishGrant{{Pattern: "*", Rate: 1, Burst: 1}}}
	change := fsm.UpdateProject{By: owner, ID: project.ID, Rules: &rules, Access: &access}
	if _, err := n.UpdateProject(ctx, change); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []fsm.KeyKind{fsm.ServerKey, fsm.PublicKey} {
		key, err := n.CreateKey(ctx, owner, project.ID, admin.KeySpec{Kind: kind, Name: "k"})
		if err != nil {
			t.Fatal(err)
		}
		senders := []fsm.Sender{
			{Kind: fsm.KeySender, ID: key.ID},
			{Kind: fsm.TokenSender, ID: key.ID, Until: n.Stamp() + 3_600_000},
		}
		all := func(want refusal.Code) {
			t.Helper()
			for _, from := range senders {
				for _, name := range []string{"logged", "memory"} {
					err := publish(t, n, fsm.Publish{
						Channel: fsm.ChannelKey{Project: project.ID, Name: name}, Data: []byte("1"), From: from,
					})
					var refused *refusal.Error
					switch {
					case want == "" && err != nil:
						t.Errorf("%s to %s: %v", from.ID, name, err)
					case want != "" && (!errors.As(err, &refused) || refused.Code != want):
						t.Errorf("%s to %s after its end: %v", from.ID, name, err)
					}
				}
			}
		}
		all("")
		if err := n.RevokeKey(ctx, owner, key.ID); err != nil {
			t.Fatal(err)
		}
		all(refusal.KeyRevoked)
	}
	expired := fsm.Sender{Kind: fsm.TokenSender, ID: n.state.Keys(project.ID)[0].ID, Until: n.Stamp()}
	for _, name := range []string{"logged", "memory"} {
		channel := fsm.ChannelKey{Project: project.ID, Name: name}
		err := publish(t, n, fsm.Publish{Channel: channel, Data: []byte("1"), From: expired})
		var refused *refusal.Error
		if !errors.As(err, &refused) || refused.Code != refusal.TokenExpired {
			t.Errorf("an expired token to %s: %v", name, err)
		}
	}
}
