package node

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCredentialsAreKeptUntilShown: a node that is killed after its cluster was formed
// and before it printed the credentials shows them at its next start.
func TestCredentialsAreKeptUntilShown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := start(t, testConfig(t, dir))
	first, ok := n.Credentials()
	if !ok || first.AdminToken == "" {
		t.Fatalf("a new cluster has %+v, %v", first, ok)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = start(t, testConfig(t, dir))
	if again, ok := n.Credentials(); !ok || again != first || !n.isOwner(again.AdminToken) {
		t.Errorf("the credentials nobody saw: %+v, %v", again, ok)
	}
	if err := errors.Join(n.CredentialsShown(), n.Close()); err != nil {
		t.Fatal(err)
	}
	n = start(t, testConfig(t, dir))
	if again, ok := n.Credentials(); ok || exists(dir, credentialsFile) {
		t.Errorf("credentials that were shown: %+v", again)
	}
}

func TestResetAdmin(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := start(t, testConfig(t, dir))
	if _, _, err := ResetAdmin(dir, "somebody"); !errors.Is(err, ErrInUse) {
		t.Errorf("a node that runs: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	id, text, err := ResetAdmin(dir, "admin reset by somebody at host")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second start finds it done
		n = start(t, testConfig(t, dir))
		for end := time.Now().Add(testDeadline); !n.isOwner(text) ||
			exists(dir, resetFile); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the token is no owner's")
			}
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var found int
	for _, record := range n.state.Audit(0, 100) {
		if record.Action == "token.create" && record.Target == id &&
			strings.HasPrefix(record.By.Name, "admin reset by somebody") {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the audit has %d records of it", found)
	}
	if _, _, err := ResetAdmin(t.TempDir(), "somebody"); err == nil {
		t.Error("a folder of no node is taken")
	}
}
