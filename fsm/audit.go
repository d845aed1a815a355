package fsm

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// Actor is the author of a change, as the audit shows it.
type Actor struct {
	ID      string `json:"id"`      // of the admin token; empty for a node
	Name    string `json:"name"`    // of the admin token, or of the node
	Address string `json:"address"` // the change came from; empty for a node
	Via     string `json:"via"`     // "api", "cli", "console" or "node"
	// Token is the id of the admin token or console session in use. It must still live when
	// the change is made; it is empty for a node. The audit does not show it.
	Token string `json:"-"`
}

// Sender returns the actor as the sender of a command.
func (a *Actor) Sender() Sender {
	if a.Via == "node" {
		return Sender{Kind: NodeSender}
	}
	return Sender{Kind: AdminSender, ID: a.Token}
}

// AuditRecord describes one change of the state by a command.
type AuditRecord struct {
	Seq    uint64          `json:"seq"` // counts the changes, from 1
	At     int64           `json:"at"`  // the cluster's stamp, Unix ms
	By     Actor           `json:"by"`
	Action string          `json:"action"` // such as "key.rotate"
	Target string          `json:"target"` // id of the changed object
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Bounds of the audit.
const (
	maxAuditRecords = 10_000
	maxAuditBytes   = 16 << 20
)

// auditKindsLevel is the feature level from which on the audit keeps the newest records of
// each kind.
const auditKindsLevel = 2

// auditLog holds the newest records of each kind: the largest kind loses its oldest. Below
// auditKindsLevel it holds the newest of all.
type auditLog struct {
	records []*AuditRecord // oldest first
	kinds   map[auditKind]*auditTally
	bytes   int
	next    uint64
}

// auditKind is what an author of many changes cannot vary. A flood of sign-ins does not wash
// out rotations, nor one operator the changes of another.
type auditKind struct{ action, by string }

// auditTally says what the records of a kind take.
type auditTally struct {
	seqs  []uint64 // oldest first, not empty
	bytes int
}

func newAuditLog() *auditLog { return &auditLog{kinds: make(map[auditKind]*auditTally), next: 1} }

func (r *AuditRecord) kind() auditKind { return auditKind{r.Action, r.By.ID} }

func (l *auditLog) add(r AuditRecord) {
	l.records = append(l.records, &r)
	kind, size := l.kinds[r.kind()], r.size()
	if kind == nil {
		kind = &auditTally{}
		l.kinds[r.kind()] = kind
	}
	kind.seqs = append(kind.seqs, r.Seq)
	kind.bytes += size
	l.bytes += size
	l.next = r.Seq + 1
}

// excess returns the sequence number of the record that has to go, and whether one has to.
func (l *auditLog) excess(level uint32) (seq uint64, some bool) {
	tooMany := len(l.records) > maxAuditRecords
	switch {
	case !tooMany && (l.bytes <= maxAuditBytes || len(l.records) == 1):
		return 0, false
	case level < auditKindsLevel:
		return l.records[0].Seq, true
	case tooMany:
		return l.oldestOfLargest(func(kind *auditTally) int { return len(kind.seqs) }), true
	}
	return l.oldestOfLargest(func(kind *auditTally) int { return kind.bytes }), true
}

// oldestOfLargest returns the oldest record of the largest kind, and of two kinds the older
// one. It passes over the newest record.
func (l *auditLog) oldestOfLargest(size func(*auditTally) int) uint64 {
	var largest *auditTally
	for _, kind := range l.kinds {
		switch {
		case kind.seqs[0] == l.next-1:
		case largest == nil || size(kind) > size(largest),
			size(kind) == size(largest) && kind.seqs[0] < largest.seqs[0]:
			largest = kind
		}
	}
	return largest.seqs[0]
}

// find returns the place of the first record from a sequence number on.
func (l *auditLog) find(seq uint64) int {
	at, _ := slices.BinarySearchFunc(
		l.records,
		seq,
		func(r *AuditRecord, seq uint64) int { return cmp.Compare(r.Seq, seq) },
	)
	return at
}

// drop takes out a record that is the oldest of its kind.
func (l *auditLog) drop(seq uint64) {
	at := l.find(seq)
	r := l.records[at]
	l.records = slices.Delete(l.records, at, at+1)
	kind, size := l.kinds[r.kind()], r.size()
	kind.seqs = kind.seqs[1:]
	kind.bytes -= size
	l.bytes -= size
	if len(kind.seqs) == 0 {
		delete(l.kinds, r.kind())
	}
}

// size returns about how many bytes a record takes in memory.
func (r *AuditRecord) size() int {
	return 200 + len(r.By.ID) + len(r.By.Name) + len(r.By.Address) + len(r.Action) + len(r.Target) + len(r.Before) +
		len(r.After)
}

// record appends a change to the audit. before and after are encoded as JSON and hold no
// secret.
func (a *application) record(by Actor, action, target string, before, after any) {
	r := AuditRecord{
		Seq: a.audit.next, At: a.stamp, By: by, Action: action, Target: target,
		Before: shown(before), After: shown(after),
	}
	a.audit.add(r)
	a.gathering.set(bucketAudit, auditKey(r.Seq), r.append(nil))
	for seq, some := a.audit.excess(a.level); some; seq, some = a.audit.excess(a.level) {
		a.audit.drop(seq)
		a.gathering.set(bucketAudit, auditKey(seq), nil)
	}
}

func auditKey(seq uint64) string { return string(binary.BigEndian.AppendUint64(nil, seq)) }

// shown encodes a value for the audit. The types are structs of plain fields, so the text
// is the same on every node.
func shown(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("fsm: encode %T for the audit: %v", v, err))
	}
	return text
}

// Audit returns at most limit records, the newest first: those before a sequence number, or
// the last ones if it is 0.
func (s *State) Audit(before uint64, limit int) []AuditRecord {
	s.mu.RLock()
	defer s.mu.RUnlock()
	records := s.audit.records
	if before != 0 {
		records = records[:s.audit.find(before)]
	}
	list := make([]AuditRecord, 0, min(len(records), max(limit, 0)))
	for i := len(records) - 1; i >= 0 && len(list) < limit; i-- {
		list = append(list, *records[i])
	}
	return list
}

type shownProject struct {
	ID                 string       `json:"id,omitempty"`
	Name               *string      `json:"name,omitempty"`
	AllowedOrigins     *[]string    `json:"allowedOrigins,omitempty"`
	AllowNativeClients *bool        `json:"allowNativeClients,omitempty"`
	Rules              *[]shownRule `json:"rules,omitempty"`
	Access             *shownAccess `json:"access,omitempty"`
	Quotas             *shownQuotas `json:"quotas,omitempty"`
	FirstOffset        uint64       `json:"firstOffset,omitempty"`
	Keys               []shownKey   `json:"keys,omitempty"`
}

type shownRule struct {
	Pattern      string     `json:"pattern"`
	KeepMessages int        `json:"keepMessages"`
	KeepFor      string     `json:"keepFor"`
	KeepBytes    int64      `json:"keepBytes"`
	InitialAll   bool       `json:"initialAll"`
	InitialLast  int        `json:"initialLast"`
	Durability   Durability `json:"durability"`
	// Presence is left out where there is none, as before level 2. So are the fields below.
	Presence *shownPresence `json:"presence,omitempty"`
}

type shownPresence struct {
	Grace      string `json:"grace"`
	MaxMembers int    `json:"maxMembers"`
	DataBytes  int    `json:"dataBytes"`
	Anonymous  bool   `json:"anonymous"`
}

func showPresence(p Presence) *shownPresence {
	if !p.On() {
		return nil
	}
	return &shownPresence{p.Grace.String(), p.MaxMembers, p.DataBytes, p.Anonymous}
}

type shownAccess struct {
	Subscribe []string     `json:"subscribe"`
	Publish   []shownGrant `json:"publish"`
	Presence  []string     `json:"presence,omitempty"`
	Members   []string     `json:"members,omitempty"`
}

type shownGrant struct {
	Pattern string  `json:"pattern"`
	Rate    float64 `json:"rate"`
	Burst   int     `json:"burst"`
}

type shownQuotas struct {
	Connections int     `json:"connections"`
	Channels    int     `json:"channels"`
	PublishRate float64 `json:"publishRate"`
	// Subscriptions is left out where there is no bound, as before level 2.
	Subscriptions int `json:"subscriptions,omitempty"`
	Members       int `json:"members,omitempty"`
}

type shownKey struct {
	ID        string  `json:"id"`
	Project   string  `json:"project"`
	Kind      KeyKind `json:"kind"`
	Name      string  `json:"name"`
	Prefix    string  `json:"prefix"`
	ExpiresAt int64   `json:"expiresAt,omitempty"`
	Replaces  string  `json:"replaces,omitempty"`
	// ReplacedEndsAt is the time at which the replaced key ends, Unix ms.
	ReplacedEndsAt int64 `json:"replacedEndsAt,omitempty"`
	Imported       bool  `json:"imported,omitempty"`
}

type shownForgotten struct {
	Channels int    `json:"channels"` // how many
	Last     string `json:"last"`     // the last of them
}

type shownSettings struct {
	MaxBytes int64 `json:"maxBytes"`
}

type shownToken struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Role      Role   `json:"role"`
	ExpiresAt int64  `json:"expiresAt,omitempty"`
	Parent    string `json:"parent,omitempty"`
}

func showProject(p *Project) *shownProject {
	return &shownProject{
		p.ID, &p.Name, &p.AllowedOrigins, &p.AllowNativeClients,
		showRules(p.Rules), showAccess(&p.Access), showQuotas(&p.Quotas), p.FirstOffset, nil,
	}
}

// showChange returns the fields of a project that an update sets.
func showChange(p *Project, c *UpdateProject) *shownProject {
	var s shownProject
	if c.Name != nil {
		s.Name = &p.Name
	}
	if c.AllowedOrigins != nil {
		s.AllowedOrigins = &p.AllowedOrigins
	}
	if c.AllowNativeClients != nil {
		s.AllowNativeClients = &p.AllowNativeClients
	}
	if c.Rules != nil {
		s.Rules = showRules(p.Rules)
	}
	if c.Access != nil {
		s.Access = showAccess(&p.Access)
	}
	if c.Quotas != nil {
		s.Quotas = showQuotas(&p.Quotas)
	}
	if c.FirstOffset != nil {
		s.FirstOffset = max(p.FirstOffset, 1)
	}
	return &s
}

func showRules(rules []Rule) *[]shownRule {
	shown := make([]shownRule, len(rules))
	for i, r := range rules {
		shown[i] = shownRule{
			r.Pattern, r.KeepMessages, r.KeepFor.Truncate(time.Millisecond).String(), r.KeepBytes,
			r.Initial.All, r.Initial.Last, r.Durability, showPresence(r.Presence),
		}
	}
	return &shown
}

func showAccess(a *Access) *shownAccess {
	shown := &shownAccess{
		Subscribe: a.Subscribe, Publish: make([]shownGrant, len(a.Publish)), Presence: a.Presence,
		Members: a.Members,
	}
	if a.Subscribe == nil {
		shown.Subscribe = []string{"*"}
	}
	for i, grant := range a.Publish {
		shown.Publish[i] = shownGrant(grant)
	}
	return shown
}

func showQuotas(q *Quotas) *shownQuotas {
	shown := shownQuotas(*q)
	return &shown
}

func showKey(k *Key) *shownKey {
	return &shownKey{
		ID: k.ID, Project: k.Project, Kind: k.Kind, Name: k.Name, Prefix: k.Prefix,
		ExpiresAt: k.ExpiresAt, Replaces: k.Replaces, Imported: k.Imported,
	}
}

func showSettings(s Settings) shownSettings { return shownSettings(s) }

func showAdminToken(t *AdminToken) *shownToken {
	return &shownToken{t.ID, t.Name, t.Role, t.ExpiresAt, t.Parent}
}

func appendActor(dst []byte, a *Actor) []byte {
	dst = wire.AppendBytes(dst, a.ID)
	dst = wire.AppendBytes(dst, a.Name)
	dst = wire.AppendBytes(dst, a.Address)
	return wire.AppendBytes(dst, a.Via)
}

func (d *decoder) actor() Actor {
	return Actor{ID: d.string(), Name: d.string(), Address: d.string(), Via: d.string()}
}

func (r *AuditRecord) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, r.Seq)
	dst = binary.AppendVarint(dst, r.At)
	dst = appendActor(dst, &r.By)
	dst = wire.AppendBytes(dst, r.Action)
	dst = wire.AppendBytes(dst, r.Target)
	dst = wire.AppendBytes(dst, r.Before)
	return wire.AppendBytes(dst, r.After)
}

func (d *decoder) auditRecord() AuditRecord {
	return AuditRecord{
		Seq: d.Uvarint(), At: d.Varint(), By: d.actor(),
		Action: d.string(), Target: d.string(),
		Before: d.json(), After: d.json(),
	}
}

// json returns a copy of the next JSON text, or nil if it is empty.
func (d *decoder) json() json.RawMessage { return append(json.RawMessage(nil), d.Bytes()...) }
