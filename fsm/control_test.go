package fsm

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
)

// told is an Observer that writes down what it is told.
type told struct{ lines []string }

func (o *told) Appended(batch []Appended) {
	for _, a := range batch {
		line := "appended " + a.Channel.Name
		for _, m := range a.Messages {
			line += fmt.Sprintf(" %d:%s", m.Offset, m.Data)
		}
		o.lines = append(o.lines, line)
	}
}
func (o *told) KeyEnded(k Key)            { o.lines = append(o.lines, "ended "+k.ID) }
func (o *told) AdminTokenEnded(id string) { o.lines = append(o.lines, "ended "+id) }
func (o *told) ProjectChanged(id string)  { o.lines = append(o.lines, "changed "+id) }
func (o *told) Reset()                    { o.lines = append(o.lines, "reset") }

func (o *told) expect(t *testing.T, want ...string) {
	t.Helper()
	if !reflect.DeepEqual(o.lines, want) {
		t.Errorf("the observer was told %q, want %q", o.lines, want)
	}
	o.lines = nil
}

func (o *told) observe(c *Config) { c.Observer = o }

func (m *machine) refused(want error, command []byte) {
	m.t.Helper()
	if err := DecodeResult(m.entry(1, command)[0]); !errors.Is(err, want) {
		m.t.Errorf("got %v, want %v", err, want)
	}
}

func TestInitHappensOnce(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir)
	m.refused(ErrInvalid, Seal{Keyring: []byte("s")}.Encode())
	if m.Initialised() {
		t.Fatal("initialised before the first command")
	}
	k := newKey("k1", PublicKey)
	m.must(Init{
		ClusterID: "c1", Epoch: "e1", AdminTokenHash: HashKey("adm_1"), Keyring: []byte("sealed"),
		Project: Project{ID: projectID, Name: "default"}, Keys: []Key{k},
	}.Encode())
	first := m.stamp
	m.must(Init{
		ClusterID: "c2", Epoch: "e2", AdminTokenHash: HashKey("adm_2"),
		Project: Project{ID: "p2"},
	}.Encode())
	check := func(m *machine) {
		t.Helper()
		if m.ClusterID() != "c1" || m.Epoch() != "e1" || !m.Initialised() || string(m.Keyring()) != "sealed" {
			t.Errorf("cluster %q, epoch %q, keyring %q", m.ClusterID(), m.Epoch(), m.Keyring())
		}
		token, ok := m.AdminTokenByText("adm_1")
		if want := (AdminToken{
			ID: FirstAdminToken, Name: "first", Role: Owner, Hash: HashKey("adm_1"),
			CreatedAt: first,
		}); !ok || token != want {
			t.Errorf("first admin token %+v, %t, want %+v", token, ok, want)
		}
		if _, ok := m.AdminTokenByText("adm_2"); ok {
			t.Error("the second Init made an admin token")
		}
		if _, ok := m.Project("p2"); ok {
			t.Error("the second Init made a project")
		}
		if got, ok := m.KeyByText(keyText(k)); !ok || got.ID != "k1" || got.CreatedAt != first {
			t.Errorf("key %+v, %t", got, ok)
		}
	}
	check(m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	check(openMachine(t, dir))
}

func TestProjectsAndKeysConflict(t *testing.T) {
	m := openMachine(t, t.TempDir())
	m.createProject()
	k := newKey("k1", ServerKey)
	m.must(CreateKey{Key: k}.Encode())
	m.refused(ErrConflict, CreateKey{Key: k}.Encode())
	sameText := k
	sameText.ID = "k2"
	m.refused(ErrConflict, CreateKey{Key: sameText}.Encode())
	foreign := newKey("k3", ServerKey)
	foreign.Project = "p2"
	m.refused(ErrNotFound, CreateKey{Key: foreign}.Encode())
	m.refused(ErrInvalid, CreateProject{Project: Project{ID: "p2"}, Keys: []Key{newKey("k4", ServerKey)}}.Encode())
	twice := newKey("k5", ServerKey)
	twice.Project = "p2"
	m.refused(ErrConflict, CreateProject{Project: Project{ID: "p2"}, Keys: []Key{twice, twice}}.Encode())
	m.refused(ErrInvalid, CreateProject{Project: Project{ID: ""}}.Encode())
	m.refused(ErrInvalid, CreateProject{Project: Project{ID: "a\x00b"}}.Encode())
	m.refused(ErrConflict, CreateProject{Project: Project{ID: projectID}}.Encode())
	m.refused(ErrNotFound, UpdateProject{ID: "p2"}.Encode())
	m.refused(ErrNotFound, DeleteProject{ID: "p2"}.Encode())
	m.refused(ErrNotFound, RevokeKey{ID: "k9"}.Encode())
	m.refused(ErrNotFound, RotateKey{Key: newKey("k6", ServerKey)}.Encode())
	if keys := m.Keys(projectID); len(keys) != 1 || keys[0].ID != "k1" {
		t.Errorf("keys %+v", keys)
	}
	if all := m.Projects("", 10); len(all) != 1 {
		t.Errorf("%d projects", len(all))
	}
}

func TestUpdateLeavesOldCopiesAlone(t *testing.T) {
	o := &told{}
	m := openMachine(t, t.TempDir(), o.observe)
	m.createProject()
	before, _ := m.Project(projectID)
	name, origins, native := "two", []string{"https://a.example"}, true
	m.must(UpdateProject{ID: projectID, Name: &name, AllowedOrigins: &origins, AllowNativeClients: &native}.Encode())
	if before.Name != "one" || before.AllowedOrigins != nil {
		t.Errorf("a project that was read changed: %+v", before)
	}
	after, _ := m.Project(projectID)
	want := Project{ID: projectID, Name: "two", AllowedOrigins: origins, AllowNativeClients: true, CreatedAt: start + 1}
	if !reflect.DeepEqual(*after, want) {
		t.Errorf("project %+v, want %+v", *after, want)
	}
	o.expect(t, "changed p1", "changed p1")
}

func TestKeyExpiresAtItsStamp(t *testing.T) {
	o := &told{}
	dir := t.TempDir()
	m := openMachine(t, dir, o.observe)
	m.createProject()
	late, soon := newKey("late", PublicKey), newKey("soon", PublicKey)
	late.ExpiresAt, soon.ExpiresAt = start+500, start+100
	m.must(CreateKey{Key: late}.Encode(), CreateKey{Key: soon}.Encode())
	past := newKey("past", PublicKey)
	past.ExpiresAt = m.stamp
	m.refused(ErrInvalid, CreateKey{Key: past}.Encode())
	if got := m.Deadline(); got != start+100 {
		t.Fatalf("deadline %d", got-start)
	}
	m.tick(start + 99 - m.stamp)
	if _, ok := m.KeyByText(keyText(soon)); !ok {
		t.Error("the key ended 1 ms early")
	}
	o.expect(t, "changed p1")
	m.tick(1)
	if _, ok := m.KeyByText(keyText(soon)); ok {
		t.Error("the key did not end")
	}
	o.expect(t, "ended soon")
	if got := m.Deadline(); got != start+500 {
		t.Fatalf("deadline %d", got-start)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir, o.observe)
	if got := m.Deadline(); got != start+500 {
		t.Fatalf("deadline %d after opening again", got-start)
	}
	m.must(RevokeKey{ID: "late"}.Encode())
	if got := m.Deadline(); got != 0 {
		t.Errorf("deadline %d without keys that expire", got)
	}
	o.expect(t, "ended late")
}

func TestRotatedKeyLivesOn(t *testing.T) {
	o := &told{}
	m := openMachine(t, t.TempDir(), o.observe)
	m.createProject()
	m.must(CreateKey{Key: newKey("k1", ServerKey)}.Encode())
	second := newKey("k2", ServerKey)
	second.Replaces = "k1"
	m.refused(ErrInvalid, RotateKey{Key: second, Overlap: -1}.Encode())
	m.must(RotateKey{Key: second, Overlap: 1000}.Encode())
	rotated := m.stamp
	if old, ok := m.Key("k1"); !ok || old.ExpiresAt != rotated+1000 {
		t.Errorf("old key %+v, %t", old, ok)
	}
	// Rotating it again must not let it live longer.
	third := newKey("k3", ServerKey)
	third.Replaces = "k1"
	m.must(RotateKey{Key: third, Overlap: 5000}.Encode())
	if old, _ := m.Key("k1"); old.ExpiresAt != rotated+1000 {
		t.Errorf("old key now ends at +%d", old.ExpiresAt-rotated)
	}
	fourth := newKey("k4", ServerKey)
	fourth.Replaces = "k3"
	m.must(RotateKey{Key: fourth, Overlap: 0}.Encode())
	o.expect(t, "changed p1", "ended k3")
	m.tick(1000)
	o.expect(t, "ended k1")
	if keys := m.Keys(projectID); len(keys) != 2 || keys[0].ID != "k2" || keys[1].ID != "k4" {
		t.Errorf("keys %+v", keys)
	}
}

func TestDeletedProjectIsGone(t *testing.T) {
	o := &told{}
	dir := t.TempDir()
	m := openMachine(t, dir, o.observe, lazy)
	m.createProject()
	m.must(CreateProject{Project: Project{ID: "p10"}}.Encode(), CreateKey{Key: newKey("k1", ServerKey)}.Encode())
	kept := ChannelKey{"p10", "c"}
	m.publish(1, news, long)
	m.publish(1, kept, long)
	m.flushed()
	m.publish(1, news, "2")
	o.lines = nil
	m.must(DeleteProject{ID: projectID}.Encode())
	o.expect(t, "ended k1", "changed p1")
	if _, err := m.Channel(news); !errors.Is(err, ErrNotFound) {
		t.Errorf("channel of a deleted project: %v", err)
	}
	if _, ok := m.KeyByText(keyText(newKey("k1", ServerKey))); ok {
		t.Error("key of a deleted project")
	}
	m.refused(ErrConflict, CreateProject{Project: Project{ID: projectID}}.Encode())
	want := m.hash()
	for range 3 {
		m.tick(0)
		m.flushed()
	}
	if n := m.chunks(); n != 1 {
		t.Errorf("%d chunks are stored, want that of the other project", n)
	}
	if !m.registry.tombstones[projectID] {
		t.Error("the project is not known to be purged")
	}
	if m.hash() != want {
		t.Error("purging changed the state")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir)
	m.refused(ErrConflict, CreateProject{Project: Project{ID: projectID}}.Encode())
	if got := m.read(kept, 0); got != long {
		t.Errorf("read %s", got)
	}
}

func TestObserverHearsEachMessageOnce(t *testing.T) {
	o := &told{}
	m := openMachine(t, t.TempDir(), o.observe, lazy)
	m.createProject()
	o.lines = nil
	other := ChannelKey{projectID, "other"}
	send := func(seq uint64, c ChannelKey, data string) {
		m.ApplyBatch([16]byte{9}, seq, seq-1, [][]byte{Publish{Channel: c, Data: []byte(data)}.Encode()})
	}
	m.publish(1, news, "0")
	o.expect(t, "appended news 1:0")
	// A run of entries that a flush cuts in the middle.
	m.BeginEntry(m.index+1, 1, m.stamp)
	send(1, news, "1")
	send(2, other, "2")
	m.mu.Lock()
	m.flusher.setWanted = true
	m.mu.Unlock()
	m.BeginEntry(m.index+2, 1, m.stamp)
	send(3, news, "3")
	if err := m.write(m.db, <-m.flusher.sets); err != nil {
		t.Fatal(err)
	}
	m.written(m.flushing)
	send(4, news, "4")
	m.index += 2
	o.expect(t)
	m.Notify()
	o.expect(t, "appended news 2:1 3:3 4:4", "appended other 1:2")
	m.Notify()
	o.expect(t)
	if got := m.read(news, 0); got != "0 1 3 4" {
		t.Errorf("read %s", got)
	}
}
