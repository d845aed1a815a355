package fsm

// Project owns keys and channels. Channel names of two projects never meet.
type Project struct {
	ID                 string
	Name               string
	AllowedOrigins     []string
	AllowNativeClients bool   // clients that send no Origin
	Rules              []Rule // first match wins; DefaultRule is implied at the end
	Access             Access // of public keys
	Quotas             Quotas
	CreatedAt          int64 // Unix ms
}

// Rule returns the rule that governs a channel of the project.
func (p *Project) Rule(channel string) Rule {
	for _, r := range p.Rules {
		if r.Matches(channel) {
			return r
		}
	}
	return DefaultRule
}
