package sse

import (
	"slices"
	"strings"
	"testing"
)

func listCursor(epoch string, names []string, offsets []uint64) string {
	dst := AppendListCursor(nil, epoch, ListOf(names))
	for i, offset := range offsets {
		dst = AppendOffset(dst, i, offset)
	}
	return string(dst)
}

func TestCursor(t *testing.T) {
	const epoch = "0b1d.e"
	one := string(AppendCursor(nil, epoch, 17))
	two := listCursor(epoch, []string{"a", "b"}, []uint64{3, 0})
	for _, c := range []struct {
		text, epoch, names string
		want               []uint64
	}{
		{one, epoch, "c", []uint64{17}},
		{two, epoch, "a b", []uint64{3, 0}},
		{one, "other", "c", nil},
		{one, epoch, "a b", nil},
		{two, epoch, "c", nil},
		{two, epoch, "a c", nil},
		{two, epoch, "ab ", nil}, // the same bytes otherwise divided
		{two, "other", "a b", nil},
		{two + ",1", epoch, "a b", nil},
		{strings.TrimSuffix(two, ",0"), epoch, "a b", nil},
		{"", epoch, "c", nil},
		{epoch + ".", epoch, "c", nil},
		{epoch + ".+1", epoch, "c", nil},
		{epoch + ".01", epoch, "c", nil},
		{epoch + ".9007199254740992", epoch, "c", nil},
		{epoch + ".9007199254740991", epoch, "c", []uint64{9007199254740991}},
	} {
		got, ok := ParseCursor(c.text, c.epoch, strings.Split(c.names, " "))
		if !slices.Equal(got, c.want) || ok != (c.want != nil) {
			t.Errorf("%s for %q in %s: %v %v, want %v", c.text, c.names, c.epoch, got, ok, c.want)
		}
	}
}

// A text that is taken as a cursor is one that is made of what it means.
func FuzzCursor(f *testing.F) {
	f.Add(string(AppendCursor(nil, "e", 17)), "a")
	f.Add(listCursor("e", []string{"a", "b"}, []uint64{3, 0}), "a b")
	f.Fuzz(func(t *testing.T, text, list string) {
		names := strings.Split(list, " ")
		offsets, ok := ParseCursor(text, "e", names)
		if !ok {
			return
		}
		back := listCursor("e", names, offsets)
		if len(names) == 1 {
			back = string(AppendCursor(nil, "e", offsets[0]))
		}
		if back != text {
			t.Errorf("%q means %v, which is written as %q", text, offsets, back)
		}
	})
}

func TestLineEndsBecomeSpaces(t *testing.T) {
	for text, want := range map[string]string{`{"a":1}`: `{"a":1}`, "{\r\n\"a\":\r1\n}": `{  "a": 1 }`, "": ""} {
		if got := AppendLine([]byte("data: \n"), []byte(text)); string(got) != "data: \n"+want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
