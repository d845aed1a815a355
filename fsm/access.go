package fsm

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// Access holds the rights of a bare public key of a project. Server keys may do everything;
// a token has the rights that it names.
type Access struct {
	// Subscribe holds patterns of channels that the key may subscribe to. Nil means all
	// channels, an empty list none.
	Subscribe []string
	// Publish holds the grants to publish; the first that matches counts.
	Publish []PublishGrant
	// Presence and Members hold patterns of channels that the key may be a member of, and of
	// those whose members it may see. Since level 2.
	Presence, Members []string
}

// PublishGrant lets public keys publish to the channels that match Pattern.
type PublishGrant struct {
	Pattern string  // exact name, or a prefix followed by one "*"
	Rate    float64 // messages per second and connection
	Burst   int     // messages that may come at once
}

// MaySubscribe reports whether a public key may subscribe to a channel.
func (a Access) MaySubscribe(channel string) bool {
	return a.Subscribe == nil || allows(a.Subscribe, channel)
}

// MayEnter reports whether a public key may be a member of a channel.
func (a Access) MayEnter(channel string) bool { return allows(a.Presence, channel) }

// MaySeeMembers reports whether a public key may see the members of a channel.
func (a Access) MaySeeMembers(channel string) bool { return allows(a.Members, channel) }

// allows reports whether one of the patterns matches a channel.
func allows(patterns []string, channel string) bool {
	for _, pattern := range patterns {
		if MatchesPattern(pattern, channel) {
			return true
		}
	}
	return false
}

// PublishGrant returns the grant under which a public key may publish to a channel, if
// there is one.
func (a Access) PublishGrant(channel string) (PublishGrant, bool) {
	for _, grant := range a.Publish {
		if MatchesPattern(grant.Pattern, channel) {
			return grant, true
		}
	}
	return PublishGrant{}, false
}

// MatchesPattern reports whether a channel name matches a pattern: an exact name,
// or a prefix followed by one "*".
func MatchesPattern(pattern, channel string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(channel, prefix)
	}
	return channel == pattern
}

// Quotas bound a project's use of the whole cluster. 0 means no bound.
type Quotas struct {
	Connections   int     // live at once
	Channels      int     // ever published to
	PublishRate   float64 // messages per second
	Subscriptions int     // of all connections together; since level 2
	Members       int     // of all channels together, 0 for DefaultMembers; since level 2
}

// Shared reports whether a quota bounds the use of all nodes together.
func (q Quotas) Shared() bool { return q.Connections > 0 || q.PublishRate > 0 || q.Subscriptions > 0 }

func (a *Access) check() *refusal {
	for _, grant := range a.Publish {
		if !countable(grant.Rate) || grant.Burst < 0 {
			return refuse(codeInvalid, "rate %v, burst %d of pattern %q", grant.Rate, grant.Burst, grant.Pattern)
		}
	}
	return nil
}

func (q *Quotas) check() *refusal {
	if q.Connections < 0 || q.Channels < 0 || !countable(q.PublishRate) || q.Subscriptions < 0 ||
		q.Members < 0 {
		return refuse(codeInvalid, "quotas of %d connections, %d channels, %v messages per second, %d subscriptions, %d "+
			"members",
			q.Connections, q.Channels, q.PublishRate, q.Subscriptions, q.Members)
	}
	return nil
}

// countable reports whether f is finite and not negative.
func countable(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }

func appendAccess(dst []byte, a *Access) []byte {
	if dst = wire.AppendBool(dst, a.Subscribe != nil); a.Subscribe != nil {
		dst = appendStrings(dst, a.Subscribe)
	}
	dst = binary.AppendUvarint(dst, uint64(len(a.Publish)))
	for _, grant := range a.Publish {
		dst = wire.AppendBytes(dst, grant.Pattern)
		dst = appendFloat(dst, grant.Rate)
		dst = binary.AppendVarint(dst, int64(grant.Burst))
	}
	return dst
}

func (d *decoder) access() Access {
	var a Access
	if d.Bool() {
		if a.Subscribe = d.strings(); a.Subscribe == nil {
			a.Subscribe = []string{}
		}
	}
	for n := d.Count(); n > 0 && d.Err == nil; n-- {
		a.Publish = append(a.Publish, PublishGrant{d.string(), d.float(), d.integer()})
	}
	return a
}

// appendQuotas appends the quotas of level 1.
func appendQuotas(dst []byte, q *Quotas) []byte {
	dst = binary.AppendVarint(dst, int64(q.Connections))
	dst = binary.AppendVarint(dst, int64(q.Channels))
	return appendFloat(dst, q.PublishRate)
}

func (d *decoder) quotas() Quotas {
	return Quotas{Connections: d.integer(), Channels: d.integer(), PublishRate: d.float()}
}
