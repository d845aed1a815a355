package fsm

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// history is a run of committed entries.
type history []historyEntry

type historyEntry struct {
	stamp    int64
	batches  [][][]byte // commands of each
	session  byte
	settle   bool
	flush    bool // how a node that hears of it behaves, from here on
	evict    bool
	kill     bool
	transfer bool
	compact  int // steps of compaction
}

func anyHistory(t *rapid.T) history {
	pick := func(label string, list ...string) string { return rapid.SampledFrom(list).Draw(t, label) }
	key := func() Key {
		k := newKey(pick("key", "k1", "k2", "k3"), PublicKey)
		k.Project = pick("project of key", "p1", "p2")
		if rapid.Bool().Draw(t, "expires") {
			k.ExpiresAt = start + rapid.Int64Range(0, 5000).Draw(t, "at")
		}
		return k
	}
	rules := func() []Rule {
		return []Rule{rule(rapid.IntRange(0, 20).Draw(t, "messages"),
			time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms"))*time.Millisecond,
			int64(rapid.IntRange(0, 50).Draw(t, "bytes")))}
	}
	large := rapid.IntRange(0, 7).Draw(t, "messages of up to") == 0
	stamp := start
	sender := func() Sender {
		from := Sender{Since: stamp - rapid.Int64Range(0, 2000).Draw(t, "on its way for")}
		switch rapid.IntRange(0, 9).Draw(t, "sender") {
		case 0:
			from.Since = stamp - idWindow
			fallthrough
		case 1, 2, 3:
			from.Kind = NodeSender
		case 4:
			from.Kind, from.ID = AdminSender, pick("admin", "t1", "t2", "adm_first")
		case 5:
			from.Kind, from.ID = TokenSender, pick("signer", "k1", "k2", "k3")
			from.Until, from.Subject = stamp+rapid.Int64Range(-500, 5000).Draw(t, "until"), rapid.Uint64Range(0, 1).Draw(t,
				"subject")
		default:
			from.Kind, from.ID = KeySender, pick("by key", "k1", "k2", "k3")
		}
		return from
	}
	command := func() []byte {
		switch n := rapid.IntRange(0, 39).Draw(t, "command"); n {
		case 0:
			return Init{ClusterID: "c", Epoch: "e", Project: Project{ID: "p1", Rules: rules()}}.Encode()
		case 1, 2:
			return CreateProject{Project: Project{ID: pick("new", "p1", "p2", "p3"), Rules: rules()}}.Encode()
		case 3:
			if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
				return DeleteProject{ID: pick("old", "p1", "p2")}.Encode()
			}
		case 4:
			r := rules()
			return UpdateProject{ID: pick("changed", "p1", "p2"), Rules: &r}.Encode()
		case 5:
			return CreateKey{Key: key()}.Encode()
		case 6:
			k := key()
			k.Replaces = pick("replaced", "k1", "k2", "k3")
			return RotateKey{Key: k, Overlap: rapid.Int64Range(0, 3000).Draw(t, "overlap")}.Encode()
		case 7:
			return RevokeKey{ID: pick("revoked", "k1", "k2", "k3")}.Encode()
		case 8:
			limit := rapid.SampledFrom([]int64{0, MinMaxBytes, 2 * MinMaxBytes}).Draw(t, "cap")
			return UpdateSettings{MaxBytes: &limit}.Encode()
		case 9:
			return KeysUsed{[]KeyUse{{
				pick("used", "k1", "k2", "adm_first"),
				stamp - rapid.Int64Range(-500, 500).Draw(t, "ago"),
			}}}.Encode()
		case 10:
			return adminToken(pick("token", "t1", "t2", "t3"), Viewer, pick("parent", "", "t1", "adm_first"),
				start+rapid.Int64Range(0, 9000).Draw(t, "token ends"))
		case 11:
			return RevokeAdminToken{ID: pick("ended", "t1", "t2", "adm_first")}.Encode()
		case 12:
			return PurgeChannel{Channel: ChannelKey{pick("of", "p1", "p2"), pick("purged", "a", "b", "c")}}.Encode()
		case 13:
			return UpdateProject{
				ID:     pick("limited", "p1", "p2"),
				Quotas: &Quotas{Channels: rapid.IntRange(0, 3).Draw(t, "quota")},
			}.Encode()
		case 14:
			return Seal{Keyring: []byte(pick("keyring", "a", "b"))}.Encode()
		case 15, 16:
			return ForgetChannels{Project: pick("forgetful", "p1", "p2"), Names: []string{
				pick("forgotten", "a", "b", "c"), pick("forgotten too", "a", "b", "c"),
			}}.Encode()
		case 17:
			first := uint64(rapid.IntRange(1, 300).Draw(t, "first offset"))
			return UpdateProject{ID: pick("raised", "p1", "p2"), FirstOffset: &first}.Encode()
		case 19:
			return AddUsage{[]ProjectUsage{{
				pick("busy", "p1", "p2", "p3"),
				Usage{rapid.Uint64Range(0, 3).Draw(t, "open"), 1, rapid.Uint64Range(0, 3).Draw(t, "publishes"), 2, 0},
			}}}.Encode()
		case 18:
			k := key()
			k.Imported = true
			return CreateKey{Key: k}.Encode()
		}
		id := ""
		if rapid.Bool().Draw(t, "with id") {
			id = pick("id", "a", "b", "c", "d", "e", "f")
		}
		size := rapid.IntRange(0, 9).Draw(t, "size")
		if large {
			size *= 16 << 10 // enough of them for a cap to matter
		}
		var from Sender
		if rapid.Bool().Draw(t, "with sender") {
			from = sender()
		}
		return Publish{
			Channel: ChannelKey{pick("project", "p1", "p2"), pick("channel", "a", "b", "c")}, ID: id,
			Data: bytes.Repeat([]byte("x"), size), From: from,
		}.Encode()
	}
	maybeSent := func(command []byte) []byte {
		if op(command[0]) == opPublish || !rapid.Bool().Draw(t, "sent") {
			return command
		}
		return sender().Send(command)
	}
	h := history{{stamp: start, session: 1, settle: true, batches: [][][]byte{{
		CreateProject{Project: Project{ID: "p1"}}.Encode(), CreateProject{Project: Project{ID: "p2"}}.Encode(),
	}}}}
	one := func(label string, of int) bool { return rapid.IntRange(1, of).Draw(t, label) == 1 }
	for range rapid.IntRange(5, 60).Draw(t, "entries") {
		wait := int64(3000)
		if one("long wait", 20) {
			wait = idWindow
		}
		stamp += rapid.Int64Range(0, wait).Draw(t, "wait")
		e := historyEntry{
			stamp: stamp, session: byte(rapid.IntRange(1, 2).Draw(t, "session")),
			settle: !one("run goes on", 3),
			flush:  one("flush", 4), evict: one("evict", 6), kill: one("kill", 8), transfer: one("transfer", 12),
		}
		if one("compact", 10) {
			e.compact = rapid.IntRange(1, 20).Draw(t, "steps of compaction")
		}
		for range rapid.IntRange(0, 3).Draw(t, "batches") {
			var commands [][]byte
			for range rapid.IntRange(1, 12).Draw(t, "commands") {
				commands = append(commands, maybeSent(command()))
			}
			e.batches = append(e.batches, commands)
		}
		h = append(h, e)
	}
	return h
}

// singly divides every batch into batches of one command.
func (h history) singly() history {
	var single history
	for _, e := range h {
		var batches [][][]byte
		for _, b := range e.batches {
			for _, c := range b {
				batches = append(batches, [][]byte{c})
			}
		}
		e.batches = batches
		single = append(single, e)
	}
	return single
}

// replayer applies a history, and again from where it was when it is killed.
type replayer struct {
	t    *testing.T
	dir  string
	m    *machine
	seqs []map[byte]uint64 // last batch of each session, by entry
}

func newReplayer(t *testing.T, rt *rapid.T) *replayer {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		rt.Fatal(err)
	}
	return &replayer{t: t, dir: dir, m: openMachine(t, dir, lazy, panics)}
}

func (r *replayer) apply(i int, e historyEntry) {
	seqs := map[byte]uint64{}
	if i > 0 {
		maps.Copy(seqs, r.seqs[i-1])
	}
	r.m.BeginEntry(uint64(i+1), 1, e.stamp)
	for _, b := range e.batches {
		seqs[e.session]++
		seq := seqs[e.session]
		results, next := r.m.ApplyBatch([16]byte{e.session}, seq, max(seq, 2)-2, b)
		if next == 1 {
			// Silent for an hour: the forwarder begins anew.
			seq, seqs[e.session] = 1, 1
			results, next = r.m.ApplyBatch([16]byte{e.session}, seq, 0, b)
		}
		if next != 0 && (next != seq+1 || len(results) != len(b)) {
			panic(fmt.Sprintf("entry %d: batch %d gave %d results and expects %d", i+1, seq, len(results), next))
		}
	}
	if e.settle {
		r.m.Notify()
	}
	r.seqs = append(r.seqs[:i], seqs)
}

// play applies the history as a plain node does that never flushes.
func (r *replayer) play(h history) {
	for i, e := range h {
		r.apply(i, e)
	}
	r.m.Notify()
}

// playRoughly applies it with everything that may befall a node.
func (r *replayer) playRoughly(rt *rapid.T, h history) {
	for i := 0; i < len(h); i++ {
		e := h[i]
		r.apply(i, e)
		if !e.settle {
			continue
		}
		if e.flush {
			r.m.flushed()
		}
		if e.evict {
			r.m.flushed()
			r.m.evictAll()
		}
		for range e.compact {
			r.m.compactStep()
		}
		if e.transfer {
			snapshot := r.m.snapshotBytes()
			other := newReplayer(r.t, rt)
			other.m.createProject()
			other.seqs = r.seqs
			if err := other.m.Restore(bytes.NewReader(snapshot)); err != nil {
				rt.Fatal(err)
			}
			r.m.kill()
			*r = *other
		}
		if e.kill {
			r.m.crash()
			r.m = openMachine(r.t, r.dir, lazy, panics)
			durable, _ := r.m.Applied()
			h[i].kill = false // the next time it lives on
			i = int(durable) - 1
		}
	}
	r.m.Notify()
}

func (r *replayer) content(rt *rapid.T) (sum [32]byte) {
	h := sha256.New()
	r.m.mu.RLock()
	defer r.m.mu.RUnlock()
	if err := r.m.hashContent(h); err != nil {
		rt.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// However a node gets through the same committed entries, it ends in the same
// state: at once or in pieces, flushed or not, killed and replayed, through an
// snapshot to another node.
func TestEqualHistoriesEndInEqualStates(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := anyHistory(rt)
		plain, rough, single := newReplayer(t, rt), newReplayer(t, rt), newReplayer(t, rt)
		defer func() {
			for _, r := range []*replayer{plain, rough, single} {
				_ = r.m.Close()
			}
		}()
		plain.play(h)
		rough.playRoughly(rt, append(history(nil), h...))
		single.play(h.singly())
		want := plain.m.hash()
		if got := rough.m.hash(); got != want {
			rt.Errorf("a rough life ends in another state")
		}
		if got := single.content(rt); got != plain.content(rt) {
			rt.Errorf("commands one by one end in another state")
		}
		for _, m := range []*machine{plain.m, rough.m} {
			m.flushed()
			m.evictAll()
			if m.hash() != want {
				rt.Errorf("the state is another once it is on disk")
			}
		}
	})
}
