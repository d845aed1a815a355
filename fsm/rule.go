package fsm

import "time"

// Durability is the condition for acknowledging a publish.
type Durability string

// With DurabilityQuorum a majority has the message in its synced logs. With
// DurabilityMemory it is never logged: it has offset 0 and reaches present subscribers only.
const (
	DurabilityQuorum Durability = "quorum"
	DurabilityMemory Durability = "memory"
)

// Initial is the replay for a subscriber without an offset.
type Initial struct {
	All  bool // everything retained
	Last int  // otherwise the last so many messages; 0 follows live only
}

// Rule says how the channels whose name matches Pattern are kept.
type Rule struct {
	Pattern      string        // exact name, or a prefix followed by one "*"
	KeepMessages int           // retained messages per channel
	KeepFor      time.Duration // retained age by the cluster's stamp
	KeepBytes    int64         // retained payload bytes per channel; 0 means no bound
	Initial      Initial
	Durability   Durability
	Presence     Presence // since level 2
}

// DefaultRule governs every channel that no rule of its project matches.
var DefaultRule = Rule{
	Pattern:      "*",
	KeepMessages: 1000,
	KeepFor:      24 * time.Hour,
	Initial:      Initial{All: true},
	Durability:   DurabilityQuorum,
}

// Matches reports whether the rule governs the channel name.
func (r Rule) Matches(channel string) bool { return MatchesPattern(r.Pattern, channel) }
