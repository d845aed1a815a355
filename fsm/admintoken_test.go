package fsm

import (
	"fmt"
	"testing"
)

// adminToken encodes the command that makes a token whose text is its id.
func adminToken(id string, role Role, parent string, expiresAt int64) []byte {
	return CreateAdminToken{By: alice, Token: AdminToken{
		ID: id, Name: "name of " + id, Role: role, Hash: HashKey(id), Parent: parent, ExpiresAt: expiresAt,
	}}.Encode()
}

// live reports which of the tokens are live, by their texts.
func (m *machine) live(texts ...string) (found string) {
	for _, text := range texts {
		if token, ok := m.AdminTokenByText(text); ok && token.ID == text {
			found += text + " "
		}
	}
	return found
}

func TestRolesIncludeThoseBelow(t *testing.T) {
	roles := []Role{Viewer, Operator, Owner}
	for i, has := range roles {
		for j, needs := range roles {
			if got := has.Includes(needs); got != (i >= j) {
				t.Errorf("%s includes %s: %t", has, needs, got)
			}
		}
	}
	if Role("").Includes(Viewer) || Role("root").Includes(Viewer) || Role("root").Valid() {
		t.Error("a role that there is not may do something")
	}
}

func TestAdminTokensComeAndGo(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir)
	m.must(Init{ClusterID: "c", AdminTokenHash: HashKey("first")}.Encode())
	m.must(adminToken("o", Operator, "", 0), adminToken("v", Viewer, "", 0))
	m.refused(ErrConflict, adminToken("o", Viewer, "", 0))
	m.refused(ErrInvalid, adminToken("x", "root", "", 0))
	m.refused(ErrInvalid, adminToken("", Viewer, "", 0))
	m.refused(ErrInvalid, adminToken("x", Viewer, "", m.stamp))
	m.refused(ErrConflict, CreateAdminToken{Token: AdminToken{ID: "x", Role: Viewer, Hash: HashKey("v")}}.Encode())
	m.refused(ErrNotFound, RevokeAdminToken{ID: "x"}.Encode())
	m.refused(ErrConflict, RevokeAdminToken{ID: FirstAdminToken}.Encode())
	// An owner that expires is none to rely on.
	m.must(adminToken("w", Owner, "", m.stamp+1000))
	m.refused(ErrConflict, RevokeAdminToken{ID: FirstAdminToken}.Encode())
	m.must(adminToken("p", Owner, "", 0))
	m.must(RevokeAdminToken{By: alice, ID: FirstAdminToken}.Encode())
	m.refused(ErrConflict, RevokeAdminToken{ID: "p"}.Encode())
	m.must(RevokeAdminToken{By: alice, ID: "v"}.Encode())
	if _, ok := m.AdminTokenByText("first"); ok {
		t.Error("a revoked token is live")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir)
	if got := m.live("o", "v", "w", "p"); got != "o w p " {
		t.Errorf("live are %s", got)
	}
	m.tick(1000)
	if got := m.live("o", "v", "w", "p"); got != "o p " {
		t.Errorf("live are %s once one has expired", got)
	}
	list := m.AdminTokens("", 10)
	if len(list) != 2 || list[0].ID != "o" || list[1].ID != "p" || len(m.AdminTokens("o", 10)) != 1 ||
		len(m.AdminTokens("", 1)) != 1 {
		t.Errorf("listed %+v", list)
	}
}

func TestSessionsEndWithTheirToken(t *testing.T) {
	m := openMachine(t, t.TempDir())
	m.must(Init{ClusterID: "c", AdminTokenHash: HashKey("first")}.Encode(), adminToken("o", Operator, "", start+5000))
	m.refused(ErrNotFound, adminToken("s", Owner, "x", start+1000))
	m.must(adminToken("s1", Owner, "o", start+1000), adminToken("s2", Owner, "o", start+9000),
		adminToken("s3", Owner, "o", 0))
	m.refused(ErrNotFound, adminToken("s", Owner, "s1", start+1000))
	s, _ := m.AdminTokenByText("s1")
	if s.Role != Operator || s.Name != "name of o" || s.Parent != "o" || s.ExpiresAt != start+1000 {
		t.Errorf("session %+v is not its token's", s)
	}
	for _, id := range []string{"s2", "s3"} {
		if s, _ := m.AdminTokenByText(id); s.ExpiresAt != start+5000 {
			t.Errorf("session %s outlives its token: %+v", id, s)
		}
	}
	if list := m.AdminTokens("", 10); len(list) != 2 {
		t.Errorf("sessions are listed: %+v", list)
	}
	m.must(RevokeAdminToken{By: alice, ID: "s2"}.Encode())
	m.tick(start + 1000 - m.stamp)
	if got := m.live("o", "s1", "s2", "s3"); got != "o s3 " {
		t.Errorf("live are %s", got)
	}
	m.must(RevokeAdminToken{By: alice, ID: "o"}.Encode())
	if got := m.live("o", "s1", "s2", "s3"); got != "" {
		t.Errorf("live are %s once their token is revoked", got)
	}
}

func TestAdminTokensAreBounded(t *testing.T) {
	m := openMachine(t, t.TempDir())
	m.must(Init{ClusterID: "c", AdminTokenHash: HashKey("first")}.Encode())
	for i := range maxAdminTokens - 1 {
		m.must(adminToken(fmt.Sprintf("t%d", i), Viewer, "", 0))
	}
	m.refused(ErrRateLimited, adminToken("x", Viewer, "", 0))
	for i := range maxSessions + 1 {
		m.must(adminToken(fmt.Sprintf("s%d", i), Viewer, "t0", 0))
	}
	if got := m.live("s0", "s1", fmt.Sprint("s", maxSessions)); got != fmt.Sprintf("s1 s%d ", maxSessions) {
		t.Errorf("live are %s", got)
	}
}

func TestUsesAreKeptCoarsely(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir)
	m.must(Init{
		ClusterID: "c", AdminTokenHash: HashKey("first"), Project: Project{ID: projectID},
		Keys: []Key{newKey("k1", ServerKey)},
	}.Encode())
	used := func(at int64) {
		m.must(KeysUsed{[]KeyUse{{"k1", at}, {FirstAdminToken, at}, {"gone", at}}}.Encode())
	}
	check := func(m *machine, want int64) {
		t.Helper()
		k, _ := m.Key("k1")
		token, _ := m.AdminToken(FirstAdminToken)
		if k.LastUsedAt != want || token.LastUsedAt != want {
			t.Errorf("last used %d and %d after the start, want %d", k.LastUsedAt-start, token.LastUsedAt-start, want-start)
		}
	}
	m.tick(1000)
	used(start + 500)
	used(start + 400) // of another node, late
	check(m, start+500)
	used(m.stamp + 1_000_000) // of a node with a wrong clock
	check(m, m.stamp)
	want := m.stamp
	if len(m.Audit(0, 10)) != 1 {
		t.Error("a use is in the audit")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	check(openMachine(t, dir), want)
}

func TestEndsOfAdminTokensAreTold(t *testing.T) {
	o := new(told)
	m := openMachine(t, t.TempDir(), o.observe)
	m.must(Init{ClusterID: "c", AdminTokenHash: HashKey("first")}.Encode(),
		adminToken("v", Viewer, "", 0), adminToken("s1", Viewer, "v", 0), adminToken("s2", Viewer, "v", 0), adminToken("w",
			Viewer, "", m.stamp+1000))
	o.lines = nil
	m.must(RevokeAdminToken{By: alice, ID: "s1"}.Encode())
	o.expect(t, "ended s1")
	m.must(RevokeAdminToken{By: alice, ID: "v"}.Encode())
	o.expect(t, "ended s2", "ended v")
	m.tick(1000)
	o.expect(t, "ended w")
}
