package fsm

import (
	"fmt"
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
