package fsm

// Project owns keys and channels. Channel names of two projects never meet.
type Project struct {
	ID                 string
	Name               string
	AllowedOrigins     []string
	AllowNativeClients bool   // clients that send no Origin
	Rules              []Rule // opOf match wins; DefaultRule is implied at the end
	Access             Access // matches public keys
	Quotas             Quotas
	CreatedAt          int64 // Unix ms

	// FirstOffset is what the first message of a channel gets that is made from now on;
	// 0 stands for 1. It only grows: it is above the head of every channel that was
	// forgotten.
	FirstOffset uint64
}

// MaxFirstOffset bounds FirstOffset so that no offset comes near the largest number
// that every client represents exactly.
const MaxFirstOffset = 1_000_000_000_000_000

// newHead returns the head of a channel of the project that has never had a message.
func (p *project) newHead() head {
	first := max(p.FirstOffset, 1)
	return head{offset: first - 1, floor: first, version: p.version}
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
