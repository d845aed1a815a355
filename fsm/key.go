package fsm

import "crypto/sha256"

// KeyKind is the kind of a key.
type KeyKind string

// The kinds of key. A public key may subscribe and is bound to the origins of its project.
// A server key has all rights and must stay secret.
const (
	PublicKey KeyKind = "public"
	ServerKey KeyKind = "server"
)

// KeyHash is the SHA-256 of a key's full text, by which keys are looked up.
type KeyHash [sha256.Size]byte

// HashKey returns the hash under which a key is stored.
func HashKey(text string) KeyHash { return sha256.Sum256([]byte(text)) }

// Key is a credential of a project. It does not contain the text of a server key, only its
// hash and a recognisable prefix.
type Key struct {
	ID         string
	Project    string // project id
	Kind       KeyKind
	Name       string
	Text       string // full text of a public key, empty for a server key
	Prefix     string // first eight characters, safe to log
	Hash       KeyHash
	CreatedAt  int64  // Unix ms
	ExpiresAt  int64  // Unix ms by the cluster's stamp; 0 means never
	LastUsedAt int64  // Unix ms, coarsely; 0 means never
	Replaces   string // id of the key that this one was rotated from
	Signing    []byte // of a server key: the secret that signs its tokens, sealed
	Imported   bool   // its text was made by another program and has no checksum
}
