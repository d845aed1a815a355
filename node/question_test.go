package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/node/relay"
)

// wrongQuestions are such as no node asks. Some of them once ended the node.
var wrongQuestions = []string{
	``, `null`, `[]`, `{}`, `{"examine":false}`, `{"examine":true} {}`,
	`{"history":{"first":-8}}`,
	`{"history":{"first":-8,"last":-1}}`,
	`{"history":{"first":0,"last":9223372036854775807}}`,
	`{"history":{"first":9,"last":8}}`,
	`{"connections":{"limit":-1}}`,
	`{"connections":{"limit":1000000000}}`,
	`{"refusals":{"limit":-1}}`,
	`{"refusals":{"limit":1,"cursor":"x"}}`,
	`{"usage":{},"examine":true}`,
	`{"projectUsage":{"project":"p","since":-1}}`,
	`{"attention":{"epoch":18446744073709551615,"number":1}}`,
	`{"attention":{"epoch":1,"number":1,"add":[{"Project":"","Name":""}]}}`,
}

func TestQuestionsThatNobodyAsksAreRefused(t *testing.T) {
	n := start(t, testConfig(t, t.TempDir()))
	for _, question := range wrongQuestions {
		if answer, err := n.answerPeer(t.Context(), "peer", []byte(question)); err == nil {
			t.Errorf("%s is answered with %s", question, answer)
		}
	}
	for _, question := range []string{
		`{"connections":{"project":"","keyId":"","cursor":"","limit":1001}}`,
		`{"subscribers":{"project":"p"}}`, `{"keyConnections":{"project":"p"}}`,
		`{"history":{"first":0,"last":359}}`, `{"usage":{}}`,
		`{"projectUsage":{"project":"p","since":9223372036854775807}}`, `{"disconnect":{"id":"x"}}`,
		`{"refusals":{"limit":10}}`,
		`{"attention":{"epoch":1,"number":1,"complete":true}}`,
	} {
		if _, err := n.answerPeer(t.Context(), "peer", []byte(question)); err != nil {
			t.Errorf("%s: %v", question, err)
		}
	}
}

func TestAnswersThatNobodyGivesAreRefused(t *testing.T) {
	refused := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, errAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := decodeAnswer[counts]([]byte(`{"a":-1}`))
	refused("a negative count", err)
	_, err = decodeAnswer[usages]([]byte(`{"p":{"connections":-100,"publishRate":1}}`))
	refused("a negative usage, which would raise the quota of all others", err)
	_, err = decodeAnswer[usages]([]byte(`{"p":{"connections":0,"publishRate":-1}}`))
	refused("a negative rate", err)
	_, err = decodeAnswer[historyList]([]byte(`[{"step":1,"latency":{"-1":5}}]`))
	refused("a bucket that is none", err)
	_, err = decodeAnswer[historyList]([]byte(`[{"step":1},{"step":1}]`))
	refused("a step twice", err)
	_, err = decodeAnswer[relay.Answer](fmt.Appendf(nil, `{"epoch":%d}`, uint64(math.MaxUint64)))
	refused("the last epoch", err)
	_, err = decodeAnswer[connectionList]([]byte(`{}`))
	refused("an object for a list", err)
}

// stateOf is what an operator sees of the state.
func stateOf(n *Node) string {
	projects := n.state.Projects("", 100)
	var keys [][]fsm.Key
	for _, p := range projects {
		keys = append(keys, n.state.Keys(p.ID))
	}
	text, err := json.Marshal([]any{projects, keys, n.state.Settings(), n.state.Epoch(), n.state.Keyring()})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func FuzzPeerQuestion(f *testing.F) {
	for _, question := range wrongQuestions {
		f.Add([]byte(question))
	}
	for _, q := range []question{
		{Connections: &admin.ConnectionQuery{Limit: 10}},
		{Subscribers: &subscribersQuestion{"p"}},
		{KeyConnections: &keyConnectionsQuestion{"p"}},
		{History: &historyQuestion{5, 9}},
		{Usage: &usageQuestion{}},
		{ProjectUsage: &projectUsageQuestion{"p", 5}},
		{Disconnect: &disconnectQuestion{"x"}},
		{Replace: &gateway.Replacement{Connection: "x"}},
		{Refusals: &refusal.Query{Limit: 10}},
		{Interest: &relay.Change{Epoch: 1, Number: 1, Add: []fsm.ChannelKey{{Project: "p", Name: "c"}}}},
	} {
		raw, err := json.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	n := start(f, testConfig(f, f.TempDir()))
	before := stateOf(n)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if q, err := decodeQuestion(raw); err == nil && q.Check {
			return // it measures the disk
		}
		answer, err := n.answerPeer(t.Context(), "peer", raw)
		if err == nil && !json.Valid(answer) {
			t.Errorf("%q is answered with %q", raw, answer)
		}
		if now := stateOf(n); now != before {
			t.Errorf("%q makes of %s\n%s", raw, before, now)
		}
	})
}

// FuzzPeerAnswer: what a peer answers is refused or can be worked with.
func FuzzPeerAnswer(f *testing.F) {
	for _, seed := range []string{
		`null`, `[]`, `{}`, `true`, `{"a":-1}`, `[{"step":9223372036854775807}]`, `[{"step":7,"latency":{"3":5}}]`,
		`{"p":{"connections":1,"publishRate":1e300}}`, `{"taken":true,"epoch":18446744073709551615}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if list, err := decodeAnswer[historyList](raw); err == nil {
			sumHistory(5, 9, [][]historyRecord{list, list})
		}
		_, _ = decodeAnswer[connectionList](raw)
		_, _ = decodeAnswer[refusalList](raw)
		_, _ = decodeAnswer[counts](raw)
		_, _ = decodeAnswer[usages](raw)
		_, _ = decodeAnswer[findingList](raw)
		if a, err := decodeAnswer[relay.Answer](raw); err == nil && a.Epoch+1 < a.Epoch {
			t.Errorf("no epoch comes after %d", a.Epoch)
		}
		if got := statsOf(cluster.Member{Extra: raw}); got.Connections < 0 {
			t.Errorf("%+v", got)
		}
	})
}

// FuzzSubmittedBatch: commands from a peer end in a result or a refusal; the node goes on
// and its state changes only by what can be applied.
func FuzzSubmittedBatch(f *testing.F) {
	n := start(f, testConfig(f, f.TempDir()))
	credentials, _ := n.Credentials()
	key, ok := n.state.KeyByText(credentials.ServerKey)
	if !ok {
		f.Fatal("no key")
	}
	channel := fsm.ChannelKey{Project: key.Project, Name: "news"}
	f.Add([]byte("\x01\x01unreadable"), []byte{})
	f.Add(fsm.Publish{Channel: channel, Data: []byte(`{"n":1}`)}.Encode(), []byte{99, 99})
	f.Add(fsm.Publish{Channel: channel, Data: []byte(`{"n":`)}.Encode(), fsm.NoOp())
	f.Add(fsm.RevokeKey{ID: "x"}.Encode(), fsm.Note{Action: "a", Target: "b"}.Encode())
	last := fsm.Publish{Channel: channel, Data: []byte("1")}.Encode()
	f.Fuzz(func(t *testing.T, a, b []byte) {
		before := stateOf(n)
		results := make(chan cluster.Result, 3)
		n.cluster.Submit([][]byte{a, b, last}, func(_ int, r cluster.Result) { results <- r })
		refused := 0
		for range 3 {
			r := <-results
			switch {
			case errors.Is(r.Err, cluster.ErrInvalidCommand):
				refused++
			case r.Err != nil && !errors.Is(r.Err, cluster.ErrTooLarge):
				t.Errorf("%x, %x: %v", a, b, r.Err)
			}
		}
		if now := stateOf(n); refused == 2 && now != before {
			t.Errorf("%x, %x make of %s\n%s", a, b, before, now)
		}
		ctx, cancel := context.WithTimeout(t.Context(), testDeadline)
		defer cancel()
		if err := n.cluster.CatchUp(ctx); err != nil {
			t.Fatalf("after %x, %x: %v", a, b, err)
		}
	})
}
