package auth

import (
	"fmt"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

const ownProject, otherProject = "prj-test", "prj-foreign"

// fakeKeys are Keys in memory.
type fakeKeys struct {
	keys     map[string]fsm.Key // by text
	secrets  map[string][]byte  // by key id
	sessions map[string]fsm.AdminToken
	stamp    int64
}

func newFakeKeys() *fakeKeys {
	return &fakeKeys{
		keys: make(map[string]fsm.Key), secrets: make(map[string][]byte), sessions: make(map[string]fsm.AdminToken),
		stamp: time.Now().UnixMilli(),
	}
}

// addKey makes a key and returns its text.
func (b *fakeKeys) addKey(project string, kind fsm.KeyKind) string {
	text := NewKeyText(kind)
	id := fmt.Sprintf("key-%03d", len(b.keys)+1)
	b.keys[text] = fsm.Key{ID: id, Project: project, Kind: kind, Prefix: text[:8]}
	if kind == fsm.ServerKey {
		b.secrets[id] = []byte("ss_" + id)
	}
	return text
}

// claimsOf returns claims of a token that ends after a while.
func (b *fakeKeys) claimsOf(kid string, ends time.Duration, more string) string {
	return fmt.Sprintf(`{"kid":%q,"sub":"user-17","exp":%d%s}`, kid, time.UnixMilli(b.Stamp()).Add(ends).Unix(), more)
}

func (b *fakeKeys) Key(text string) (fsm.Key, bool) {
	k, found := b.keys[text]
	return k, found
}

func (b *fakeKeys) KeyByID(id string) (fsm.Key, bool) {
	for _, k := range b.keys {
		if k.ID == id {
			return k, true
		}
	}
	return fsm.Key{}, false
}

func (b *fakeKeys) HasImportedKeys() bool { return false }

func (b *fakeKeys) SigningSecret(id string) ([]byte, bool) {
	secret, found := b.secrets[id]
	return secret, found
}

func (b *fakeKeys) ConsoleSecret() []byte { return []byte("the console's") }

func (b *fakeKeys) AdminTokenByID(id string) (fsm.AdminToken, bool) {
	session, found := b.sessions[id]
	return session, found
}

func (b *fakeKeys) Project(id string) (*fsm.Project, bool) {
	return &fsm.Project{ID: id}, id == ownProject
}

func (b *fakeKeys) Stamp() int64 { return b.stamp }
