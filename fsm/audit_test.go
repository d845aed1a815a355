package fsm

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

var alice = Actor{ID: "adm_a", Name: "alice", Address: "10.0.0.1", Via: "cli"}

// audited returns the audit, oldest first, a line for each record.
func (m *machine) audited() (lines []string) {
	for _, r := range m.Audit(0, 1000) {
		lines = append([]string{fmt.Sprintf("%d %s %s %s %s>%s", r.Seq, r.By.Name, r.Action, r.Target, r.Before, r.After)},
			lines...)
	}
	return lines
}

func TestAuditSaysWhatChanged(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir)
	k := newKey("k1", ServerKey)
	k.Signing = []byte("sealed")
	m.must(CreateProject{By: alice, Project: Project{ID: projectID, Name: "one"}, Keys: []Key{k}}.Encode())
	name, access := "two", Access{Subscribe: []string{"a*"}, Publish: []PublishGrant{{"b", 0.5, 1}}}
	m.must(UpdateProject{By: alice, ID: projectID, Name: &name, Access: &access}.Encode())
	second := newKey("k2", ServerKey)
	second.Replaces = "k1"
	m.must(RotateKey{By: alice, Key: second, Overlap: 1000}.Encode())
	m.refused(ErrNotFound, RevokeKey{By: alice, ID: "k9"}.Encode())
	m.must(RevokeKey{By: alice, ID: "k2"}.Encode(), Note{By: alice, Action: "member.remove", Target: "node-3"}.Encode())
	limit := int64(MinMaxBytes)
	m.must(Init{By: Actor{Name: "n1", Via: "node"}, ClusterID: "c"}.Encode(),
		UpdateSettings{By: alice, MaxBytes: &limit}.Encode())
	m.must(DeleteProject{By: alice, ID: projectID}.Encode())
	want := []string{
		`1 alice project.create p1 >{"id":"p1","name":"one","allowedOrigins":null,"allowNativeClients":false,"rules":[],` +
			`"access":{"subscribe":["*"],"publish":[]},"quotas":{"connections":0,"channels":0,"publishRate":0},` +
			`"keys":[{"id":"k1","project":"p1","kind":"server","name":"k1","prefix":"se_k1"}]}`,
		`2 alice project.update p1 {"name":"one","access":{"subscribe":["*"],"publish":[]}}>` +
			`{"name":"two","access":{"subscribe":["a*"],"publish":[{"pattern":"b","rate":0.5,"burst":1}]}}`,
		fmt.Sprintf(`3 alice key.rotate k1 {"id":"k1","project":"p1","kind":"server","name":"k1","prefix":"se_k1"}>`+
			`{"id":"k2","project":"p1","kind":"server","name":"k2","prefix":"se_k2","replaces":"k1","replacedEndsAt":%d}`,
			start+3+1000),
		`4 alice key.revoke k2 {"id":"k2","project":"p1","kind":"server","name":"k2","prefix":"se_k2","replaces":"k1"}>`,
		`5 alice member.remove node-3 >`,
		`6 n1 cluster.init c >`,
		`7 alice settings.update c {"maxBytes":0}>{"maxBytes":1048576}`,
	}
	got := m.audited()
	for i, line := range want {
		if i >= len(got) || got[i] != line {
			t.Errorf("record %d is\n%s, want\n%s", i+1, got[i], line)
		}
	}
	if len(got) != 8 || !strings.HasPrefix(got[7], `8 alice project.delete p1 {"id":"p1","name":"two"`) {
		t.Errorf("%d records, the last is %s", len(got), got[len(got)-1])
	}
	if r := m.Audit(0, 1)[0]; r.At != m.stamp || r.By != alice {
		t.Errorf("record %+v", r)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if again := openMachine(t, dir).audited(); strings.Join(again, "\n") != strings.Join(got, "\n") {
		t.Errorf("after opening again the audit is\n%s", strings.Join(again, "\n"))
	}
}

func TestAuditHoldsNoSecret(t *testing.T) {
	m := openMachine(t, t.TempDir())
	k := newKey("k1", ServerKey)
	k.Signing = []byte("sealed")
	public := newKey("k2", PublicKey)
	m.must(Init{
		ClusterID: "c", AdminTokenHash: HashKey("first"), Keyring: []byte("sealed keyring"),
		Project: Project{ID: projectID}, Keys: []Key{k, public},
	}.Encode())
	m.must(CreateAdminToken{Token: AdminToken{ID: "t", Name: "n", Role: Viewer, Hash: HashKey("adm_text")}}.Encode())
	m.must(Seal{Keyring: []byte("sealed keyring")}.Encode(), RevokeKey{ID: "k1"}.Encode(),
		RevokeAdminToken{ID: "t"}.Encode())
	all := strings.Join(m.audited(), "\n")
	for _, secret := range []string{"sealed", "adm_text", fmt.Sprintf("%x", k.Hash), string(k.Hash[:])} {
		if strings.Contains(all, secret) {
			t.Errorf("the audit shows %q:\n%s", secret, all)
		}
	}
}

func TestAuditIsBounded(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir)
	for range maxAuditRecords/1000 + 1 {
		var commands [][]byte
		for range 1000 {
			commands = append(commands, Note{By: alice, Action: "a", Target: "t"}.Encode())
		}
		m.must(commands...)
	}
	check := func(m *machine, newest, oldest uint64) {
		t.Helper()
		all := m.Audit(0, 1<<20)
		if len(all) == 0 || all[0].Seq != newest || all[len(all)-1].Seq != oldest || uint64(len(all)) != newest-oldest+1 {
			t.Fatalf("%d records, want %d to %d", len(all), newest, oldest)
		}
	}
	check(m, maxAuditRecords+1000, 1001)
	if page := m.Audit(5000, 3); len(page) != 3 || page[0].Seq != 4999 || page[2].Seq != 4997 {
		t.Errorf("page %+v", page)
	}
	if page := m.Audit(1001, 3); len(page) != 0 {
		t.Errorf("before the oldest is %+v", page)
	}
	if page := m.Audit(1<<60, 1); len(page) != 1 || page[0].Seq != maxAuditRecords+1000 {
		t.Errorf("before what is to come is %+v", page)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir)
	check(m, maxAuditRecords+1000, 1001)
	for range 3 {
		m.must(Note{Target: strings.Repeat("x", maxAuditBytes/2)}.Encode())
	}
	check(m, maxAuditRecords+1003, maxAuditRecords+1003)
}

func TestAuditKeepsTheNewestOfEachKind(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir)
	mallory := Actor{ID: "adm_m", Name: "mallory", Via: "api"}
	note := func(by Actor, action string, n int, target string) {
		t.Helper()
		for n > 0 {
			commands := make([][]byte, min(n, 1000))
			for i := range commands {
				commands[i] = Note{By: by, Action: action, Target: target}.Encode()
			}
			m.must(commands...)
			n -= len(commands)
		}
	}
	count := func(m *machine) map[auditKind]int {
		kinds := make(map[auditKind]int)
		before := uint64(1 << 60)
		for _, r := range m.Audit(0, 1<<20) {
			if r.Seq >= before {
				t.Fatalf("record %d comes after %d", r.Seq, before)
			}
			before = r.Seq
			kinds[auditKind{r.Action, r.By.ID}]++
		}
		return kinds
	}
	note(alice, "member.remove", 1, "node-3")
	note(alice, "session.create", 100, "s")
	note(mallory, "session.create", maxAuditRecords, "s")
	if kinds := count(m); kinds[auditKind{"member.remove", alice.ID}] != 0 {
		t.Errorf("where not all members know kinds, the audit keeps %v", kinds)
	}
	m.raiseLevel(auditKindsLevel)
	note(alice, "member.remove", 1, "node-3")
	note(alice, "session.create", 100, "s")
	note(mallory, "session.create", maxAuditRecords, "s")
	want := map[auditKind]int{
		{"member.remove", alice.ID}: 1, {"session.create", alice.ID}: 100,
		{"session.create", mallory.ID}: maxAuditRecords - 101,
	}
	if kinds := count(m); !maps.Equal(kinds, want) {
		t.Errorf("the audit keeps %v, want %v", kinds, want)
	}
	// A kind of few large records gives room to others, too.
	note(mallory, "channel.purge", 4, strings.Repeat("x", maxAuditBytes/3))
	want[auditKind{"channel.purge", mallory.ID}] = 2
	want[auditKind{"session.create", mallory.ID}] -= 3 // while there were too many records
	kinds := count(m)
	if !maps.Equal(kinds, want) {
		t.Errorf("the audit keeps %v, want %v", kinds, want)
	}
	hash := m.hash()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir)
	if again := count(m); !maps.Equal(again, kinds) || m.hash() != hash {
		t.Errorf("opened again the audit keeps %v, before %v", again, kinds)
	}
	// One record that is larger than all bounds is kept while it is the newest.
	note(alice, "a", 1, strings.Repeat("x", 2*maxAuditBytes))
	if kinds := count(m); len(kinds) != 1 || kinds[auditKind{"a", alice.ID}] != 1 {
		t.Errorf("the audit keeps %v", kinds)
	}
}
