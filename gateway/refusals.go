package gateway

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// RefusalRecord is one refusal as an operator sees it. What is not known is
// empty; what a client has sent is cut to 256 bytes.
type RefusalRecord struct {
	At        int64  `json:"at"`  // Unix ms, by the node's own clock
	Seq       uint64 `json:"seq"` // counts the refusals of one run of the node
	Node      string `json:"node"`
	Via       string `json:"via"` // "ws", "rest", "admin" or "handshake"
	Code      Code   `json:"code"`
	Reason    string `json:"reason"` // what the client was told
	Detail    string `json:"detail"` // the rule that refused, in full
	Address   string `json:"address"`
	Origin    string `json:"origin"`
	KeyID     string `json:"keyId"`
	KeyPrefix string `json:"keyPrefix"`
	Project   string `json:"project"`
	Channel   string `json:"channel"`
	Action    string `json:"action"`
}

// RefusalQuery asks for refusals, newest first. An empty field matches all.
type RefusalQuery struct {
	Project string `json:"project,omitempty"`
	KeyID   string `json:"key,omitempty"`
	Code    Code   `json:"code,omitempty"`
	Cursor  string `json:"cursor,omitempty"` // only what comes after this record's Cursor
	Limit   int    `json:"limit"`
}

// Cursor is the record's place in the list of all nodes' refusals.
func (r *RefusalRecord) Cursor() string { return fmt.Sprintf("%d.%d.%s", r.At, r.Seq, r.Node) }

// CompareRefusals orders records newest first, in one order on every node.
func CompareRefusals(a, b RefusalRecord) int {
	return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Node, b.Node), cmp.Compare(b.Seq, a.Seq))
}

// parseRefusalCursor reads what RefusalRecord.Cursor has written.
func parseRefusalCursor(text string) (RefusalRecord, error) {
	var r RefusalRecord
	if n, err := fmt.Sscanf(text, "%d.%d.%s", &r.At, &r.Seq, &r.Node); err != nil || n != 3 || r.Cursor() != text {
		return r, Refuse(CodeInvalidMessage, "malformed cursor")
	}
	return r, nil
}

func (q *RefusalQuery) matches(r *RefusalRecord) bool {
	return (q.Project == "" || q.Project == r.Project) &&
		(q.KeyID == "" || q.KeyID == r.KeyID) &&
		(q.Code == "" || q.Code == r.Code)
}

const (
	keptRefusals    = 1000
	maxRecordedText = 256 // bytes of one field
)

// refusals is the last so many refusals of this node. Its memory is bounded, by
// their number and by the length of what is kept of each.
type refusals struct {
	mu   sync.Mutex
	seq  uint64
	ring []RefusalRecord // grows up to its bound, then the oldest is overwritten
}

func (l *refusals) add(r RefusalRecord) {
	for _, text := range []*string{
		&r.Reason, &r.Detail, &r.Address, &r.Origin, &r.KeyID, &r.KeyPrefix, &r.Project, &r.Channel,
	} {
		*text = clip(*text)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Seq = l.seq
	l.seq++
	if len(l.ring) < keptRefusals {
		l.ring = append(l.ring, r)
	} else {
		l.ring[r.Seq%keptRefusals] = r
	}
}

// clip cuts a text that is too long, and lets go of what it was part of.
func clip(text string) string {
	if len(text) <= maxRecordedText {
		return text
	}
	const more = "…"
	cut := maxRecordedText - len(more)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strings.Clone(text[:cut]) + more
}

// Refusals returns the refusals of this node that match, newest first.
func (s *Server) Refusals(q RefusalQuery) ([]RefusalRecord, error) {
	var after *RefusalRecord
	if q.Cursor != "" {
		cursor, err := parseRefusalCursor(q.Cursor)
		if err != nil {
			return nil, err
		}
		after = &cursor
	}
	s.refusals.mu.Lock()
	found := slices.Clone(s.refusals.ring)
	s.refusals.mu.Unlock()
	found = slices.DeleteFunc(found, func(r RefusalRecord) bool {
		return !q.matches(&r) || after != nil && CompareRefusals(*after, r) >= 0
	})
	slices.SortFunc(found, CompareRefusals)
	return found[:min(max(q.Limit, 0), len(found))], nil
}

// refused counts a refusal and keeps what an operator needs to understand it.
func (s *Server) refused(r *Refusal, via string, from peer) {
	s.metrics.refused(r.Code, via)
	s.refusals.add(RefusalRecord{
		At:        time.Now().UnixMilli(),
		Node:      s.cfg.Broker.NodeName(),
		Via:       via,
		Code:      r.Code,
		Reason:    r.Reason,
		Detail:    cmp.Or(r.detail, r.Reason),
		Address:   from.address,
		Origin:    from.origin.Value(),
		KeyID:     r.who.key,
		KeyPrefix: r.who.prefix,
		Project:   r.who.project,
		Channel:   r.channel,
		Action:    r.action.String(),
	})
}

// requestPeer is the client of an HTTP request.
func (s *Server) requestPeer(r *http.Request) peer {
	return newPeer(s.requestAddress(r), r.Header.Get("Origin"), s.requestHost(r))
}
