package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// Rule says how the channels whose name matches Pattern are kept. In a
// project's list the first match wins.
type Rule struct {
	Pattern      string   `json:"pattern"` // a name, or a prefix followed by "*"
	KeepMessages int      `json:"keepMessages,omitempty"`
	KeepFor      Duration `json:"keepFor,omitempty"`
	KeepBytes    int64    `json:"keepBytes,omitempty"` // of payload; 0 means no bound
	Initial      *Initial `json:"initial,omitempty"`
	Durability   string   `json:"durability,omitempty"` // "quorum" or "memory"
	// Presence gives the channels members; nil for none.
	Presence *PresenceRule `json:"presence,omitempty"`
}

// PresenceRule says how the members of a channel are kept. A field that is nil has its
// default.
type PresenceRule struct {
	Grace      *Duration `json:"grace,omitempty"`      // 10s: for a member whose connection broke to come back
	MaxMembers *int      `json:"maxMembers,omitempty"` // 1000; above it subscribers get numbers
	DataBytes  *int      `json:"dataBytes,omitempty"`  // 1024: the most that the data of a member may have
	Anonymous  bool      `json:"anonymous,omitempty"`  // clients whose token names nobody may enter, too
}

// Duration is a time.Duration that travels as text, such as "24h".
type Duration time.Duration

// String returns the duration as text.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns the duration as text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("parse duration: %w", err)
	}
	*d = Duration(parsed)
	return nil
}

// Initial says what a subscriber gets that brings no offset: everything
// retained, or the last so many messages, of which 0 means live only.
type Initial struct {
	All  bool
	Last int
}

// MarshalJSON returns "all", "live" or {"last":n}.
func (i Initial) MarshalJSON() ([]byte, error) {
	switch {
	case i.All:
		return []byte(`"all"`), nil
	case i.Last == 0:
		return []byte(`"live"`), nil
	}
	return fmt.Appendf(nil, `{"last":%d}`, i.Last), nil
}

// UnmarshalJSON takes what MarshalJSON returns.
func (i *Initial) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case `"all"`:
		*i = Initial{All: true}
		return nil
	case `"live"`:
		*i = Initial{}
		return nil
	}
	var last struct {
		Last *int `json:"last"`
	}
	if err := json.Unmarshal(text, &last); err != nil || last.Last == nil || *last.Last < 0 {
		return fmt.Errorf(`decode initial: %s is neither "all", "live" nor {"last":n}`, text)
	}
	*i = Initial{Last: *last.Last}
	return nil
}
