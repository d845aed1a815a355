package bench

import (
	"crypto/rand"
	"hash/crc32"
)

// base62 is the alphabet of keys.
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newKey makes a key with the prefix "pk_" or "sk_": 34 random characters and
// their CRC-32 in six digits of base 62.
func newKey(prefix string) string {
	random := (rand.Text() + rand.Text())[:34]
	return prefix + random + keySum([]byte(random))
}

func keySum(random []byte) string {
	var sum [6]byte
	rest := crc32.ChecksumIEEE(random)
	for i := len(sum) - 1; i >= 0; i-- {
		sum[i] = base62[rest%62]
		rest /= 62
	}
	return string(sum[:])
}
