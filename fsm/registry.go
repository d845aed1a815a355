package fsm

import (
	"container/heap"
	"crypto/subtle"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// project is a Project with the past rules that its channels need. It never changes; an
// update makes another one.
type project struct {
	Project
	version uint64 // counts changes of the rules, from 1
	past    []pastRules
}

func ruleOf(rules []Rule, channel string) Rule {
	p := Project{Rules: rules}
	return p.Rule(channel)
}

func (p *project) append(dst []byte) []byte {
	dst = appendProject(dst, &p.Project)
	dst = binary.AppendUvarint(dst, p.version)
	dst = binary.AppendUvarint(dst, uint64(len(p.past)))
	for _, past := range p.past {
		dst = binary.AppendUvarint(dst, past.version)
		dst = binary.AppendVarint(dst, past.until)
		dst = appendRules(dst, past.rules)
	}
	// Since level 2 more follows, as far as there is any.
	presence := hasPresence(p.Rules, &p.Access, &p.Quotas)
	if p.FirstOffset > 0 || p.Quotas.Subscriptions > 0 || presence {
		dst = binary.AppendUvarint(dst, p.FirstOffset)
	}
	if p.Quotas.Subscriptions > 0 || presence {
		dst = binary.AppendVarint(dst, int64(p.Quotas.Subscriptions))
	}
	if presence {
		dst = appendPresences(dst, p.Rules, &p.Access, &p.Quotas)
	}
	return dst
}

func (d *decoder) storedProject() *project {
	p := &project{Project: d.project(), version: d.Uvarint()}
	for n := d.Count(); n > 0 && d.Err == nil; n-- {
		p.past = append(p.past, pastRules{d.Uvarint(), d.Varint(), d.rules()})
	}
	if len(d.Rest) > 0 {
		p.FirstOffset = d.Uvarint()
	}
	if len(d.Rest) > 0 {
		p.Quotas.Subscriptions = d.integer()
	}
	if len(d.Rest) > 0 {
		d.presences(p.Rules, &p.Access, &p.Quotas)
	}
	return p
}

// withRules returns the project with other rules from the stamp on. It drops past rules
// whose messages some later rule has outlived. ok is false if too many are left.
func (p *project) withRules(rules []Rule, stamp int64) (next *project, ok bool) {
	next = &project{Project: p.Project, version: p.version + 1}
	next.Rules = rules
	past := append(slices.Clip(p.past), pastRules{p.version, stamp, p.Rules})
	// Some later rule has expired every message that existed at this stamp.
	outlived := int64(math.MinInt64)
	for _, old := range slices.Backward(past) {
		if old.until > outlived {
			next.past = append(next.past, old)
		}
		outlived = max(outlived, old.until-longestKeep(old.rules))
	}
	slices.Reverse(next.past)
	return next, len(next.past) <= maxPastRules
}

// longestKeep returns the longest KeepFor of the rules, in ms.
func longestKeep(rules []Rule) int64 {
	longest := DefaultRule.KeepFor
	for _, r := range rules {
		longest = max(longest, r.KeepFor)
	}
	return longest.Milliseconds()
}

// registry holds projects and keys, which every authentication asks for. The goroutine that
// applies entries writes; any goroutine reads.
type registry struct {
	projects atomic.Pointer[map[string]*project] // the map is never changed
	// ids of deleted projects; true: nothing is left of them. State.mu guards it.
	tombstones map[string]bool

	mu     sync.RWMutex
	byID   map[string]*Key // the keys are never changed
	byHash map[KeyHash]*Key

	imported atomic.Int64 // number of imported keys

	expiries expiryHeap // for the goroutine that applies entries
	deadline atomic.Int64
}

func newRegistry() *registry {
	d := &registry{
		tombstones: make(map[string]bool),
		byID:       make(map[string]*Key),
		byHash:     make(map[KeyHash]*Key),
	}
	d.projects.Store(new(map[string]*project))
	return d
}

func (d *registry) project(id string) (*project, bool) {
	p, ok := (*d.projects.Load())[id]
	return p, ok
}

// setProject adds or replaces a project.
func (d *registry) setProject(p *project) {
	projects := maps.Clone(*d.projects.Load())
	if projects == nil {
		projects = make(map[string]*project)
	}
	projects[p.ID] = p
	d.projects.Store(&projects)
}

func (d *registry) removeProject(id string) {
	projects := maps.Clone(*d.projects.Load())
	delete(projects, id)
	d.projects.Store(&projects)
	d.tombstones[id] = false
}

// key returns the key with an id.
func (d *registry) key(id string) (*Key, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	k, ok := d.byID[id]
	return k, ok
}

// keyByHash returns the key with a hash. The map finds the candidate. The comparison that
// decides takes the same time wherever the hashes differ.
func (d *registry) keyByHash(hash KeyHash) (*Key, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	k, ok := d.byHash[hash]
	if !ok || subtle.ConstantTimeCompare(k.Hash[:], hash[:]) != 1 {
		return nil, false
	}
	return k, true
}

// keys returns the keys of a project, or all if project is empty, oldest first.
func (d *registry) keys(project string) []*Key {
	d.mu.RLock()
	var list []*Key
	for _, k := range d.byID {
		if project == "" || k.Project == project {
			list = append(list, k)
		}
	}
	d.mu.RUnlock()
	slices.SortFunc(list, func(a, b *Key) int {
		if a.CreatedAt != b.CreatedAt {
			return int(min(max(a.CreatedAt-b.CreatedAt, -1), 1))
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}

// setKey adds or replaces a key.
func (d *registry) setKey(k *Key) {
	d.mu.Lock()
	old := d.byID[k.ID]
	if k.Imported && old == nil {
		d.imported.Add(1)
	}
	d.byID[k.ID] = k
	d.byHash[k.Hash] = k
	d.mu.Unlock()
	if k.ExpiresAt != 0 && (old == nil || old.ExpiresAt != k.ExpiresAt) {
		heap.Push(&d.expiries, expiry{k.ExpiresAt, k.ID})
	}
	d.setDeadline()
}

func (d *registry) removeKey(k *Key) {
	d.mu.Lock()
	if _, live := d.byID[k.ID]; live && k.Imported {
		d.imported.Add(-1)
	}
	delete(d.byID, k.ID)
	delete(d.byHash, k.Hash)
	d.mu.Unlock()
	d.setDeadline()
}

// expired returns the key that ends first, if it ends at or before the stamp.
func (d *registry) expired(stamp int64) (*Key, bool) {
	if at := d.deadline.Load(); at == 0 || at > stamp {
		return nil, false
	}
	return d.key(d.expiries[0].key)
}

// setDeadline drops outdated expiries and publishes the next one.
func (d *registry) setDeadline() {
	for len(d.expiries) > 0 {
		next := d.expiries[0]
		if k, ok := d.key(next.key); ok && k.ExpiresAt == next.at {
			d.deadline.Store(next.at)
			return
		}
		heap.Pop(&d.expiries)
	}
	d.deadline.Store(0)
}

// expiry says when a key ends, unless its ExpiresAt has changed.
type expiry struct {
	at  int64
	key string
}

// expiryHeap is a container/heap with the earliest expiry on top, by id among equals.
type expiryHeap []expiry

func (h expiryHeap) Len() int { return len(h) }
func (h expiryHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].key < h[j].key
}
func (h expiryHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(x any)   { *h = append(*h, x.(expiry)) }
func (h *expiryHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
