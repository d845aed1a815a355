package durable

import "testing"

func TestFreeBytes(t *testing.T) {
	if free, err := FreeBytes(t.TempDir()); err != nil || free == 0 {
		t.Errorf("%d bytes are free, %v", free, err)
	}
	if _, err := FreeBytes("/nowhere/at/all"); err == nil {
		t.Error("a folder that does not exist has space")
	}
}
