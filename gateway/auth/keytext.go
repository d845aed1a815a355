package auth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/aptlyd/aptlyd/fsm"
)

// The text of a key is a prefix for its kind and 40 characters of base 62: 34 random ones and
// a checksum over them. The checksum tells a typing error from an unknown key without asking
// the cluster.
//
//	pk_ rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr cccccc
const (
	publicKeyPrefix = "pk_"
	serverKeyPrefix = "sk_"
	keyRandomLen    = 34
	keySumLen       = 6
	keyTextLen      = 3 + keyRandomLen + keySumLen

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewKeyText makes the text of a new key of a kind.
func NewKeyText(kind fsm.KeyKind) string {
	prefix := publicKeyPrefix
	if kind == fsm.ServerKey {
		prefix = serverKeyPrefix
	}
	text := append(make([]byte, 0, keyTextLen), prefix...)
	var buf [64]byte
	for len(text) < len(prefix)+keyRandomLen {
		_, _ = rand.Read(buf[:]) // never fails: the process ends before
		for _, b := range buf {
			// 248 is the largest multiple of 62 in a byte. Larger bytes would make the
			// first characters of the alphabet more likely.
			if b < 248 && len(text) < len(prefix)+keyRandomLen {
				text = append(text, base62[b%62])
			}
		}
	}
	sum := keySum(text[len(prefix):])
	return string(append(text, sum[:]...))
}

// NewSigningSecret makes the secret that signs the tokens of a new server key: "ss_" and 32
// random bytes in base64url. The HMAC key is this whole text.
func NewSigningSecret() string {
	var random [32]byte
	_, _ = rand.Read(random[:])
	return "ss_" + base64.RawURLEncoding.EncodeToString(random[:])
}

var errKeyText = errors.New("not the text of a key")

// CheckKeyText returns an error unless text has the form and the checksum of a key.
func CheckKeyText(text string) error {
	if !looksLikeKey(text) {
		return errKeyText
	}
	random, sum := []byte(text[3:3+keyRandomLen]), text[3+keyRandomLen:]
	if want := keySum(random); sum != string(want[:]) {
		return errKeyText
	}
	return nil
}

// looksLikeKey reports whether text has the shape of a key, with or without the checksum. Keys
// of the hosted service have it, too.
func looksLikeKey(text string) bool {
	if len(text) != keyTextLen || text[:3] != publicKeyPrefix && text[:3] != serverKeyPrefix {
		return false
	}
	for _, c := range []byte(text[3:]) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// ImportKeyText checks the text of a key that was made elsewhere. A key without our checksum
// is reported as imported.
func ImportKeyText(kind fsm.KeyKind, text string) (imported bool, err error) {
	const different = 10 // a random key has more different characters than these
	prefix := publicKeyPrefix
	if kind == fsm.ServerKey {
		prefix = serverKeyPrefix
	}
	if !looksLikeKey(text) || text[:3] != prefix {
		return false, fmt.Errorf("not the text of a %s key: %s and 40 letters and digits", kind, prefix)
	}
	seen := make(map[byte]struct{})
	for _, c := range []byte(text[3:]) {
		seen[c] = struct{}{}
	}
	if len(seen) < different {
		return false, errors.New("too easily guessed to be a key")
	}
	return CheckKeyText(text) != nil, nil
}

// keySum returns the CRC-32 (IEEE) of the random part in base 62, padded to six digits.
func keySum(random []byte) (sum [keySumLen]byte) {
	crc := crc32.ChecksumIEEE(random)
	for i := keySumLen - 1; i >= 0; i-- {
		sum[i] = base62[crc%62]
		crc /= 62
	}
	return sum
}
