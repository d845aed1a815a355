package fsm

// Project owns keys and channels. Projects share no channels.
type Project struct {
	ID                 string
	Name               string
	AllowedOrigins     []string
	AllowNativeClients bool   // allow clients that send no Origin
	Rules              []Rule // first match wins; DefaultRule is implied at the end
	Access             Access // of public keys
	Quotas             Quotas
	CreatedAt          int64 // Unix ms

	// FirstOffset is the first offset of channels made from now on; 0 stands for 1. It only
	// grows, and is above the head of every forgotten channel.
	FirstOffset uint64
}

// MaxFirstOffset keeps offsets far below the largest number that every client represents
// exactly.
const MaxFirstOffset = 1_000_000_000_000_000

// newHead returns the head of a channel of the project without messages.
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
