package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/aptlyd/aptlyd/fsm"
)

// DefaultProject is the name of the project a new cluster begins with.
const DefaultProject = "default"

// poll is the interval at which conditions without an event are checked.
const poll = 20 * time.Millisecond

// initialise gives a new cluster its first state. The node that formed the cluster proposes
// it; the others wait for it.
func (n *Node) initialise(ctx context.Context) error {
	return await(ctx, func() (bool, error) {
		if n.state.Initialised() {
			return true, n.recallCredentials()
		}
		if n.cluster.Bootstrapped() {
			return false, n.makeFirstState(ctx)
		}
		return false, nil
	})
}

// await calls step until it is done. A process that has no descriptor left tries again,
// since others free theirs: it can serve a moment later.
func await(ctx context.Context, step func() (done bool, err error)) error {
	for {
		done, err := step()
		switch {
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		case err != nil, done:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// makeFirstState proposes the first state. It proposes the same one after every restart.
func (n *Node) makeFirstState(ctx context.Context) error {
	first, err := n.keptCredentials()
	if err != nil {
		return err
	}
	if first == nil {
		if first, err = n.newFirstState(); err != nil {
			return err
		}
		if err := n.keepCredentials(first); err != nil {
			return err
		}
	}
	if err := n.awaitLevel(ctx, fsm.LevelOf(first.Init)); err != nil {
		return err
	}
	if err := n.change(ctx, n.selfActor(), first.Init); err != nil {
		return fmt.Errorf("make first state: %w", err)
	}
	return nil
}

func (n *Node) newFirstState() (*firstCredentials, error) {
	_, clusterID := n.cluster.ID()
	token := n.cfg.AdminToken
	creds := Credentials{PublicKey: n.cfg.BootstrapPublicKey, ServerKey: n.cfg.BootstrapServerKey}
	if token == "" {
		token = newAdminToken()
		creds.AdminToken = token
	}
	project := fsm.Project{
		ID:                 newID("prj"),
		Name:               DefaultProject,
		AllowedOrigins:     []string{"http://localhost:*"},
		AllowNativeClients: true,
	}
	public := presetKey(project.ID, fsm.PublicKey, creds.PublicKey)
	server := presetKey(project.ID, fsm.ServerKey, creds.ServerKey)
	keyring, err := n.keyring.make()
	if err != nil {
		return nil, fmt.Errorf("make keyring: %w", err)
	}
	if err := n.sign(&server, keyring); err != nil {
		return nil, fmt.Errorf("make signing secret: %w", err)
	}
	creds.PublicKey, creds.ServerKey = public.Secret, server.Secret
	creds.SigningSecret, creds.KeyID = server.SigningSecret, server.ID

	init := fsm.Init{
		By:             n.selfActor(),
		ClusterID:      clusterID,
		Epoch:          uuid.NewString(),
		AdminTokenHash: fsm.HashKey(token),
		Keyring:        keyring,
		Project:        project,
		Keys:           []fsm.Key{public.Key, server.Key},
	}
	for _, key := range init.Keys {
		if key.Imported {
			n.cfg.Logger.Warn("a bootstrap key has no checksum of ours: it was made elsewhere, or is mistyped", "key",
				key.Prefix)
		}
	}
	return &firstCredentials{ClusterID: clusterID, Credentials: creds, Init: init.Encode()}, nil
}

// awaitLevel waits until every member is known to have a feature level. Members of a
// cluster that was just formed may not have been heard yet.
func (n *Node) awaitLevel(ctx context.Context, level uint32) error {
	for n.cluster.FeatureLevel() < level {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
	return nil
}
