package node

import (
	"crypto/rand"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
)

func presetKey(project string, kind fsm.KeyKind, text string) admin.IssuedKey {
	if text == "" {
		return newKey(project, kind, "default")
	}
	return issueKey(project, admin.KeySpec{
		Kind: kind, Name: "default", Text: text, Imported: auth.CheckKeyText(text) != nil,
	})
}

// newKey makes a key with a fresh random text.
func newKey(project string, kind fsm.KeyKind, name string) admin.IssuedKey {
	return issueKey(project, admin.KeySpec{Kind: kind, Name: name, Text: auth.NewKeyText(kind)})
}

// issueKey makes a key with a given text.
func issueKey(project string, spec admin.KeySpec) admin.IssuedKey {
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
	return admin.IssuedKey{Key: key, Secret: spec.Text}
}

// newID returns an id such as "key_5XK2…": a kind and 130 random bits.
func newID(kind string) string { return kind + "_" + rand.Text() }
