package node

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/aptlyd/aptlyd/gateway"
)

// A keyring is the cluster's key-encryption key, 32 random bytes made with the
// cluster. The state has it sealed under the cluster secret:
//
//	byte version 1 | which secret (8) | sealed key
//
// A sealed value is a nonce (12) and what AES-256-GCM makes of the value, with the
// purpose as associated data. Both the key that seals the keyring and the eight
// bytes that tell one secret from another are HKDF-SHA256 (RFC 5869) of the secret.
const (
	keyringVersion = 1
	secretMark     = 8

	purposeKeyring = "aptlyd keyring"
	purposeMark    = "aptlyd keyring secret"
	purposeConsole = "console token"
)

// noSecret is what the keyring is sealed under where there is no cluster secret. It
// keeps secrets from being seen by accident, not from whoever has the state.
const noSecret = "aptlyd without cluster secret"

// ErrKeyring says that the keyring is sealed under a secret that this node was not
// given.
var ErrKeyring = errors.New("the cluster's keyring is sealed under a cluster secret that this node does not have")

// keyring opens the cluster's keyring with this node's secrets.
type keyring struct {
	secrets []string // the first seals

	mu     sync.Mutex
	sealed []byte // as it was opened last
	key    []byte
	failed map[string]error // by what it is of: as logged, until it is over
}

func newKeyring(secrets []string) *keyring {
	if len(secrets) == 0 {
		secrets = []string{noSecret}
	} else {
		// What was sealed before the cluster had a secret stays readable.
		secrets = append(secrets[:len(secrets):len(secrets)], noSecret)
	}
	return &keyring{secrets: secrets, failed: make(map[string]error)}
}

// make makes a new keyring and returns it sealed.
func (k *keyring) make() (sealed []byte, err error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: the process ends before
	return k.sealKey(key)
}

func (k *keyring) sealKey(key []byte) ([]byte, error) {
	secret := k.secrets[0]
	sealed := append([]byte{keyringVersion}, derive([]byte(secret), purposeMark, secretMark)...)
	return seal(sealed, derive([]byte(secret), purposeKeyring, 32), key, purposeKeyring)
}

// open returns the key-encryption key of a sealed keyring. The error is ErrKeyring
// when it is not sealed under a secret of this node.
func (k *keyring) open(sealed []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil && bytes.Equal(sealed, k.sealed) {
		return k.key, nil
	}
	secret, ok := k.sealedUnder(sealed)
	if !ok {
		return nil, ErrKeyring
	}
	key, err := unseal(derive([]byte(secret), purposeKeyring, 32), sealed[1+secretMark:], purposeKeyring)
	if err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	k.sealed, k.key = sealed, key
	return key, nil
}

// sealedUnder returns the secret of this node that a keyring is sealed under.
func (k *keyring) sealedUnder(sealed []byte) (secret string, ok bool) {
	if len(sealed) < 1+secretMark || sealed[0] != keyringVersion {
		return "", false
	}
	for _, secret := range k.secrets {
		if bytes.Equal(sealed[1:1+secretMark], derive([]byte(secret), purposeMark, secretMark)) {
			return secret, true
		}
	}
	return "", false
}

// changed notes how an attempt at what is sealed came out, and reports whether that is
// new: tokens come by the thousand, and a log line for each would bury the first.
func (k *keyring) changed(of string, err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.failed[of]
	if err == nil {
		delete(k.failed, of)
		return before != nil
	}
	k.failed[of] = err
	return before == nil || before.Error() != err.Error()
}

// reseal returns the keyring sealed under the first secret, nil when it already is.
func (k *keyring) reseal(sealed []byte) ([]byte, error) {
	if secret, ok := k.sealedUnder(sealed); ok && secret == k.secrets[0] {
		return nil, nil
	}
	key, err := k.open(sealed)
	if err != nil {
		return nil, err
	}
	return k.sealKey(key)
}

// derive returns length bytes that the secret determines for a purpose.
func derive(secret []byte, purpose string, length int) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, length)
	if err != nil {
		panic(fmt.Sprintf("node: derive %s: %v", purpose, err)) // only for lengths over 8160
	}
	return key
}

// seal appends a value to dst, sealed for a purpose.
func seal(dst, key, value []byte, purpose string) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	nonce := make([]byte, gcm.NonceSize())
	_, _ = rand.Read(nonce)
	return gcm.Seal(append(dst, nonce...), nonce, value, []byte(purpose)), nil
}

// unseal returns a value that was sealed for a purpose.
func unseal(key, sealed []byte, purpose string) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	if len(sealed) < gcm.NonceSize() {
		return nil, errors.New("unseal: truncated")
	}
	value, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	return value, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// signingPurpose binds a sealed signing secret to its key.
func signingPurpose(keyID string) string { return "signing secret of " + keyID }

// SigningSecret implements gateway.Broker.
func (n *Node) SigningSecret(keyID string) ([]byte, bool) {
	key, ok := n.state.Key(keyID)
	if !ok || len(key.Signing) == 0 {
		return nil, false
	}
	kek, ok := n.sealingKey()
	if !ok {
		return nil, false
	}
	secret, err := unseal(kek, key.Signing, signingPurpose(keyID))
	if n.keyring.changed(keyID, err) {
		n.logSealed("tokens of the key", err, "key", keyID)
	}
	return secret, err == nil
}

// ConsoleSecret implements gateway.Broker.
func (n *Node) ConsoleSecret() []byte {
	kek, ok := n.sealingKey()
	if !ok {
		return nil
	}
	return derive(kek, purposeConsole, 32)
}

// sealingKey returns the cluster's key-encryption key.
func (n *Node) sealingKey() (kek []byte, ok bool) {
	kek, err := n.keyring.open(n.state.Keyring())
	if n.keyring.changed(purposeKeyring, err) {
		n.logSealed("tokens", err)
	}
	return kek, err == nil
}

func (n *Node) logSealed(what string, err error, args ...any) {
	if err != nil {
		n.log.Error("cannot verify "+what, append(args, "err", err)...)
		return
	}
	n.log.Info("can verify "+what+" again", args...)
}

// sign gives a new server key its signing secret.
func (n *Node) sign(key *gateway.IssuedKey, sealedKeyring []byte) error {
	kek, err := n.keyring.open(sealedKeyring)
	if err != nil {
		return err
	}
	key.SigningSecret = gateway.NewSigningSecret()
	key.Signing, err = seal(nil, kek, []byte(key.SigningSecret), signingPurpose(key.ID))
	return err
}
