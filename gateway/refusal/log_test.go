package refusal

import (
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// However many refusals there are and whatever is in them, the last thousand are kept,
// in bounded memory.
func TestLogIsBounded(t *testing.T) {
	var log Log
	long := strings.Repeat("€", 1<<20)
	const total = 5 * MaxRecords / 2
	for range total {
		log.Add(Record{
			Code: Forbidden, Reason: long, Detail: long, Address: long, Origin: long,
			Attempt: Attempt{KeyID: long, KeyPrefix: long, Project: long, Channel: long, Action: "publish"},
		})
	}
	all, err := log.Find(Query{Limit: 10 * MaxRecords})
	if err != nil || len(all) != MaxRecords {
		t.Fatalf("%d are kept, %v", len(all), err)
	}
	for i, r := range all {
		if r.Seq != uint64(total-1-i) {
			t.Fatalf("number %d is refusal %d", i, r.Seq)
		}
		for _, text := range []string{r.Reason, r.Detail, r.Address, r.Origin, r.KeyID, r.KeyPrefix, r.Project, r.Channel} {
			if len(text) > maxText || unsafe.StringData(text) == unsafe.StringData(long) || !strings.HasSuffix(text, "€…") {
				t.Fatalf("%d bytes are kept: %q", len(text), text)
			}
		}
	}
}

// A flood of one kind leaves the others, however many kinds it is of.
func TestFloodDoesNotWashOthersOut(t *testing.T) {
	var log Log
	log.Add(Record{Code: OriginNotAllowed, Via: "ws", Attempt: Attempt{Project: "shop"}})
	const flood = 10 * MaxRecords
	for i := range flood {
		log.Add(Record{Code: []Code{InvalidKey, AuthRequired}[i%2], Via: "rest", Address: "192.0.2.1"})
	}
	own, err := log.Find(Query{Project: "shop", Limit: 10})
	if err != nil || len(own) != 1 || own[0].Seq != 0 {
		t.Errorf("%+v, %v", own, err)
	}
	all, _ := log.Find(Query{Limit: 10 * MaxRecords})
	if len(all) != MaxRecords || all[0].Seq != flood || all[MaxRecords-2].Seq != flood-MaxRecords+2 {
		t.Errorf("%d are kept, the newest is %d", len(all), all[0].Seq)
	}
	for i := range 3 * MaxRecords { // more kinds than there is room for
		log.Add(Record{Code: InvalidKey, Attempt: Attempt{Project: strconv.Itoa(i)}})
	}
	if all, _ = log.Find(Query{Limit: 10 * MaxRecords}); len(all) != MaxRecords || len(log.kinds) > MaxRecords {
		t.Errorf("%d of %d kinds are kept", len(all), len(log.kinds))
	}
}

func BenchmarkAdd(b *testing.B) {
	var log Log
	for i := 0; b.Loop(); i++ {
		log.Add(Record{Code: InvalidKey, Via: "rest", Attempt: Attempt{Project: strconv.Itoa(i % 20)}})
	}
}

// A text that reads as a cursor comes out as it went in.
func FuzzCursor(f *testing.F) {
	f.Add((&Record{At: 1_764_000_000_000, Seq: 17, Node: "n.1"}).Cursor())
	f.Add("1.2.")
	f.Add("-1.+2.n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseCursor(text)
		if err == nil && r.Cursor() != text {
			t.Errorf("%q reads as %q", text, r.Cursor())
		}
	})
}
