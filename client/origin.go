package client

import (
	"context"
	"net/http"
)

// OriginCheck says what rules for origins mean.
type OriginCheck struct {
	Rules   []OriginRule `json:"rules"`
	Allowed bool         `json:"allowed"`
	Matched string       `json:"matched"` // the rule that allows the origin, "" for none
	Reason  string       `json:"reason"`
	Note    string       `json:"note"` // what to know of an origin that is no web site's, "" for nothing
}

// OriginRule is one rule of an OriginCheck.
type OriginRule struct {
	Rule  string `json:"rule"` // as it would be stored, where it is valid
	Valid bool   `json:"valid"`
	Error string `json:"error,omitempty"`
}

// CheckOrigin asks whether rules would let an origin in, "" being a client
// without one. It changes nothing.
func (a *Admin) CheckOrigin(ctx context.Context, rules []string, allowNativeClients bool,
	origin string,
) (OriginCheck, error) {
	body := struct {
		Rules              []string `json:"rules"`
		AllowNativeClients bool     `json:"allowNativeClients"`
		Origin             string   `json:"origin"`
	}{append([]string{}, rules...), allowNativeClients, origin}
	return request[OriginCheck](ctx, a, call{method: http.MethodPost, path: "/origins/check", body: body})
}
