package node

import (
	"context"
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Keys implements admin.Operator.
func (n *Node) Keys(project string) []fsm.Key { return n.state.Keys(project) }

// CreateKey implements admin.Operator.
func (n *Node) CreateKey(ctx context.Context, by fsm.Actor, project string,
	spec admin.KeySpec,
) (admin.IssuedKey, error) {
	if spec.Text == "" {
		spec.Text = auth.NewKeyText(spec.Kind)
	}
	key := issueKey(project, spec)
	if spec.Kind == fsm.ServerKey {
		if err := n.sign(&key, n.state.Keyring()); err != nil {
			return admin.IssuedKey{}, fmt.Errorf("make signing secret: %w", err)
		}
	}
	if err := n.change(ctx, by, fsm.CreateKey{By: by, Key: key.Key}.Encode()); err != nil {
		return admin.IssuedKey{}, err
	}
	return n.issued(key)
}

// RotateKey implements admin.Operator.
func (n *Node) RotateKey(ctx context.Context, by fsm.Actor, id string,
	overlap time.Duration,
) (admin.IssuedKey, fsm.Key, error) {
	if err := n.catchUpForKey(ctx, id); err != nil {
		return admin.IssuedKey{}, fsm.Key{}, err
	}
	old, ok := n.state.Key(id)
	if !ok {
		return admin.IssuedKey{}, fsm.Key{}, refusal.New(refusal.NotFound, "no key has this id")
	}
	key := newKey(old.Project, old.Kind, old.Name)
	key.Replaces = id
	if key.Kind == fsm.ServerKey {
		if err := n.sign(&key, n.state.Keyring()); err != nil {
			return admin.IssuedKey{}, fsm.Key{}, fmt.Errorf("make signing secret: %w", err)
		}
	}
	command := fsm.RotateKey{By: by, Key: key.Key, Overlap: overlap.Milliseconds()}
	if err := n.change(ctx, by, command.Encode()); err != nil {
		return admin.IssuedKey{}, fsm.Key{}, err
	}
	key, err := n.issued(key)
	if err != nil {
		return admin.IssuedKey{}, fsm.Key{}, err
	}
	// Without an overlap the command has ended the old key.
	if current, ok := n.state.Key(id); ok {
		old = current
	} else {
		old.ExpiresAt = key.CreatedAt
	}
	return key, old, nil
}

// RevokeKey implements admin.Operator.
func (n *Node) RevokeKey(ctx context.Context, by fsm.Actor, id string) error {
	return n.change(ctx, by, fsm.RevokeKey{By: by, ID: id}.Encode())
}

// catchUpForKey waits for a key that another node may have made a moment ago.
func (n *Node) catchUpForKey(ctx context.Context, id string) error {
	if _, ok := n.state.Key(id); ok {
		return nil
	}
	return n.CatchUp(ctx)
}

// issued completes a new key with the creation time that the state gave it.
func (n *Node) issued(key admin.IssuedKey) (admin.IssuedKey, error) {
	stored, ok := n.state.Key(key.ID)
	if !ok {
		return admin.IssuedKey{}, refusal.New(refusal.Conflict, fmt.Sprintf("key %s ended while it was made", key.ID))
	}
	key.Key = stored
	return key, nil
}
