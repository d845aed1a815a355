package fsm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// people makes the project with a server key "srv", a public key "pub" that may publish
// to news, an owner "own" and its console session "ses".
func (m *machine) people() {
	m.t.Helper()
	m.createProject()
	m.must(
		CreateKey{Key: newKey("srv", ServerKey)}.Encode(),
		CreateKey{Key: newKey("pub", PublicKey)}.Encode(),
		UpdateProject{ID: projectID, Access: &Access{Publish: []PublishGrant{{Pattern: "news", Rate: 1, Burst: 1}}}}.Encode(),
		CreateAdminToken{Token: AdminToken{ID: "last", Role: Owner, Hash: HashKey("last")}}.Encode(),
		CreateAdminToken{Token: AdminToken{ID: "own", Role: Owner, Hash: HashKey("own")}}.Encode(),
		CreateAdminToken{Token: AdminToken{ID: "ses", Parent: "own", Role: Owner, Hash: HashKey("ses")}}.Encode(),
	)
}

// by is a sender whose command is sent now.
func (m *machine) by(kind SenderKind, id string) Sender {
	s := Sender{Kind: kind, ID: id, Since: m.Stamp()}
	if kind == TokenSender {
		s.Until, s.Subject = m.Stamp()+60_000, HashSubject("ann")
	}
	return s
}

// send publishes to news as somebody, with an id unless it is empty.
func (m *machine) send(from Sender, id, data string) (Receipt, error) {
	m.t.Helper()
	return DecodeReceipt(m.entry(1, Publish{Channel: news, ID: id, Data: []byte(data), From: from}.Encode())[0])
}

// What a sender could still send when it had ended has no effect, a publish or any
// other command.
func TestEndedSendersHaveNoEffect(t *testing.T) {
	for _, test := range []struct {
		name string
		kind SenderKind
		id   string
		end  []byte // command
		wait int64  // ms, in place of a command
		want error
	}{
		{name: "a key is revoked", kind: KeySender, id: "srv", end: RevokeKey{ID: "srv"}.Encode(), want: ErrEnded},
		{name: "a public key is revoked", kind: KeySender, id: "pub", end: RevokeKey{ID: "pub"}.Encode(), want: ErrEnded},
		{
			name: "a key is rotated at once", kind: KeySender, id: "srv",
			end: RotateKey{Key: replacing("new", "srv")}.Encode(), want: ErrEnded,
		},
		{name: "an overlap ends", kind: KeySender, id: "old", wait: 5000, want: ErrEnded},
		{
			name: "the key that signed a token is revoked", kind: TokenSender, id: "srv",
			end: RevokeKey{ID: "srv"}.Encode(), want: ErrEnded,
		},
		{name: "a token expires", kind: TokenSender, id: "srv", wait: 60_000, want: ErrExpired},
		{
			name: "an admin token is revoked", kind: AdminSender, id: "own",
			end: RevokeAdminToken{ID: "own"}.Encode(), want: ErrEnded,
		},
		{
			name: "a session is signed out of", kind: AdminSender, id: "ses",
			end: RevokeAdminToken{ID: "ses"}.Encode(), want: ErrEnded,
		},
		{
			name: "a session's token is revoked", kind: AdminSender, id: "ses",
			end: RevokeAdminToken{ID: "own"}.Encode(), want: ErrEnded,
		},
		{
			name: "the project is deleted", kind: KeySender, id: "srv", end: DeleteProject{ID: projectID}.Encode(),
			want: ErrEnded,
		},
		{
			name: "a grant is taken back", kind: KeySender, id: "pub",
			end: UpdateProject{ID: projectID, Access: &Access{}}.Encode(), want: ErrForbidden,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := openMachine(t, t.TempDir(), lazy)
			m.people()
			m.must(CreateKey{Key: newKey("old", ServerKey)}.Encode(),
				RotateKey{Key: replacing("successor", "old"), Overlap: 5000}.Encode())
			from := m.by(test.kind, test.id)
			if _, err := m.send(from, "", "before"); err != nil {
				t.Fatalf("before: %v", err)
			}
			if test.end != nil {
				m.must(test.end)
			} else {
				m.tick(test.wait - 2000)
				if _, err := m.send(from, "", "in time"); err != nil {
					t.Errorf("shortly before the end: %v", err)
				}
				m.tick(2000)
			}
			ended := !errors.Is(test.want, ErrForbidden) // else only the right to publish is gone
			audit := m.Audit(0, 1)[0].Seq
			if r, err := m.send(from, "x", "after"); !errors.Is(err, test.want) {
				t.Errorf("a publish after: %+v, %v", r, err)
			}
			note := from.Send(Note{Action: "a", Target: "t"}.Encode())
			if err := DecodeResult(m.entry(1, note)[0]); ended && !errors.Is(err, test.want) {
				t.Errorf("a command after: %v", err)
			}
			owner := from.Send(CreateAdminToken{Token: AdminToken{ID: "evil", Role: Owner, Hash: HashKey("evil")}}.Encode())
			if err := DecodeResult(m.entry(1, owner)[0]); ended && !errors.Is(err, test.want) {
				t.Errorf("another command after: %v", err)
			}
			if got := m.Audit(0, 1)[0].Seq; ended && got != audit {
				t.Errorf("the audit grew by %d", got-audit)
			}
		})
	}
}

func replacing(id, old string) Key {
	k := newKey(id, ServerKey)
	k.Replaces = old
	return k
}

func TestKeysPublishIntoTheirOwnProject(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.people()
	m.must(CreateProject{Project: Project{ID: "p2"}}.Encode())
	for _, from := range []Sender{m.by(KeySender, "srv"), m.by(KeySender, "pub"), m.by(TokenSender, "srv")} {
		p := Publish{Channel: ChannelKey{"p2", "news"}, Data: []byte("1"), From: from}
		if _, err := DecodeReceipt(m.entry(1, p.Encode())[0]); !errors.Is(err, ErrForbidden) ||
			strings.Contains(err.Error(), projectID) || strings.Contains(err.Error(), "p2") { // ids are for operators
			t.Errorf("%s into another project: %v", from.ID, err)
		}
	}
	p := Publish{Channel: ChannelKey{"p2", "news"}, Data: []byte("1"), From: m.by(AdminSender, "own")}
	if _, err := DecodeReceipt(m.entry(1, p.Encode())[0]); err != nil {
		t.Errorf("an operator: %v", err)
	}
}

// Whoever repeats an id elsewhere while the first attempt is on its way gets one
// message, however late the first one comes.
func TestStalePublishIsNotASecondMessage(t *testing.T) {
	for _, late := range []int64{0, idWindow - 1000, idWindow, idWindow + 60_000, sessionWindow + 1} {
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			m := openMachine(t, t.TempDir(), lazy)
			m.people()
			stale := Publish{Channel: news, ID: "x", Data: []byte("1"), From: m.by(KeySender, "srv")}.Encode()
			if r, err := m.send(m.by(KeySender, "srv"), "x", "1"); err != nil || r.Duplicate {
				t.Fatal(r, err)
			}
			m.tick(late)
			m.index++
			m.BeginEntry(m.index, 1, m.stamp)
			results, _ := m.ApplyBatch([16]byte{9}, 1, 0, [][]byte{stale})
			m.Notify()
			switch r, err := DecodeReceipt(results[0]); {
			case late < idWindow && (err != nil || !r.Duplicate || r.Offset != 1):
				t.Errorf("got %+v, %v", r, err)
			case late >= idWindow && !errors.Is(err, ErrStale):
				t.Errorf("got %+v, %v", r, err)
			}
			if got := m.info(news).Head; got != 1 {
				t.Errorf("%d messages", got)
			}
		})
	}
}

// A session's first batch is the one that a state which has forgotten the session would
// take again: what is in it is older than the session's last use.
func TestForgottenSessionDoesNotBeginAgain(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.people()
	session := [16]byte{9}
	first := [][]byte{
		Publish{Channel: news, Data: []byte("1"), From: m.by(KeySender, "srv")}.Encode(),
		m.by(AdminSender, "own").Send(Note{Action: "a"}.Encode()),
		m.by(NodeSender, "").Send(Note{Action: "b"}.Encode()),
	}
	batch := func() ([][]byte, uint64) {
		m.index++
		m.BeginEntry(m.index, 1, m.stamp)
		defer m.Notify()
		return m.ApplyBatch(session, 1, 0, first)
	}
	batch()
	seq := m.Audit(0, 1)[0].Seq
	m.stamp += sessionWindow
	for range 2 { // the second time after a restart
		results, next := batch()
		if next != 2 || len(results) != len(first) {
			t.Fatalf("%q, %d", results, next)
		}
		for i, r := range results {
			d := decoder{wire.Reader{Rest: r}}
			if err := d.refusal(); !errors.Is(err, ErrStale) {
				t.Errorf("command %d again: %v", i, err)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		m = openMachine(t, dir, lazy)
	}
	if head, now := m.info(news).Head, m.Audit(0, 1)[0].Seq; head != 1 || now != seq {
		t.Errorf("%d messages, %d changes", head, now-seq)
	}
}

// Those who may do everything in a project share its ids. An unrelated sender's use of one says
// nothing to them, and theirs nothing to others.
func TestIDsBelongToTheirKindOfSender(t *testing.T) {
	m := openMachine(t, t.TempDir(), lazy)
	m.people()
	m.must(CreateKey{Key: newKey("srv2", ServerKey)}.Encode(), CreateKey{Key: newKey("pub2", PublicKey)}.Encode())
	ann, bob := m.by(TokenSender, "srv"), m.by(TokenSender, "srv")
	bob.Subject = HashSubject("bob")
	renewed := m.by(TokenSender, "srv2") // signed by another key, for the same person
	groups := [][]Sender{
		{m.by(KeySender, "pub"), m.by(KeySender, "pub2")},
		{ann, renewed},
		{bob},
		{m.by(KeySender, "srv"), m.by(KeySender, "srv2"), m.by(AdminSender, "own"), m.by(AdminSender, "ses")},
	}
	for i, group := range groups {
		for j, from := range group {
			r, err := m.send(from, "order-17", fmt.Sprint(i))
			if err != nil || r.Offset != uint64(i+1) || r.Duplicate != (j > 0) {
				t.Errorf("%d of group %d got %+v, %v", j, i, r, err)
			}
		}
	}
}

func TestIDOfAnotherMessageIsAConflict(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.people()
	from := m.by(KeySender, "srv")
	if _, err := m.send(from, "a", `{"n": 1, "s": " x\" y"}`); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time after a restart
		for data, want := range map[string]error{
			`{"n": 1, "s": " x\" y"}`:           nil,
			"{\"n\":1,\n\t\"s\":\" x\\\" y\" }": nil,
			`{"n": 1, "s": "x\" y"}`:            ErrConflict,
			`{"n": 2, "s": " x\" y"}`:           ErrConflict,
			`null`:                              ErrConflict,
		} {
			r, err := m.send(from, "a", data)
			if !errors.Is(err, want) || want == nil && (!r.Duplicate || r.Offset != 1) {
				t.Errorf("%s: %+v, %v", data, r, err)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		m = openMachine(t, dir, lazy)
	}
	if got := m.info(news).Head; got != 1 {
		t.Errorf("%d messages", got)
	}
}

// While a cluster is upgraded commands come with and without a sender. An id that came
// without stays known, to all and with any message, as it was promised.
func TestIDsFromBeforeTheUpgradeStayKnown(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir, lazy)
	m.people()
	m.publishID(1, news, "a")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	if got := m.Level(); got != 1 {
		t.Errorf("feature level %d", got)
	}
	for _, from := range []Sender{m.by(KeySender, "srv"), m.by(KeySender, "pub"), m.by(TokenSender, "srv")} {
		if r, err := m.send(from, "a", "another"); err != nil || !r.Duplicate || r.Offset != 1 {
			t.Errorf("%s: %+v, %v", from.ID, r, err)
		}
	}
	if r, err := m.send(m.by(KeySender, "srv"), "b", "1"); err != nil || r.Duplicate {
		t.Errorf("a new id: %+v, %v", r, err)
	}
	if r := m.publishID(1, news, "b"); !r.Duplicate { // from a node that does not know the level yet
		t.Errorf("it again without a sender: %+v", r)
	}
	if r, err := m.send(m.by(KeySender, "pub"), "b", "1"); err != nil || r.Duplicate {
		t.Errorf("it from a public key: %+v, %v", r, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, lazy)
	if got := m.Level(); got != 2 {
		t.Errorf("feature level %d after a restart", got)
	}
	m.tick(idWindow)
	if m.ids.legacy != 0 || len(m.ids.queue) != 0 {
		t.Errorf("%d ids are left, %d of them shared", len(m.ids.queue), m.ids.legacy)
	}
}
