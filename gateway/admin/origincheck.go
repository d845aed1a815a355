package admin

import (
	"fmt"
	"net/http"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/origin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// originCheckAnswer says which rules are well formed, and whether these would allow an
// origin.
type originCheckAnswer struct {
	Rules   []originRuleCheck `json:"rules"`
	Allowed bool              `json:"allowed"`
	Matched string            `json:"matched"` // the rule that allows the origin, "" for none
	Reason  string            `json:"reason"`
	Note    string            `json:"note,omitempty"` // advice about an origin other than a web site's
}

type originRuleCheck struct {
	Rule  string `json:"rule"` // in the form in which it would be stored, where it is valid
	Valid bool   `json:"valid"`
	Error string `json:"error,omitempty"`
}

var originCheckShape = strictjson.Shape{Strict: true, Names: []string{"rules", "allowNativeClients", "origin"}}

// checkOrigin serves POST /origins/check. The rules need not be stored, and nothing is
// changed.
func (h *Handler) checkOrigin(r *http.Request) (int, any, error) {
	var values [3][]byte
	if err := h.body(r, &originCheckShape, values[:]); err != nil {
		return 0, nil, err
	}
	rules, err := parseStrings(values[0], auth.MaxOrigins)
	if err != nil {
		return 0, nil, refusal.New(refusal.InvalidMessage, "rules: "+err.Error())
	}
	header := ""
	if values[2] != nil {
		var ok bool
		if header, ok = strictjson.Unquote(values[2]); !ok {
			return 0, nil, refusal.New(refusal.InvalidMessage, "origin is not a string")
		}
	}
	answer := originCheckAnswer{Rules: make([]originRuleCheck, len(rules))}
	var valid []string
	for i, rule := range rules {
		stored, err := origin.Canonical(rule)
		if err != nil {
			answer.Rules[i] = originRuleCheck{Rule: rule, Error: err.Error()}
			continue
		}
		answer.Rules[i] = originRuleCheck{Rule: stored, Valid: true}
		valid = append(valid, stored)
	}
	verdict := origin.Judge(valid, string(values[1]) == "true", header, h.cfg.Proxies.RequestHost(r))
	answer.Allowed, answer.Matched, answer.Reason = verdict.Allowed, verdict.Matched, verdict.Reason
	answer.Note = origin.Note(header)
	return http.StatusOK, answer, nil
}

// parseStrings reads a list of at most most strings.
func parseStrings(raw []byte, most int) ([]string, error) {
	list := []string{}
	if raw == nil {
		return list, nil
	}
	err := strictjson.ScanArray(raw, strictjson.MaxNesting, func(raw []byte) error {
		text, ok := strictjson.Unquote(raw)
		if !ok {
			return fmt.Errorf("not a string")
		}
		if len(list) == most {
			return fmt.Errorf("more than %d", most)
		}
		list = append(list, text)
		return nil
	})
	return list, err
}
