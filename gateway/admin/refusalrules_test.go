package admin

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func TestRefusalsAreGroupedByRule(t *testing.T) {
	var found []refusal.Record
	for i := range 100 {
		found = append(found, refusal.Record{
			At: int64(1000 - i), Code: refusal.Forbidden, Reason: "a public key may not publish here", Detail: fmt.Sprint(i),
			Address: fmt.Sprintf("10.0.0.%d", i%7), Origin: "https://a.example",
			Attempt: refusal.Attempt{Project: "p", KeyID: "k", Channel: fmt.Sprintf("chat:%d", i)},
		})
	}
	found = slices.Insert(found, 50,
		refusal.Record{At: 900, Code: refusal.InvalidKey, Reason: "invalid key", Address: "10.1.1.1"})
	rules := groupRefusals(found)
	if len(rules) != 2 {
		t.Fatalf("%d rules", len(rules))
	}
	most, least := rules[0], rules[1]
	if most.Count != 100 || most.Project != "p" || most.First != 901 || most.Latest.At != 1000 || most.Addresses != 7 {
		t.Errorf("the most frequent is %+v", most)
	}
	if len(most.Channels) != maxRefusalSamples || len(most.Origins) != 1 || !slices.Equal(most.Keys, []string{"k"}) {
		t.Errorf("it names %v, %v and %v", most.Channels, most.Origins, most.Keys)
	}
	if least.Count != 1 || least.First != 900 || least.Keys == nil || least.Addresses != 1 {
		t.Errorf("the least frequent is %+v", least)
	}
}
