package admin

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

const (
	maxPatterns = 100 // of each list in a project's access
	maxQuota    = 1_000_000_000
)

// accessJSON has the rights of a project's public keys as the admin API shows them.
type accessJSON struct {
	Subscribe []string    `json:"subscribe"`
	Publish   []grantJSON `json:"publish"`
	Presence  []string    `json:"presence"`
	Members   []string    `json:"members"`
}

type grantJSON struct {
	Pattern string  `json:"pattern"`
	Rate    float64 `json:"rate"`
	Burst   int     `json:"burst"`
}

type quotasJSON struct {
	Connections   int     `json:"connections"`
	Channels      int     `json:"channels"`
	PublishRate   float64 `json:"publishRate"`
	Subscriptions int     `json:"subscriptions"`
	Members       int     `json:"members"`
}

func showAccess(a fsm.Access) accessJSON {
	shown := accessJSON{a.Subscribe, make([]grantJSON, len(a.Publish)), a.Presence, a.Members}
	for _, list := range []*[]string{&shown.Presence, &shown.Members} {
		if *list == nil {
			*list = []string{}
		}
	}
	if a.Subscribe == nil {
		shown.Subscribe = []string{"*"}
	}
	for i, grant := range a.Publish {
		shown.Publish[i] = grantJSON(grant)
	}
	return shown
}

var (
	accessShape = strictjson.Shape{Strict: true, Names: []string{"subscribe", "publish", "presence", "members"}}
	grantShape  = strictjson.Shape{Strict: true, Names: []string{"pattern", "rate", "burst"}}
	quotasShape = strictjson.Shape{Strict: true, Names: []string{
		"connections", "channels", "publishRate", "subscriptions", "members",
	}}
)

// parseAccess reads the rights of public keys. Rights that are left out are as in a new
// project: subscribe to everything, publish nothing, neither be a member nor see any.
func parseAccess(raw []byte) (fsm.Access, error) {
	var access fsm.Access
	var values [4][]byte
	if err := accessShape.Scan(raw, strictjson.MaxNesting, values[:]); err != nil {
		return access, fmt.Errorf("access: %w", err)
	}
	for i, list := range []*[]string{&access.Subscribe, nil, &access.Presence, &access.Members} {
		if list == nil || values[i] == nil {
			continue
		}
		*list = []string{}
		err := scanList(values[i], maxPatterns, func(raw []byte) error {
			pattern, err := parsePatternName(raw)
			*list = append(*list, pattern)
			return err
		})
		if err != nil {
			return access, fmt.Errorf("access: %s: %w", accessShape.Names[i], err)
		}
	}
	if values[1] != nil {
		err := scanList(values[1], maxPatterns, func(raw []byte) error {
			grant, err := parseGrant(raw)
			access.Publish = append(access.Publish, grant)
			return err
		})
		if err != nil {
			return access, fmt.Errorf("access: publish: %w", err)
		}
	}
	return access, nil
}

// parseGrant reads one element of publish. A burst that is left out is one second of the
// rate.
func parseGrant(raw []byte) (fsm.PublishGrant, error) {
	var grant fsm.PublishGrant
	var values [3][]byte
	err := grantShape.Scan(raw, strictjson.MaxNesting, values[:])
	if err != nil {
		return grant, err
	}
	if grant.Pattern, err = parsePatternName(values[0]); err != nil {
		return grant, err
	}
	var ok bool
	if grant.Rate, ok = quantity(values[1]); !ok || grant.Rate == 0 {
		return grant, fmt.Errorf("rate is not a number above 0 and up to %d", maxQuota)
	}
	grant.Burst = int(math.Ceil(grant.Rate))
	if values[2] != nil {
		n, ok := strictjson.WholeNumber(values[2])
		if !ok || n < 1 || n > maxQuota {
			return grant, fmt.Errorf("burst is not a whole number from 1 to %d", maxQuota)
		}
		grant.Burst = int(n)
	}
	return grant, nil
}

// parseQuotas reads quotas. A quota that is left out is 0, which sets no bound; that of members
// is the default then.
func parseQuotas(raw []byte) (fsm.Quotas, error) {
	var quotas fsm.Quotas
	var values [5][]byte
	if err := quotasShape.Scan(raw, strictjson.MaxNesting, values[:]); err != nil {
		return quotas, fmt.Errorf("quotas: %w", err)
	}
	for i, quota := range []*int{&quotas.Connections, &quotas.Channels, nil, &quotas.Subscriptions, &quotas.Members} {
		if quota == nil || values[i] == nil {
			continue
		}
		n, ok := strictjson.WholeNumber(values[i])
		if !ok || n > maxQuota {
			return quotas, fmt.Errorf("quotas: %s is not a whole number from 0 to %d", quotasShape.Names[i], maxQuota)
		}
		*quota = int(n)
	}
	if values[2] != nil {
		var ok bool
		if quotas.PublishRate, ok = quantity(values[2]); !ok {
			return quotas, fmt.Errorf("quotas: publishRate is not a number from 0 to %d", maxQuota)
		}
	}
	return quotas, nil
}

// quantity reads a number from 0 to maxQuota.
func quantity(raw []byte) (float64, bool) {
	var n float64
	if raw == nil || strictjson.IsNull(raw) || json.Unmarshal(raw, &n) != nil {
		return 0, false
	}
	return math.Abs(n), n >= 0 && n <= maxQuota // -0 is 0, and is shown as such
}

// scanList calls each for every element of a list of at most limit.
func scanList(raw []byte, limit int, each func(raw []byte) error) error {
	count := 0
	return strictjson.ScanArray(raw, strictjson.MaxNesting, func(raw []byte) error {
		if count++; count > limit {
			return fmt.Errorf("more than %d", limit)
		}
		return each(raw)
	})
}
