package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Commands, results and stored records are made of the same few parts: uvarints
// and zigzag varints (encoding/binary), strings as a uvarint length and bytes,
// booleans as one byte, floats as eight (IEEE 754, big endian), lists as a uvarint count and their elements.

var errTruncated = errors.New("truncated")

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendString(dst, s)
	}
	return dst
}

func appendFloat(dst []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
}

// decoder reads the parts one after another. The first failure sticks; what is
// read after it is zero.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.rest = nil
}

// finish returns the first failure, or an error when bytes are left.
func (d *decoder) finish() error {
	if d.err == nil && len(d.rest) > 0 {
		return fmt.Errorf("%d bytes left over", len(d.rest))
	}
	return d.err
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail(errTruncated)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail(errTruncated)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) integer() int { return int(d.varint()) }

// fixed returns the next n bytes, which alias the input.
func (d *decoder) fixed(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail(errTruncated)
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// bytes returns the next string as bytes that alias the input.
func (d *decoder) bytes() []byte { return d.fixed(d.uvarint()) }

// blob returns a copy of the next bytes, nil when there are none.
func (d *decoder) blob() []byte { return append([]byte(nil), d.bytes()...) }

func (d *decoder) float() float64 {
	return math.Float64frombits(d.uint64())
}

func (d *decoder) uint64() uint64 {
	b := d.fixed(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (d *decoder) string() string { return string(d.bytes()) }

func (d *decoder) byte() byte {
	if b := d.fixed(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	switch d.byte() {
	case 0:
	case 1:
		return true
	default:
		d.fail(errors.New("boolean out of range"))
	}
	return false
}

// count returns the length of a list, each element of which takes at least one
// byte, so that a wrong count cannot ask for memory that is not there.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail(errTruncated)
		return 0
	}
	return int(n)
}

func (d *decoder) strings() []string {
	n := d.count()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = d.string()
	}
	return list
}

func (d *decoder) hash() (h KeyHash) {
	copy(h[:], d.fixed(uint64(len(h))))
	return h
}

func appendRule(dst []byte, r Rule) []byte {
	dst = appendString(dst, r.Pattern)
	dst = binary.AppendVarint(dst, int64(r.KeepMessages))
	dst = binary.AppendVarint(dst, r.KeepFor.Milliseconds())
	dst = binary.AppendVarint(dst, r.KeepBytes)
	dst = appendBool(dst, r.Initial.All)
	dst = binary.AppendVarint(dst, int64(r.Initial.Last))
	return appendString(dst, string(r.Durability))
}

func (d *decoder) rule() Rule {
	return Rule{
		Pattern:      d.string(),
		KeepMessages: d.integer(),
		KeepFor:      time.Duration(d.varint()) * time.Millisecond,
		KeepBytes:    d.varint(),
		Initial:      Initial{All: d.bool(), Last: d.integer()},
		Durability:   Durability(d.string()),
	}
}

func appendRules(dst []byte, rules []Rule) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(rules)))
	for _, r := range rules {
		dst = appendRule(dst, r)
	}
	return dst
}

func (d *decoder) rules() []Rule {
	n := d.count()
	if n == 0 {
		return nil
	}
	rules := make([]Rule, 0, min(n, 64))
	for i := 0; i < n && d.err == nil; i++ {
		rules = append(rules, d.rule())
	}
	return rules
}

func appendProject(dst []byte, p *Project) []byte {
	dst = appendString(dst, p.ID)
	dst = appendString(dst, p.Name)
	dst = appendStrings(dst, p.AllowedOrigins)
	dst = appendBool(dst, p.AllowNativeClients)
	dst = appendRules(dst, p.Rules)
	dst = appendAccess(dst, &p.Access)
	dst = appendQuotas(dst, &p.Quotas)
	return binary.AppendVarint(dst, p.CreatedAt)
}

func (d *decoder) project() Project {
	return Project{
		ID:                 d.string(),
		Name:               d.string(),
		AllowedOrigins:     d.strings(),
		AllowNativeClients: d.bool(),
		Rules:              d.rules(),
		Access:             d.access(),
		Quotas:             d.quotas(),
		CreatedAt:          d.varint(),
	}
}

func appendKey(dst []byte, k *Key) []byte {
	dst = appendString(dst, k.ID)
	dst = appendString(dst, k.Project)
	dst = appendString(dst, string(k.Kind))
	dst = appendString(dst, k.Name)
	dst = appendString(dst, k.Text)
	dst = appendString(dst, k.Prefix)
	dst = append(dst, k.Hash[:]...)
	dst = binary.AppendVarint(dst, k.CreatedAt)
	dst = binary.AppendVarint(dst, k.ExpiresAt)
	dst = binary.AppendVarint(dst, k.LastUsedAt)
	dst = appendString(dst, k.Replaces)
	return appendBytes(dst, k.Signing)
}

func (d *decoder) key() Key {
	return Key{
		ID:         d.string(),
		Project:    d.string(),
		Kind:       KeyKind(d.string()),
		Name:       d.string(),
		Text:       d.string(),
		Prefix:     d.string(),
		Hash:       d.hash(),
		CreatedAt:  d.varint(),
		ExpiresAt:  d.varint(),
		LastUsedAt: d.varint(),
		Replaces:   d.string(),
		Signing:    d.blob(),
	}
}

// appendStoredKey appends the body of a key's record.
func appendStoredKey(dst []byte, k *Key) []byte {
	dst = appendKey(dst, k)
	if k.Imported { // since level 2
		dst = appendBool(dst, true)
	}
	return dst
}

func (d *decoder) storedKey() Key {
	k := d.key()
	if len(d.rest) > 0 {
		k.Imported = d.bool()
	}
	return k
}

func appendKeys(dst []byte, keys []Key) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(keys)))
	for i := range keys {
		dst = appendKey(dst, &keys[i])
	}
	return dst
}

func (d *decoder) keys() []Key {
	n := d.count()
	if n == 0 {
		return nil
	}
	keys := make([]Key, 0, min(n, 64))
	for i := 0; i < n && d.err == nil; i++ {
		keys = append(keys, d.key())
	}
	return keys
}
