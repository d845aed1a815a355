package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/gateway"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/quota"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/node/relay"
)

// question holds a question of one node to another. Exactly one field is set.
type question struct {
	Connections    *admin.ConnectionQuery  `json:"connections,omitempty"`
	Subscribers    *subscribersQuestion    `json:"subscribers,omitempty"`
	KeyConnections *keyConnectionsQuestion `json:"keyConnections,omitempty"`
	History        *historyQuestion        `json:"history,omitempty"`
	Interest       *relay.Change           `json:"attention,omitempty"`
	Usage          *usageQuestion          `json:"usage,omitempty"`
	ProjectUsage   *projectUsageQuestion   `json:"projectUsage,omitempty"`
	Disconnect     *disconnectQuestion     `json:"disconnect,omitempty"`
	Refusals       *refusal.Query          `json:"refusals,omitempty"`
	Replace        *gateway.Replacement    `json:"replace,omitempty"`
	Check          bool                    `json:"examine,omitempty"`
}

const (
	// maxPeerList bounds the lists that nodes ask each other for. It is above every page
	// of the admin API.
	maxPeerList = 10_000
	// maxPeerText bounds an id, a name or a cursor in a question.
	maxPeerText = 1024
)

// errQuestion says that a peer asked what no node of this version asks.
var errQuestion = errors.New("a peer asks what no node of this version would")

// decodeQuestion reads a question and checks it as strictly as a client's request.
func decodeQuestion(raw []byte) (question, error) {
	var q question
	if err := json.Unmarshal(raw, &q); err != nil {
		return q, fmt.Errorf("%w: %w", errQuestion, err)
	}
	if err := q.check(); err != nil {
		return q, fmt.Errorf("%w: %w", errQuestion, err)
	}
	return q, nil
}

func (q question) check() error {
	asked := 0
	for _, is := range []bool{
		q.Connections != nil, q.Subscribers != nil, q.KeyConnections != nil, q.History != nil, q.Interest != nil,
		q.Usage != nil, q.ProjectUsage != nil, q.Disconnect != nil, q.Refusals != nil, q.Replace != nil, q.Check,
	} {
		if is {
			asked++
		}
	}
	if asked != 1 {
		return fmt.Errorf("%d questions at once", asked)
	}
	switch {
	case q.Connections != nil:
		c := q.Connections
		return errors.Join(checkLimit(c.Limit), checkTexts(c.Project, c.KeyID, c.Cursor))
	case q.Subscribers != nil:
		return checkTexts(q.Subscribers.Project)
	case q.KeyConnections != nil:
		return checkTexts(q.KeyConnections.Project)
	case q.History != nil:
		return q.History.check()
	case q.ProjectUsage != nil:
		if q.ProjectUsage.Since < 0 {
			return fmt.Errorf("minutes since %d", q.ProjectUsage.Since)
		}
		return checkTexts(q.ProjectUsage.Project)
	case q.Interest != nil:
		return q.Interest.Check()
	case q.Disconnect != nil:
		return checkTexts(q.Disconnect.ID)
	case q.Replace != nil:
		return checkTexts(q.Replace.Connection, q.Replace.Project, q.Replace.Principal)
	case q.Refusals != nil:
		r := q.Refusals
		return errors.Join(checkLimit(r.Limit), checkTexts(r.Project, r.KeyID, string(r.Code), r.Cursor))
	}
	return nil
}

func (q *historyQuestion) check() error {
	if q.First < 0 || q.Last < q.First || q.Last-q.First >= historySteps {
		return fmt.Errorf("steps from %d to %d", q.First, q.Last)
	}
	return nil
}

func checkLimit(limit int) error {
	if limit < 0 || limit > maxPeerList {
		return fmt.Errorf("limit %d", limit)
	}
	return nil
}

func checkTexts(texts ...string) error {
	for _, text := range texts {
		if len(text) > maxPeerText || !utf8.ValidString(text) {
			return fmt.Errorf("text of %d bytes", len(text))
		}
	}
	return nil
}

// errAnswer says that a peer answered what no node of this version answers.
var errAnswer = errors.New("a peer answers what no node of this version would")

// answer is the reply to a question.
type answer interface{ Check() error }

// decodeAnswer reads an answer and checks it.
func decodeAnswer[Answer answer](raw []byte) (a Answer, err error) {
	if err = json.Unmarshal(raw, &a); err == nil {
		err = a.Check()
	}
	if err != nil {
		var none Answer
		return none, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return a, nil
}

// connectionList answers question.Connections.
type connectionList []admin.ConnectionStatus

func (l connectionList) Check() error { return checkLimit(len(l)) }

// refusalList answers question.Refusals.
type refusalList []refusal.Record

func (l refusalList) Check() error { return checkLimit(len(l)) }

// counts answers question.Subscribers and question.KeyConnections.
type counts map[string]int

func (c counts) Check() error {
	for name, count := range c {
		if count < 0 || count > math.MaxInt32 || checkTexts(name) != nil {
			return fmt.Errorf("count %d", count)
		}
	}
	return nil
}

// historyList answers question.History.
type historyList []historyRecord

func (l historyList) Check() error {
	if len(l) > historySteps {
		return fmt.Errorf("%d steps", len(l))
	}
	seen := make(map[int64]bool, len(l))
	for _, r := range l {
		if r.Step < 0 || seen[r.Step] || r.Connections < 0 || r.Connections > math.MaxInt32 {
			return fmt.Errorf("step %d with %d connections", r.Step, r.Connections)
		}
		seen[r.Step] = true
		for bucket := range r.Latency {
			if bucket < 0 || bucket > len(latencyBuckets) {
				return fmt.Errorf("latency bucket %d", bucket)
			}
		}
	}
	return nil
}

// usages answers question.Usage.
type usages map[string]quota.Usage

func (u usages) Check() error {
	for _, used := range u {
		if used.Connections < 0 || used.Connections > math.MaxInt32 ||
			!(used.PublishRate >= 0 && used.PublishRate <= math.MaxUint32) {
			return fmt.Errorf("usage of %d connections and %v messages per second", used.Connections, used.PublishRate)
		}
	}
	return nil
}

// disconnected answers question.Disconnect.
type disconnected bool

func (disconnected) Check() error { return nil }

// replaced answers question.Replace.
type replaced int

func (r replaced) Check() error {
	if r < 0 || r > math.MaxInt32 {
		return fmt.Errorf("count %d", int(r))
	}
	return nil
}

// findingList answers question.Check.
type findingList []admin.Finding

func (l findingList) Check() error { return checkLimit(len(l)) }
