package node

import (
	"context"
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// applyTimeout bounds how long a write waits for all fresh nodes to apply it. A
// node that takes longer is covered by failing closed.
const applyTimeout = time.Second

// change commits a control command of an operator, or of this node, and returns when
// this node and every fresh one has applied it, or applyTimeout after the commit.
func (n *Node) change(ctx context.Context, by fsm.Actor, command []byte) error {
	if need, have := fsm.LevelOf(command), n.updateLevel(); need > have {
		return refusal.New(refusal.Conflict,
			fmt.Sprintf("this takes feature level %d and a member of the cluster has %d: upgrade all nodes first", need, have))
	}
	sender := by.Sender()
	result := n.cluster.Apply(ctx, n.withSender(sender, command))
	if result.Err != nil {
		return asRefusal(result.Err)
	}
	if err := fsm.DecodeResult(result.Data); err != nil {
		return refusalTo(sender.Kind, err)
	}
	if err := n.cluster.WaitApplied(ctx, result.Index); err != nil {
		return asRefusal(err)
	}
	settle, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	if err := n.cluster.WaitEverywhere(settle, result.Index); err != nil && settle.Err() == nil {
		return asRefusal(err)
	}
	return nil
}

// CreateProject implements gateway.Operator.
func (n *Node) CreateProject(ctx context.Context, by fsm.Actor, spec gateway.ProjectSpec) (*fsm.Project, []gateway.IssuedKey, error) {
	id := newID("prj")
	keys := []gateway.IssuedKey{
		newKey(id, fsm.PublicKey, "default"),
		newKey(id, fsm.ServerKey, "default"),
	}
	if err := n.sign(&keys[1], n.state.Keyring()); err != nil {
		return nil, nil, fmt.Errorf("make signing secret: %w", err)
	}
	command := fsm.CreateProject{
		By: by,
		Project: fsm.Project{
			ID:                 id,
			Name:               spec.Name,
			AllowedOrigins:     spec.AllowedOrigins,
			AllowNativeClients: spec.AllowNativeClients,
		},
		Keys: []fsm.Key{keys[0].Key, keys[1].Key},
	}
	if err := n.change(ctx, by, command.Encode()); err != nil {
		return nil, nil, err
	}
	project, err := n.project(id)
	if err != nil {
		return nil, nil, err
	}
	for i := range keys {
		if keys[i], err = n.issued(keys[i]); err != nil {
			return nil, nil, err
		}
	}
	return project, keys, nil
}

// Projects implements gateway.Operator.
func (n *Node) Projects(cursor string, limit int) []*fsm.Project {
	return n.state.Projects(cursor, limit)
}

// UpdateProject implements gateway.Operator.
func (n *Node) UpdateProject(ctx context.Context, change fsm.UpdateProject) (*fsm.Project, error) {
	if err := n.change(ctx, change.By, change.Encode()); err != nil {
		return nil, err
	}
	return n.project(change.ID)
}

// DeleteProject implements gateway.Operator.
func (n *Node) DeleteProject(ctx context.Context, by fsm.Actor, id string) error {
	return n.change(ctx, by, fsm.DeleteProject{By: by, ID: id}.Encode())
}

// Keys implements gateway.Operator.
func (n *Node) Keys(project string) []fsm.Key { return n.state.Keys(project) }

// CreateKey implements gateway.Operator.
func (n *Node) CreateKey(ctx context.Context, by fsm.Actor, project string, spec gateway.KeySpec) (gateway.IssuedKey, error) {
	if spec.Text == "" {
		spec.Text = gateway.NewKeyText(spec.Kind)
	}
	key := issueKey(project, spec)
	if spec.Kind == fsm.ServerKey {
		if err := n.sign(&key, n.state.Keyring()); err != nil {
			return gateway.IssuedKey{}, fmt.Errorf("make signing secret: %w", err)
		}
	}
	if err := n.change(ctx, by, fsm.CreateKey{By: by, Key: key.Key}.Encode()); err != nil {
		return gateway.IssuedKey{}, err
	}
	return n.issued(key)
}

// RotateKey implements gateway.Operator.
func (n *Node) RotateKey(ctx context.Context, by fsm.Actor, id string, overlap time.Duration) (gateway.IssuedKey, fsm.Key, error) {
	if err := n.catchUpForKey(ctx, id); err != nil {
		return gateway.IssuedKey{}, fsm.Key{}, err
	}
	old, ok := n.state.Key(id)
	if !ok {
		return gateway.IssuedKey{}, fsm.Key{}, refusal.New(refusal.NotFound, "no key has this id")
	}
	key := newKey(old.Project, old.Kind, old.Name)
	key.Replaces = id
	if key.Kind == fsm.ServerKey {
		if err := n.sign(&key, n.state.Keyring()); err != nil {
			return gateway.IssuedKey{}, fsm.Key{}, fmt.Errorf("make signing secret: %w", err)
		}
	}
	command := fsm.RotateKey{By: by, Key: key.Key, Overlap: overlap.Milliseconds()}
	if err := n.change(ctx, by, command.Encode()); err != nil {
		return gateway.IssuedKey{}, fsm.Key{}, err
	}
	key, err := n.issued(key)
	if err != nil {
		return gateway.IssuedKey{}, fsm.Key{}, err
	}
	// With no overlap the old key is gone by now: it ended with the command.
	if current, ok := n.state.Key(id); ok {
		old = current
	} else {
		old.ExpiresAt = key.CreatedAt
	}
	return key, old, nil
}

// RevokeKey implements gateway.Operator.
func (n *Node) RevokeKey(ctx context.Context, by fsm.Actor, id string) error {
	return n.change(ctx, by, fsm.RevokeKey{By: by, ID: id}.Encode())
}

// Settings implements gateway.Operator.
func (n *Node) Settings() fsm.Settings { return n.state.Settings() }

// UpdateSettings implements gateway.Operator.
func (n *Node) UpdateSettings(ctx context.Context, change fsm.UpdateSettings) (fsm.Settings, error) {
	if err := n.change(ctx, change.By, change.Encode()); err != nil {
		return fsm.Settings{}, err
	}
	return n.state.Settings(), nil
}

// catchUpForKey lets a key that another node made a moment ago be found here.
func (n *Node) catchUpForKey(ctx context.Context, id string) error {
	if _, ok := n.state.Key(id); ok {
		return nil
	}
	return n.CatchUp(ctx)
}

// issued completes a new key with what the state gave it, the time of creation.
func (n *Node) issued(key gateway.IssuedKey) (gateway.IssuedKey, error) {
	stored, ok := n.state.Key(key.ID)
	if !ok {
		return gateway.IssuedKey{}, refusal.New(refusal.Conflict, fmt.Sprintf("key %s ended while it was made", key.ID))
	}
	key.Key = stored
	return key, nil
}

func (n *Node) project(id string) (*fsm.Project, error) {
	project, ok := n.state.Project(id)
	if !ok {
		return nil, refusal.New(refusal.NotFound, "no project has this id")
	}
	return project, nil
}
