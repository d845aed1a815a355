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
	Via     string `json:"via"` // "ws", "sse", "poll", "rest", "admin" or "handshake"
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
	// MaxRecords bounds the refusals that a log keeps, of all kinds together.
	MaxRecords = 1000
	maxText    = 256 // bytes of one field
)

// Log keeps MaxRecords refusals of a node, the newest of each kind: the kind with the most
// records loses its oldest. A flood of one kind does not wash the others out. Memory is
// bounded by the number of records and the length of each field. The zero value is an
// empty log.
type Log struct {
	mu    sync.Mutex
	seq   uint64
	count int
	kinds map[kind][]Record // oldest first, none empty
}

// kind is what a sender of refused requests cannot choose at will: a project is known only
// with a credential of it.
type kind struct {
	code         Code
	via, project string
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
	if l.kinds == nil {
		l.kinds = make(map[kind][]Record)
	}
	of := kind{r.Code, r.Via, r.Project}
	l.kinds[of] = append(l.kinds[of], r)
	if l.count++; l.count > MaxRecords {
		l.dropOne()
	}
}

// dropOne drops the oldest record of the kind that has the most.
func (l *Log) dropOne() {
	var most kind
	for k, records := range l.kinds {
		if n := len(l.kinds[most]); len(records) > n || len(records) == n && records[0].Seq < l.kinds[most][0].Seq {
			most = k
		}
	}
	records := l.kinds[most]
	records[0] = Record{} // its texts go now, not when the slice is copied
	if l.kinds[most] = records[1:]; len(records) == 1 {
		delete(l.kinds, most)
	}
	l.count--
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
	var found []Record
	for _, records := range l.kinds {
		for _, r := range records {
			if q.matches(&r) && (after == nil || Compare(*after, r) < 0) {
				found = append(found, r)
			}
		}
	}
	l.mu.Unlock()
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
