package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

const (
	maxRules    = 100
	maxKeep     = 1_000_000_000
	maxDuration = 100 * 365 * 24 * time.Hour
)

// ruleJSON is a rule as the admin API shows it.
type ruleJSON struct {
	Pattern      string         `json:"pattern"`
	KeepMessages int            `json:"keepMessages"`
	KeepFor      string         `json:"keepFor"`
	KeepBytes    int64          `json:"keepBytes"`
	Initial      any            `json:"initial"`
	Durability   fsm.Durability `json:"durability"`
	Presence     *presenceJSON  `json:"presence,omitempty"` // nil where it is off
}

type presenceJSON struct {
	Grace      string `json:"grace"`
	MaxMembers int    `json:"maxMembers"`
	DataBytes  int    `json:"dataBytes"`
	Anonymous  bool   `json:"anonymous"`
}

func showPresence(p fsm.Presence) *presenceJSON {
	if !p.On() {
		return nil
	}
	return &presenceJSON{showDuration(p.Grace), p.MaxMembers, p.DataBytes, p.Anonymous}
}

func showRules(rules []fsm.Rule) []ruleJSON {
	shown := make([]ruleJSON, len(rules))
	for i, r := range rules {
		shown[i] = ruleJSON{
			r.Pattern, r.KeepMessages, showDuration(r.KeepFor), r.KeepBytes, showInitial(r.Initial), r.Durability,
			showPresence(r.Presence),
		}
	}
	return shown
}

func showInitial(i fsm.Initial) any {
	switch {
	case i.All:
		return "all"
	case i.Last > 0:
		return map[string]int{"last": i.Last}
	}
	return "live"
}

// showDuration returns a duration as text, without the units that are zero: "24h".
func showDuration(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if rest, found := strings.CutSuffix(text, zero); found {
			text = rest + zero[:1]
		}
	}
	return text
}

var (
	ruleShape = strictjson.Shape{Strict: true, Names: []string{
		"pattern", "keepMessages", "keepFor", "keepBytes", "initial", "durability", "presence",
	}}
	presenceShape = strictjson.Shape{Strict: true, Names: []string{"grace", "maxMembers", "dataBytes", "anonymous"}}
	lastShape     = strictjson.Shape{Strict: true, Names: []string{"last"}}
)

// parseRules reads the rules of a project. A field that a rule leaves out is as in the default
// rule.
func parseRules(raw []byte) ([]fsm.Rule, error) {
	rules := []fsm.Rule{}
	err := strictjson.ScanArray(raw, strictjson.MaxNesting, func(raw []byte) error {
		if len(rules) == maxRules {
			return fmt.Errorf("more than %d rules", maxRules)
		}
		rule, err := parseRule(raw)
		if err != nil {
			return fmt.Errorf("rule %d: %w", len(rules)+1, err)
		}
		rules = append(rules, rule)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return rules, nil
}

func parseRule(raw []byte) (fsm.Rule, error) {
	var values [7][]byte
	if err := ruleShape.Scan(raw, strictjson.MaxNesting, values[:]); err != nil {
		return fsm.Rule{}, err
	}
	rule := fsm.DefaultRule
	var err error
	if rule.Pattern, err = parsePatternName(values[0]); err != nil {
		return rule, err
	}
	if values[1] != nil {
		n, ok := strictjson.WholeNumber(values[1])
		if !ok || n < 1 || n > maxKeep {
			return rule, fmt.Errorf("keepMessages is not a whole number from 1 to %d", maxKeep)
		}
		rule.KeepMessages = int(n)
	}
	if values[2] != nil {
		if rule.KeepFor, err = parseDuration(values[2]); err != nil || rule.KeepFor < time.Second {
			return rule, fmt.Errorf(`keepFor is not a duration of a second or more, such as "24h"`)
		}
	}
	if values[3] != nil {
		n, ok := strictjson.WholeNumber(values[3])
		if !ok {
			return rule, fmt.Errorf("keepBytes is not a whole number")
		}
		rule.KeepBytes = int64(n)
	}
	if values[4] != nil {
		if rule.Initial, err = parseInitial(values[4]); err != nil {
			return rule, err
		}
	}
	if values[5] != nil {
		text, _ := strictjson.Unquote(values[5])
		rule.Durability = fsm.Durability(text)
		if rule.Durability != fsm.DurabilityQuorum && rule.Durability != fsm.DurabilityMemory {
			return rule, fmt.Errorf(`durability is neither "quorum" nor "memory"`)
		}
	}
	if raw := values[6]; raw != nil && !strictjson.IsNull(raw) {
		if rule.Presence, err = parsePresence(raw); err != nil {
			return rule, fmt.Errorf("presence: %w", err)
		}
	}
	return rule, nil
}

// parsePresence reads how the members of a channel are kept. A field that is left out has its
// default.
func parsePresence(raw []byte) (fsm.Presence, error) {
	p := fsm.DefaultPresence
	var values [4][]byte
	err := presenceShape.Scan(raw, strictjson.MaxNesting, values[:])
	if err != nil {
		return p, err
	}
	if values[0] != nil {
		if p.Grace, err = parseOverlap(values[0]); err != nil || p.Grace > fsm.MaxPresenceGrace {
			return p, fmt.Errorf(`grace is not a duration up to %s, such as "10s"`, showDuration(fsm.MaxPresenceGrace))
		}
	}
	for i, field := range []struct {
		at          *int
		least, most int
	}{1: {&p.MaxMembers, 1, fsm.MaxPresenceMembers}, 2: {&p.DataBytes, 0, fsm.MaxPresenceDataBytes}} {
		if field.at == nil || values[i] == nil {
			continue
		}
		n, ok := strictjson.WholeNumber(values[i])
		if !ok || n < uint64(field.least) || n > uint64(field.most) {
			return p, fmt.Errorf("%s is not a whole number from %d to %d", presenceShape.Names[i], field.least, field.most)
		}
		*field.at = int(n)
	}
	if values[3] != nil {
		p.Anonymous = string(values[3]) == "true"
		if !p.Anonymous && string(values[3]) != "false" {
			return p, fmt.Errorf("anonymous is neither true nor false")
		}
	}
	return p, nil
}

func parsePatternName(raw []byte) (string, error) {
	pattern, ok := strictjson.Unquote(raw)
	if !ok {
		return "", fmt.Errorf("pattern is not a string")
	}
	return pattern, auth.CheckPattern(pattern)
}

func parseInitial(raw []byte) (fsm.Initial, error) {
	switch word, _ := strictjson.Unquote(raw); word {
	case "all":
		return fsm.Initial{All: true}, nil
	case "live":
		return fsm.Initial{}, nil
	}
	var values [1][]byte
	if err := lastShape.Scan(raw, 0, values[:]); err == nil {
		if n, ok := strictjson.WholeNumber(values[0]); ok && n >= 1 && n <= maxKeep {
			return fsm.Initial{Last: int(n)}, nil
		}
	}
	return fsm.Initial{}, fmt.Errorf(`initial is none of "all", "live", {"last":N}`)
}

func parseDuration(raw []byte) (time.Duration, error) {
	text, ok := strictjson.Unquote(raw)
	if !ok {
		return 0, fmt.Errorf(`not a duration such as "24h"`)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxDuration {
		return 0, fmt.Errorf(`not a duration such as "24h"`)
	}
	return d, nil
}
