package node

import (
	"context"
	"fmt"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// CreateProject implements admin.Operator.
func (n *Node) CreateProject(ctx context.Context, by fsm.Actor,
	spec admin.ProjectSpec,
) (*fsm.Project, []admin.IssuedKey, error) {
	id := newID("prj")
	keys := []admin.IssuedKey{
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

// Projects implements admin.Operator.
func (n *Node) Projects(cursor string, limit int) []*fsm.Project {
	return n.state.Projects(cursor, limit)
}

// UpdateProject implements admin.Operator.
func (n *Node) UpdateProject(ctx context.Context, change fsm.UpdateProject) (*fsm.Project, error) {
	if err := n.change(ctx, change.By, change.Encode()); err != nil {
		return nil, err
	}
	return n.project(change.ID)
}

// DeleteProject implements admin.Operator.
func (n *Node) DeleteProject(ctx context.Context, by fsm.Actor, id string) error {
	return n.change(ctx, by, fsm.DeleteProject{By: by, ID: id}.Encode())
}

func (n *Node) project(id string) (*fsm.Project, error) {
	project, ok := n.state.Project(id)
	if !ok {
		return nil, refusal.New(refusal.NotFound, "no project has this id")
	}
	return project, nil
}
