package gateway

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func (b *fakeBroker) CreateProject(_ context.Context, by fsm.Actor, spec admin.ProjectSpec) (*fsm.Project,
	[]admin.IssuedKey, error,
) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &fsm.Project{
		ID: b.id("prj"), Name: spec.Name, AllowedOrigins: spec.AllowedOrigins,
		AllowNativeClients: spec.AllowNativeClients, CreatedAt: b.clock,
	}
	b.projects[p.ID] = p
	b.record(by, "project.create", p.ID)
	var issued []admin.IssuedKey
	for _, kind := range []fsm.KeyKind{fsm.PublicKey, fsm.ServerKey} {
		text := auth.NewKeyText(kind)
		issued = append(issued, b.issue(p.ID, kind, "default", text))
	}
	return p, issued, nil
}

// issue puts a key and shows it as it is only once. It is called with mu held.
func (b *fakeBroker) issue(project string, kind fsm.KeyKind, name, text string) admin.IssuedKey {
	issued := admin.IssuedKey{Key: b.putKey(project, kind, name, text), Secret: text}
	if kind == fsm.ServerKey {
		issued.SigningSecret = "ss_" + issued.ID
	}
	return issued
}

func (b *fakeBroker) Projects(cursor string, limit int) []*fsm.Project {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []*fsm.Project
	for id, p := range b.projects {
		if id > cursor {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *fsm.Project) int { return cmp.Compare(a.ID, b.ID) })
	return found[:min(limit, len(found))]
}

func (b *fakeBroker) UpdateProject(_ context.Context, change fsm.UpdateProject) (*fsm.Project, error) {
	b.mu.Lock()
	old, found := b.projects[change.ID]
	if !found {
		b.mu.Unlock()
		return nil, refusal.New(refusal.NotFound, "no such project")
	}
	p := *old
	if change.Name != nil {
		p.Name = *change.Name
	}
	if change.AllowedOrigins != nil {
		p.AllowedOrigins = *change.AllowedOrigins
	}
	if change.AllowNativeClients != nil {
		p.AllowNativeClients = *change.AllowNativeClients
	}
	if change.Rules != nil {
		p.Rules = *change.Rules
	}
	if change.Access != nil {
		p.Access = *change.Access
	}
	if change.Quotas != nil {
		p.Quotas = *change.Quotas
	}
	if change.FirstOffset != nil {
		p.FirstOffset = *change.FirstOffset
	}
	b.projects[p.ID] = &p
	observer := b.observer
	b.mu.Unlock()
	observer.ProjectChanged(p.ID)
	return &p, nil
}

func (b *fakeBroker) Settings() fsm.Settings {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.settings
}

func (b *fakeBroker) UpdateSettings(_ context.Context, change fsm.UpdateSettings) (fsm.Settings, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if change.MaxBytes != nil {
		b.settings.MaxBytes = *change.MaxBytes
	}
	return b.settings, nil
}

func (b *fakeBroker) DeleteProject(_ context.Context, _ fsm.Actor, id string) error {
	b.mu.Lock()
	if _, found := b.projects[id]; !found {
		b.mu.Unlock()
		return refusal.New(refusal.NotFound, "no such project")
	}
	delete(b.projects, id)
	observer := b.observer
	b.mu.Unlock()
	observer.ProjectChanged(id)
	return nil
}

func (b *fakeBroker) Keys(project string) []fsm.Key {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []fsm.Key
	for _, k := range b.keys {
		if k.Project == project {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(a, b fsm.Key) int { return cmp.Compare(a.ID, b.ID) })
	return found
}

func (b *fakeBroker) CreateKey(_ context.Context, by fsm.Actor, project string,
	spec admin.KeySpec,
) (admin.IssuedKey, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, found := b.projects[project]; !found {
		return admin.IssuedKey{}, refusal.New(refusal.NotFound, "no such project")
	}
	if spec.Text == "" {
		spec.Text = auth.NewKeyText(spec.Kind)
	}
	b.record(by, "key.create", project)
	issued := b.issue(project, spec.Kind, spec.Name, spec.Text)
	issued.Imported = spec.Imported
	b.keys[spec.Text] = issued.Key
	return issued, nil
}

func (b *fakeBroker) byID(id string) (text string, key fsm.Key, found bool) {
	for text, key := range b.keys {
		if key.ID == id {
			return text, key, true
		}
	}
	return "", fsm.Key{}, false
}

func (b *fakeBroker) RotateKey(_ context.Context, by fsm.Actor, id string, overlap time.Duration) (admin.IssuedKey,
	fsm.Key, error,
) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, old, found := b.byID(id)
	if !found {
		return admin.IssuedKey{}, fsm.Key{}, refusal.New(refusal.NotFound, "no such key")
	}
	old.ExpiresAt = b.clock + overlap.Milliseconds()
	b.keys[text] = old
	next := auth.NewKeyText(old.Kind)
	b.record(by, "key.rotate", id)
	return b.issue(old.Project, old.Kind, old.Name, next), old, nil
}

func (b *fakeBroker) RevokeKey(_ context.Context, _ fsm.Actor, id string) error {
	b.mu.Lock()
	text, _, found := b.byID(id)
	b.mu.Unlock()
	if !found {
		return refusal.New(refusal.NotFound, "no such key")
	}
	b.endKey(text)
	return nil
}
