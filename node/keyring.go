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
	"slices"
	"sync"

	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
)

// A keyring is the cluster's key-encryption key: 32 random bytes, made with the cluster. The
// state stores it sealed under the cluster secret:
//
//	byte version 1 | which secret (8) | sealed key
//
// A sealed value is a nonce (12) and the AES-256-GCM ciphertext, with the purpose as
// associated data. HKDF-SHA256 (RFC 5869) of the secret gives the key that seals the keyring
// and the eight bytes that tell secrets apart.
const (
	keyringVersion = 1
	secretMark     = 8

	purposeKeyring = "aptlyd keyring"
	purposeMark    = "aptlyd keyring secret"
	purposeConsole = "console token"
)

// noSecret seals the keyring if there is no cluster secret. It prevents accidental
// disclosure, and does not protect against a reader of the state.
const noSecret = "aptlyd without cluster secret"

// ErrKeyring says that this node lacks the secret that the keyring is sealed under.
var ErrKeyring = errors.New("the cluster's keyring is sealed under a cluster secret that this node does not have")

// keyring opens the cluster's keyring with this node's secrets.
type keyring struct {
	secrets []string // the first seals

	mu     sync.Mutex
	sealed []byte // as last opened
	key    []byte
	failed map[string]error // last logged error of each attempt, until it succeeds
}

func newKeyring(secrets []string) *keyring {
	if len(secrets) == 0 {
		secrets = []string{noSecret}
	} else {
		// Values sealed before the cluster had a secret stay readable.
		secrets = append(slices.Clip(secrets), noSecret)
	}
	return &keyring{secrets: secrets, failed: make(map[string]error)}
}

// make makes a new keyring and returns it sealed.
func (k *keyring) make() (sealed []byte, err error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: the process would end
	return k.sealKey(key)
}

func (k *keyring) sealKey(key []byte) ([]byte, error) {
	secret := k.secrets[0]
	sealed := append([]byte{keyringVersion}, derive([]byte(secret), purposeMark, secretMark)...)
	return seal(sealed, derive([]byte(secret), purposeKeyring, 32), key, purposeKeyring)
}

// open returns the key-encryption key in a sealed keyring. The error is ErrKeyring if it is
// sealed under none of this node's secrets.
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

// sealedUnder returns the secret of this node under which a keyring is sealed.
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

// changed records the outcome of an attempt and reports whether it differs from the last
// one. It keeps thousands of tokens from writing a log line each.
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

// reseal returns the keyring sealed under the first secret, or nil if it already is.
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
func (n *Node) sign(key *admin.IssuedKey, sealedKeyring []byte) error {
	kek, err := n.keyring.open(sealedKeyring)
	if err != nil {
		return err
	}
	key.SigningSecret = auth.NewSigningSecret()
	key.Signing, err = seal(nil, kek, []byte(key.SigningSecret), signingPurpose(key.ID))
	return err
}
