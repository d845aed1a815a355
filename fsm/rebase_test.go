package fsm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// saveBackup writes what m snapshots to a file.
func (m *machine) saveBackup() string {
	m.t.Helper()
	path := filepath.Join(m.t.TempDir(), "backup")
	if err := os.WriteFile(path, m.snapshotBytes(), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

var next = NewCluster{ClusterID: "another cluster", Epoch: "another epoch"}

// eventful returns a state with messages of every age: expired, stored in several
// chunks, and just published.
func eventful(t *testing.T) *machine {
	m := openMachine(t, t.TempDir(), lazy)
	m.must(Init{ClusterID: "c", Epoch: "e", AdminTokenHash: HashKey("token")}.Encode())
	m.createProject(Rule{Pattern: "few", KeepMessages: 3, KeepFor: time.Hour},
		Rule{Pattern: "*", KeepMessages: 1000, KeepFor: time.Hour})
	m.must(CreateKey{Key: newKey("k1", ServerKey)}.Encode())
	m.must(CreateAdminToken{Token: AdminToken{
		ID: "s", Role: Owner, Hash: HashKey("session"),
		Parent: FirstAdminToken,
	}}.Encode())
	for i := range 600 {
		m.publish(1, news, fmt.Sprintf(`"n%d"`, i+1))
		if i%100 == 0 {
			m.flushed()
		}
	}
	for i := range 300 {
		m.publish(1, ChannelKey{projectID, "few"}, fmt.Sprintf(`"f%d"`, i+1))
	}
	m.publishID(1, news, "id")
	// What the old rule let go does not come back under a wider one.
	m.must(UpdateProject{ID: projectID, Rules: &[]Rule{{Pattern: "*", KeepMessages: 1000, KeepFor: time.Hour}}}.Encode())
	m.publish(1, ChannelKey{projectID, "few"}, `"f301"`)
	return m
}

func TestRebasedStateContinuesAboveTheOldOffsets(t *testing.T) {
	from := eventful(t)
	backup := from.saveBackup()
	checked, err := CheckBackup(backup)
	if err != nil {
		t.Fatal(err)
	}
	if checked.ClusterID != "c" || checked.Epoch != "e" || checked.Projects != 1 || checked.Keys != 1 ||
		checked.Channels != 2 || checked.Messages < 601 {
		t.Errorf("the backup holds %+v", checked)
	}
	dir := t.TempDir()
	made, err := RebaseBackup(backup, dir, next)
	if err != nil {
		t.Fatal(err)
	}
	if made.ClusterID != next.ClusterID || made.Epoch != next.Epoch || made.Messages != checked.Messages ||
		made.Stamp != checked.Stamp {
		t.Errorf("refounded %+v out of %+v", made, checked)
	}
	to := openMachine(t, dir)
	if index, term := to.Applied(); index != FirstIndex || term != FirstIndex {
		t.Errorf("applied is entry %d of term %d", index, term)
	}
	if _, ok := to.AdminTokenByText("token"); !ok {
		t.Error("the admin token is another one")
	}
	if _, ok := to.KeyByText(keyText(newKey("k1", ServerKey))); !ok {
		t.Error("a key is missing")
	}
	if _, ok := from.AdminTokenByText("session"); !ok {
		t.Fatal("there was no console session")
	}
	if _, ok := to.AdminTokenByText("session"); ok {
		t.Error("a console session outlived its cluster")
	}
	for _, channel := range []ChannelKey{news, {projectID, "few"}} {
		was, is := from.info(channel), to.info(channel)
		if is.Head != was.Head+OffsetJump || is.Earliest != was.Earliest+OffsetJump || is.Bytes != was.Bytes {
			t.Errorf("%s was %+v, is %+v", channel.Name, was, is)
		}
		old, err := from.Read(channel, 0, 1000, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		page, err := to.Read(channel, 0, 1000, 1<<20)
		if err != nil || len(page.Messages) != len(old.Messages) {
			t.Fatalf("%d of %d messages, %v", len(page.Messages), len(old.Messages), err)
		}
		for i, m := range page.Messages {
			o := old.Messages[i]
			if m.Offset != o.Offset+OffsetJump || m.Timestamp != o.Timestamp || string(m.Data) != string(o.Data) {
				t.Fatalf("was %+v, is %+v", o, m)
			}
		}
		if got := to.publish(1, channel, `"new"`); got[0].Offset != is.Head+1 {
			t.Errorf("the next message of %s has offset %d", channel.Name, got[0].Offset)
		}
	}
	// The id was published before the backup, so it is a duplicate after it.
	again := to.publishID(1, news, "id")
	if !again.Duplicate || again.Offset != 601+OffsetJump {
		t.Errorf("a repeated id: %+v", again)
	}
	// And once more, from a state this time.
	to.flushed()
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	second := t.TempDir()
	if _, err := Rebase(dir, second, next); err != nil {
		t.Fatal(err)
	}
	twice := openMachine(t, second)
	if got := twice.info(news).Head; got != 602+2*OffsetJump {
		t.Errorf("the head is %d", got)
	}
}

func TestBackupThatIsNotIntactIsRefused(t *testing.T) {
	from := eventful(t)
	whole, err := os.ReadFile(from.saveBackup())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "backup")
	refused := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := CheckBackup(path); !errors.Is(err, ErrNotBackup) {
			t.Errorf("%s: %v", what, err)
		}
		dir := t.TempDir()
		if _, err := RebaseBackup(path, dir, next); !errors.Is(err, ErrNotBackup) {
			t.Errorf("%s is refounded: %v", what, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s leaves %v, %v", what, left, err)
		}
	}
	sizes := []int{0, 1, len(whole) / 2}
	for size := len(whole) - snapshotFooter - 2; size < len(whole); size++ {
		sizes = append(sizes, size)
	}
	for _, size := range sizes {
		refused(fmt.Sprintf("%d of %d bytes", size, len(whole)), whole[:size])
	}
	refused("one byte more", append(slices.Clip(whole), 0))
	for at := 0; at < len(whole); at += len(whole)/50 + 1 {
		flipped := append([]byte(nil), whole...)
		flipped[at] ^= 1
		refused(fmt.Sprintf("a flipped bit at %d", at), flipped)
	}
}

func TestRebaseRefusesWhatItCannotDo(t *testing.T) {
	from := eventful(t)
	from.flushed()
	for _, c := range []struct {
		name   string
		damage func(w *writer) error
	}{
		{"an offset at the end of all", func(w *writer) error {
			h := head{offset: maxOffset - 1, floor: 1}
			return w.put(bucketChannels, firstBlock,
				appendEntries(nil, []entry{{appendChannelKey(nil, news), appendTail(h.append(nil), nil)}}))
		}},
		{"a damaged record", func(w *writer) error { return w.store(bucketKeys, []byte("k1"), []byte("damaged")) }},
		{"a later format", func(w *writer) error { return w.put(bucketMeta, metaFormat, []byte{99}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := t.TempDir()
			if _, err := RebaseBackup(from.saveBackup(), source, next); err != nil {
				t.Fatal(err)
			}
			db, err := openStore(filepath.Join(source, stateFile))
			if err != nil {
				t.Fatal(err)
			}
			tx, err := db.Begin(true)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.damage(&writer{tx, nil}), tx.Commit(), db.Close()); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if _, err := Rebase(source, dir, next); err == nil {
				t.Error("it was done")
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("it leaves %v, %v", left, err)
			}
		})
	}
}
