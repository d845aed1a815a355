package auth

import (
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
)

func TestKeyText(t *testing.T) {
	seen := make(map[string]bool)
	for range 200 {
		for kind, prefix := range map[fsm.KeyKind]string{fsm.PublicKey: "pk_", fsm.ServerKey: "sk_"} {
			text := NewKeyText(kind)
			if !strings.HasPrefix(text, prefix) || len(text) != 43 || CheckKeyText(text) != nil || seen[text] {
				t.Fatalf("made %q", text)
			}
			seen[text] = true
			for i := range text {
				other := byte('a')
				if text[i] == other {
					other = 'b'
				}
				if wrong := text[:i] + string(other) + text[i+1:]; CheckKeyText(wrong) == nil {
					t.Fatalf("%q is taken for %q", wrong, text)
				}
			}
		}
	}
	for _, text := range []string{"", "pk_", "xk_" + strings.Repeat("0", 40), "pk_" + strings.Repeat("0", 40), "pk_" +
		strings.Repeat("é", 20)} {
		if CheckKeyText(text) == nil {
			t.Errorf("%q is taken for a key", text)
		}
	}
}

func TestKeySum(t *testing.T) {
	for random, want := range map[string]string{
		"":          "000000",
		"123456789": "3jZRME", // CRC-32 0xCBF43926, the check value of the standard
	} {
		if sum := keySum([]byte(random)); string(sum[:]) != want {
			t.Errorf("sum of %q is %s, want %s", random, sum[:], want)
		}
	}
}

const (
	importedPublic = "pk_7hYtR2mQx9LwZ4bNcK8vJ1sDfG5pA3eU6iOqWzXr"
	importedServer = "sk_7hYtR2mQx9LwZ4bNcK8vJ1sDfG5pA3eU6iOqWzXr"
)

func TestImportKeyText(t *testing.T) {
	own := NewKeyText(fsm.ServerKey)
	for text, want := range map[string]struct {
		kind     fsm.KeyKind
		imported bool
		taken    bool
	}{
		importedPublic:                     {fsm.PublicKey, true, true},
		importedServer:                     {fsm.ServerKey, true, true},
		own:                                {fsm.ServerKey, false, true},
		"pk_" + own[3:]:                    {fsm.ServerKey, false, false},
		importedPublic[:42]:                {fsm.PublicKey, false, false},
		importedPublic + "a":               {fsm.PublicKey, false, false},
		importedPublic[:42] + "!":          {fsm.PublicKey, false, false},
		"sk_" + strings.Repeat("ab01", 10): {fsm.ServerKey, false, false},
		"":                                 {fsm.ServerKey, false, false},
	} {
		imported, err := ImportKeyText(want.kind, text)
		if imported != want.imported || (err == nil) != want.taken {
			t.Errorf("%s key %q: %v, %v", want.kind, text, imported, err)
		}
	}
}

// A key of the hosted service authenticates once it was imported, on a node that has
// not heard of it yet, too. Typing errors are told apart without asking anybody, as
// long as every key has a checksum.
