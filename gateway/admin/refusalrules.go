package admin

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

const (
	// allRefusals is above what the nodes of a cluster remember.
	allRefusals = 10_000
	// maxRefusalRules bounds the rules in an answer, and maxRefusalSamples what each names.
	maxRefusalRules   = 200
	maxRefusalSamples = 5
)

// refusalRule sums up the refusals of a project for one reason.
type refusalRule struct {
	Project   string         `json:"project"`
	Code      refusal.Code   `json:"code"`
	Reason    string         `json:"reason"`
	Count     int            `json:"count"`
	First     int64          `json:"first"` // Unix ms, of those that nodes remember
	Addresses int            `json:"addresses"`
	Keys      []string       `json:"keys"`     // ids, or beginnings of unknown keys
	Origins   []string       `json:"origins"`  // the first few
	Channels  []string       `json:"channels"` // the first few
	Latest    refusal.Record `json:"latest"`

	addresses map[string]bool
}

// add counts a refusal. They come newest first.
func (rule *refusalRule) add(r *refusal.Record) {
	rule.Count++
	rule.First = r.At
	rule.addresses[r.Address] = true
	rule.Keys = sample(rule.Keys, cmp.Or(r.KeyID, r.KeyPrefix))
	rule.Origins = sample(rule.Origins, r.Origin)
	rule.Channels = sample(rule.Channels, r.Channel)
}

func sample(list []string, text string) []string {
	if text == "" || len(list) == maxRefusalSamples || slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// groupRefusals groups refusals, newest first, by project, code and reason: the most frequent
// first.
func groupRefusals(found []refusal.Record) []*refusalRule {
	type key struct {
		project string
		code    refusal.Code
		reason  string
	}
	byKey := make(map[key]*refusalRule)
	rules := []*refusalRule{}
	for i := range found {
		r := &found[i]
		k := key{r.Project, r.Code, r.Reason}
		rule := byKey[k]
		if rule == nil {
			rule = &refusalRule{
				Project: r.Project, Code: r.Code, Reason: r.Reason, Latest: *r, addresses: make(map[string]bool),
				Keys: []string{}, Origins: []string{}, Channels: []string{},
			}
			byKey[k] = rule
			rules = append(rules, rule)
		}
		rule.add(r)
	}
	slices.SortStableFunc(rules, func(a, b *refusalRule) int { return cmp.Compare(b.Count, a.Count) })
	for _, rule := range rules {
		rule.Addresses = len(rule.addresses)
	}
	return rules
}

// refusalRules serves GET /refusals/rules: the refusals that nodes remember, by rule.
func (h *Handler) refusalRules(r *http.Request) (int, any, error) {
	query := r.URL.Query()
	found, err := h.cfg.Broker.Refusals(r.Context(), refusal.Query{
		Project: query.Get("project"), KeyID: query.Get("key"), Limit: allRefusals,
	})
	if err != nil {
		return 0, nil, err
	}
	rules := groupRefusals(found)
	return http.StatusOK, struct {
		Rules    []*refusalRule `json:"rules"`
		Refusals int            `json:"refusals"`
	}{rules[:min(len(rules), maxRefusalRules)], len(found)}, nil
}
