package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
)

func opened(t *testing.T, sealed []byte, secrets ...string) []byte {
	t.Helper()
	key, err := newKeyring(secrets).open(sealed)
	if err != nil {
		t.Fatalf("open with %q: %v", secrets, err)
	}
	return key
}

func TestKeyringOpensUnderItsSecretOnly(t *testing.T) {
	const old, now = "the secret of last year", "the secret of this year"
	sealed, err := newKeyring([]string{old}).make()
	if err != nil {
		t.Fatal(err)
	}
	key := opened(t, sealed, old)
	if bytes.Contains(sealed, key) || bytes.Contains(sealed, []byte(old)) {
		t.Error("the sealed keyring shows its key or its secret")
	}
	if again := opened(t, sealed, now, old); !bytes.Equal(again, key) {
		t.Error("a further secret opens another key")
	}
	for _, secrets := range [][]string{{now}, nil} {
		if _, err := newKeyring(secrets).open(sealed); !errors.Is(err, ErrKeyring) {
			t.Errorf("opened with %q: %v", secrets, err)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := newKeyring([]string{old}).open(bad); err == nil {
			t.Errorf("opened with byte %d changed", i)
		}
		if _, err := newKeyring([]string{old}).open(sealed[:i]); err == nil {
			t.Errorf("opened with %d bytes", i)
		}
	}
}

func TestKeyringIsResealedUnderTheSecretInUse(t *testing.T) {
	const old, now = "the secret of last year", "the secret of this year"
	for _, before := range [][]string{nil, {old}} {
		sealed, err := newKeyring(before).make()
		if err != nil {
			t.Fatal(err)
		}
		key := opened(t, sealed, before...)
		if same, err := newKeyring(append(slices.Clip(before), now)).reseal(sealed); before != nil &&
			(same != nil || err != nil) {
			t.Errorf("sealed anew under the same secret: %v", err)
		}
		again, err := newKeyring(append([]string{now}, before...)).reseal(sealed)
		if err != nil || again == nil {
			t.Fatalf("resealed to %x, %v", again, err)
		}
		if !bytes.Equal(opened(t, again, now), key) {
			t.Error("the key changed when it was sealed anew")
		}
	}
}

func TestKeyringFailureIsNewsOnce(t *testing.T) {
	k := newKeyring(nil)
	for i, step := range []struct {
		of   string
		err  error
		news bool
	}{
		{"a", nil, false},
		{"a", ErrKeyring, true},
		{"a", ErrKeyring, false},
		{"b", ErrKeyring, true},
		{"a", errors.New("another"), true},
		{"a", nil, true},
		{"a", nil, false},
		{"a", ErrKeyring, true},
	} {
		if got := k.changed(step.of, step.err); got != step.news {
			t.Errorf("step %d, %s: %v is news: %t", i, step.of, step.err, got)
		}
	}
}

func TestSealedValueIsBoundToItsPurpose(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	sealed, err := seal(nil, key, []byte("ss_secret"), signingPurpose("key_1"))
	if err != nil {
		t.Fatal(err)
	}
	if value, err := unseal(key, sealed, signingPurpose("key_1")); err != nil || string(value) != "ss_secret" {
		t.Errorf("unsealed %q, %v", value, err)
	}
	if value, err := unseal(key, sealed, signingPurpose("key_2")); err == nil {
		t.Errorf("the secret of one key serves another: %q", value)
	}
}

func TestSigningSecretOutlivesTheClusterSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := start(t, testConfig(t, dir)) // no cluster secret yet
	creds, _ := n.Credentials()
	key, _ := n.state.KeyByText(creds.ServerKey)
	if bytes.Contains(key.Signing, []byte(creds.SigningSecret)) || !strings.HasPrefix(creds.SigningSecret, "ss_") {
		t.Errorf("signing secret %q is stored as %q", creds.SigningSecret, key.Signing)
	}
	if secret, ok := n.SigningSecret(key.ID); !ok || string(secret) != creds.SigningSecret {
		t.Errorf("signing secret %q, %t, want %q", secret, ok, creds.SigningSecret)
	}
	console := n.ConsoleSecret()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	cfg := testConfig(t, dir)
	cfg.ClusterSecrets = []string{"a secret that came later"}
	n = start(t, cfg)
	before := n.state.Keyring()
	if err := n.resealKeyring(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(n.state.Keyring(), before) {
		t.Error("the keyring is still sealed without the secret")
	}
	if secret, ok := n.SigningSecret(key.ID); !ok || string(secret) != creds.SigningSecret ||
		!bytes.Equal(n.ConsoleSecret(), console) {
		t.Error("the secrets changed when the keyring was sealed anew")
	}
	if err := n.resealKeyring(t.Context()); err != nil {
		t.Fatal(err)
	}
	if records := n.Audit(0, 2); records[0].Action != "keyring.seal" || records[1].Action == "keyring.seal" {
		t.Errorf("the keyring was sealed more than once: %+v", records)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	n, err := Start(testConfig(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testDeadline)
	defer cancel()
	if err := n.Ready(ctx); !errors.Is(err, ErrKeyring) {
		t.Fatalf("started without the cluster secret: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	cfg = testConfig(t, dir)
	cfg.NewKeyring = true
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	n = start(t, cfg)
	for range 3 {
		if secret, ok := n.SigningSecret(key.ID); ok {
			t.Errorf("a new keyring opens %q", secret)
		}
	}
	call(t, n, http.MethodPost, "/realtime", "x-api-key", creds.ServerKey, map[string]any{"channel": "c", "message": 1},
		200)
	issued, _, err := n.RotateKey(t.Context(), n.selfActor(), key.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if secret, ok := n.SigningSecret(issued.ID); !ok || string(secret) != issued.SigningSecret {
		t.Errorf("signing secret of a key made since: %q, %t", secret, ok)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(log.String(), "cannot verify tokens of the key"); lines != 1 {
		t.Errorf("three tokens that cannot be verified left %d lines in the log:\n%s", lines, &log)
	}
}

func TestUsesOfKeysReachTheState(t *testing.T) {
	n := start(t, testConfig(t, filepath.Join(t.TempDir(), "data")))
	creds, _ := n.Credentials()
	key, _ := n.state.KeyByText(creds.ServerKey)
	n.KeyUsed(key.ID)
	n.KeyUsed("key_unknown")
	if _, ok := n.AdminToken(creds.AdminToken); !ok {
		t.Fatal("no admin token")
	}
	n.reportKeyUses(t.Context())
	key, _ = n.state.Key(key.ID)
	token, _ := n.state.AdminToken(fsm.FirstAdminToken)
	if key.LastUsedAt == 0 || key.LastUsedAt > n.state.Stamp() || token.LastUsedAt == 0 {
		t.Errorf("key last used at %d, admin token at %d, it is %d", key.LastUsedAt, token.LastUsedAt, n.state.Stamp())
	}
	if uses := n.keyUses.take(); len(uses) != 0 {
		t.Errorf("told the state, and still to tell: %v", uses)
	}
}
