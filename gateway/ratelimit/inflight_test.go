package ratelimit

import "testing"

func TestInFlight(t *testing.T) {
	g := NewInFlight(4, 3, 1)
	var leaves []func()
	enter := func(key, address string, bound bool, want string) {
		t.Helper()
		leave, full := g.Enter(key, address, bound, 1)
		if full != want {
			t.Fatalf("full %q, want %q", full, want)
		}
		if leave != nil {
			leaves = append(leaves, leave)
		}
	}
	enter("public", "1.1.1.1", true, "")
	enter("other", "1.1.1.1", true, "from this address")
	enter("public", "1.1.1.2", true, "")
	enter("public", "1.1.1.3", true, "")
	enter("public", "1.1.1.4", true, "with this key")
	enter("backend", "1.1.1.1", false, "")
	enter("backend", "1.1.1.1", false, "on this node")
	for _, leave := range leaves {
		leave()
	}
	if g.all != 0 || len(g.of) != 0 {
		t.Errorf("left: %d, %v", g.all, g.of)
	}
}
