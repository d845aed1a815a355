package fsm

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/aptlyd/aptlyd/internal/wire"
)

func appendStrings(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = wire.AppendBytes(dst, s)
	}
	return dst
}

func appendFloat(dst []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
}

// decoder reads commands, results and stored records. They are made of the parts of
// package wire, and of floats as eight bytes (IEEE 754, big endian).
type decoder struct{ wire.Reader }

func (d *decoder) integer() int { return int(d.Varint()) }

// blob returns a copy of the next bytes, nil if there are none.
func (d *decoder) blob() []byte { return append([]byte(nil), d.Bytes()...) }

func (d *decoder) float() float64 {
	return math.Float64frombits(d.Uint64())
}

func (d *decoder) string() string { return string(d.Bytes()) }

func (d *decoder) strings() []string {
	n := d.Count()
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
	copy(h[:], d.Fixed(uint64(len(h))))
	return h
}

func appendRule(dst []byte, r Rule) []byte {
	dst = wire.AppendBytes(dst, r.Pattern)
	dst = binary.AppendVarint(dst, int64(r.KeepMessages))
	dst = binary.AppendVarint(dst, r.KeepFor.Milliseconds())
	dst = binary.AppendVarint(dst, r.KeepBytes)
	dst = wire.AppendBool(dst, r.Initial.All)
	dst = binary.AppendVarint(dst, int64(r.Initial.Last))
	return wire.AppendBytes(dst, string(r.Durability))
}

func (d *decoder) rule() Rule {
	return Rule{
		Pattern:      d.string(),
		KeepMessages: d.integer(),
		KeepFor:      time.Duration(d.Varint()) * time.Millisecond,
		KeepBytes:    d.Varint(),
		Initial:      Initial{All: d.Bool(), Last: d.integer()},
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
	n := d.Count()
	if n == 0 {
		return nil
	}
	rules := make([]Rule, 0, min(n, 64))
	for i := 0; i < n && d.Err == nil; i++ {
		rules = append(rules, d.rule())
	}
	return rules
}

func appendProject(dst []byte, p *Project) []byte {
	dst = wire.AppendBytes(dst, p.ID)
	dst = wire.AppendBytes(dst, p.Name)
	dst = appendStrings(dst, p.AllowedOrigins)
	dst = wire.AppendBool(dst, p.AllowNativeClients)
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
		AllowNativeClients: d.Bool(),
		Rules:              d.rules(),
		Access:             d.access(),
		Quotas:             d.quotas(),
		CreatedAt:          d.Varint(),
	}
}

func appendKey(dst []byte, k *Key) []byte {
	dst = wire.AppendBytes(dst, k.ID)
	dst = wire.AppendBytes(dst, k.Project)
	dst = wire.AppendBytes(dst, string(k.Kind))
	dst = wire.AppendBytes(dst, k.Name)
	dst = wire.AppendBytes(dst, k.Text)
	dst = wire.AppendBytes(dst, k.Prefix)
	dst = append(dst, k.Hash[:]...)
	dst = binary.AppendVarint(dst, k.CreatedAt)
	dst = binary.AppendVarint(dst, k.ExpiresAt)
	dst = binary.AppendVarint(dst, k.LastUsedAt)
	dst = wire.AppendBytes(dst, k.Replaces)
	return wire.AppendBytes(dst, k.Signing)
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
		CreatedAt:  d.Varint(),
		ExpiresAt:  d.Varint(),
		LastUsedAt: d.Varint(),
		Replaces:   d.string(),
		Signing:    d.blob(),
	}
}

// appendStoredKey appends the body of a key's record.
func appendStoredKey(dst []byte, k *Key) []byte {
	dst = appendKey(dst, k)
	if k.Imported { // since level 2
		dst = wire.AppendBool(dst, true)
	}
	return dst
}

func (d *decoder) storedKey() Key {
	k := d.key()
	if len(d.Rest) > 0 {
		k.Imported = d.Bool()
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
	n := d.Count()
	if n == 0 {
		return nil
	}
	keys := make([]Key, 0, min(n, 64))
	for i := 0; i < n && d.Err == nil; i++ {
		keys = append(keys, d.key())
	}
	return keys
}
