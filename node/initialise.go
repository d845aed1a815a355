package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway"
)

// Credentials are what the node that forms a cluster tells its operator, once.
type Credentials struct {
	AdminToken    string // empty when it was given
	PublicKey     string
	ServerKey     string
	SigningSecret string // of the server key
}

// DefaultProject is the name of the project a new cluster begins with.
const DefaultProject = "default"

// Credentials returns the first credentials of the cluster, if it was this node that
// made them and they were not shown yet: CredentialsShown says so. It is valid once
// Ready has returned.
func (n *Node) Credentials() (Credentials, bool) {
	if n.credentials == nil {
		return Credentials{}, false
	}
	return *n.credentials, true
}

// poll is how often what comes by itself is looked for.
const poll = 20 * time.Millisecond

// initialise gives a new cluster its first state. The node that formed the
// cluster does it; the others wait until it has.
func (n *Node) initialise(ctx context.Context) error {
	for {
		if n.state.Initialised() {
			return n.recallCredentials()
		}
		if n.cluster.Bootstrapped() {
			if err := n.makeFirstState(ctx); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// makeFirstState proposes the first state, the same one after every restart.
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
	creds.PublicKey, creds.ServerKey, creds.SigningSecret = public.Secret, server.Secret, server.SigningSecret

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
			n.cfg.Logger.Warn("a bootstrap key has no checksum of ours: it was made elsewhere, or is mistyped", "key", key.Prefix)
		}
	}
	return &firstCredentials{ClusterID: clusterID, Credentials: creds, Init: init.Encode()}, nil
}

// awaitLevel waits until every member is known to have a feature level. In a cluster
// that has just been formed they have not all been heard yet.
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

// selfActor is this node as the author of a change.
func (n *Node) selfActor() fsm.Actor { return fsm.Actor{Name: n.cfg.NodeName, Via: "node"} }

// isOwner reports whether text is an admin token that may do everything.
func (n *Node) isOwner(text string) bool {
	token, ok := n.state.AdminTokenByText(text)
	return ok && token.Role == fsm.Owner && token.Parent == ""
}

func presetKey(project string, kind fsm.KeyKind, text string) gateway.IssuedKey {
	if text == "" {
		return newKey(project, kind, "default")
	}
	return issueKey(project, gateway.KeySpec{
		Kind: kind, Name: "default", Text: text, Imported: gateway.CheckKeyText(text) != nil,
	})
}

// newKey makes a key with a fresh random text.
func newKey(project string, kind fsm.KeyKind, name string) gateway.IssuedKey {
	return issueKey(project, gateway.KeySpec{Kind: kind, Name: name, Text: gateway.NewKeyText(kind)})
}

// issueKey makes a key of a text.
func issueKey(project string, spec gateway.KeySpec) gateway.IssuedKey {
	key := fsm.Key{
		ID:       newID("key"),
		Project:  project,
		Kind:     spec.Kind,
		Name:     spec.Name,
		Prefix:   spec.Text[:8],
		Hash:     fsm.HashKey(spec.Text),
		Imported: spec.Imported,
	}
	if spec.Kind == fsm.PublicKey {
		key.Text = spec.Text
	}
	return gateway.IssuedKey{Key: key, Secret: spec.Text}
}

// newID returns an id such as "key_5XK2…": a kind and 130 random bits.
func newID(kind string) string { return kind + "_" + rand.Text() }

// newAdminToken returns a token of 260 random bits.
func newAdminToken() string { return "adm_" + rand.Text() + rand.Text() }
