package refusal

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Record is one refusal as an operator sees it. Unknown fields are empty. Text
// from a client is cut to 256 bytes.
type Record struct {
	At      int64  `json:"at"`  // Unix ms, by the node's own clock
	Seq     uint64 `json:"seq"` // counts the refusals since the node started
	Node    string `json:"node"`
	Via     string `json:"via"` // "ws", "rest", "admin" or "handshake"
	Code    Code   `json:"code"`
	Reason  string `json:"reason"` // what the client was told
	Detail  string `json:"detail"` // the rule that refused, in full
	Address string `json:"address"`
	Origin  string `json:"origin"`
	Attempt
}

// Query asks for refusals, newest first. An empty field matches all.
type Query struct {
	Project string `json:"project,omitempty"`
	KeyID   string `json:"key,omitempty"`
	Code    Code   `json:"code,omitempty"`
	Cursor  string `json:"cursor,omitempty"` // only records after the one with this Cursor
	Limit   int    `json:"limit"`
}

// Cursor returns the record's place in the list of all nodes' refusals.
func (r *Record) Cursor() string { return fmt.Sprintf("%d.%d.%s", r.At, r.Seq, r.Node) }

// Compare orders records newest first, in one order on every node.
func Compare(a, b Record) int {
	return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Node, b.Node), cmp.Compare(b.Seq, a.Seq))
}

// parseCursor reads the text that Record.Cursor returns.
func parseCursor(text string) (Record, error) {
	var r Record
	if n, err := fmt.Sscanf(text, "%d.%d.%s", &r.At, &r.Seq, &r.Node); err != nil || n != 3 || r.Cursor() != text {
		return r, New(InvalidMessage, "malformed cursor")
	}
	return r, nil
}

func (q *Query) matches(r *Record) bool {
	return (q.Project == "" || q.Project == r.Project) &&
		(q.KeyID == "" || q.KeyID == r.KeyID) &&
		(q.Code == "" || q.Code == r.Code)
}

const (
	// MaxRecords is how many refusals a log keeps.
	MaxRecords = 1000
	maxText    = 256 // bytes of one field
)

// Log keeps the last MaxRecords refusals of a node. Its memory is bounded by their
// number and by the length of each field. The zero value is an empty log.
type Log struct {
	mu   sync.Mutex
	seq  uint64
	ring []Record // grows up to MaxRecords, then the oldest is overwritten
}

// Add keeps a record and numbers it.
func (l *Log) Add(r Record) {
	for _, text := range []*string{
		&r.Reason, &r.Detail, &r.Address, &r.Origin, &r.KeyID, &r.KeyPrefix, &r.Project, &r.Channel,
	} {
		*text = Clip(*text)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Seq = l.seq
	l.seq++
	if len(l.ring) < MaxRecords {
		l.ring = append(l.ring, r)
	} else {
		l.ring[r.Seq%MaxRecords] = r
	}
}

// Find returns the records that match, newest first.
func (l *Log) Find(q Query) ([]Record, error) {
	var after *Record
	if q.Cursor != "" {
		cursor, err := parseCursor(q.Cursor)
		if err != nil {
			return nil, err
		}
		after = &cursor
	}
	l.mu.Lock()
	found := slices.Clone(l.ring)
	l.mu.Unlock()
	found = slices.DeleteFunc(found, func(r Record) bool {
		return !q.matches(&r) || after != nil && Compare(*after, r) >= 0
	})
	slices.SortFunc(found, Compare)
	return found[:min(max(q.Limit, 0), len(found))], nil
}

// Clip cuts a text that is too long to be shown. The result does not keep the rest of a
// cut text in memory.
func Clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	const more = "…"
	cut := maxText - len(more)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strings.Clone(text[:cut]) + more
}
