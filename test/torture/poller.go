package torture

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"time"
)

// poller follows all channels with one long poll after the other, each on any node.
type poller struct {
	*workload
	name   string
	random *rand.Rand
	cursor string
}

// pollAnswer is the answer to a long poll.
type pollAnswer struct {
	Cursor   string
	Channels []struct {
		Channel   string
		Offset    uint64
		Recovered bool
		Gap       *struct{ From, To uint64 }
		Messages  []frame
	}
}

func (p *poller) run() {
	for {
		to := p.pick(p.random)
		if p.random.IntN(40) == 0 {
			p.cursor = ""
		}
		l := &listening{
			workload: p.workload, session: p.tag(p.name), node: to.name,
			last: offsetsOf(p.cursor), from: offsetsOf(p.cursor),
		}
		answered := p.poll(l, to.address)
		if end := p.finish.Load(); end != nil &&
			(answered && reached(l.last, end.heads) || time.Now().After(end.deadline)) {
			p.caughtUp(l.session, l.node, end.heads)
			return
		}
		if !answered {
			time.Sleep(time.Duration(20+p.random.IntN(300)) * time.Millisecond)
		}
	}
}

// poll asks once, and reports whether it was answered.
func (p *poller) poll(l *listening, address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	target := "http://" + address + "/realtime/poll?wait=1&from=all&" + channelQuery() + "&cursor=" + p.cursor
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return false
	}
	request.Header.Set("X-Api-Key", p.serverKey)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var answer pollAnswer
	if response.StatusCode != http.StatusOK || json.NewDecoder(response.Body).Decode(&answer) != nil {
		return false
	}
	for _, c := range answer.Channels {
		l.take(frame{Type: "subscribed", Channel: c.Channel, Offset: c.Offset, Recovered: c.Recovered})
		if c.Gap != nil {
			l.take(frame{Type: "gap", Channel: c.Channel, From: c.Gap.From, To: c.Gap.To})
		}
		for _, m := range c.Messages {
			m.Type, m.Channel, m.Replay = "message", c.Channel, m.Offset <= c.Offset
			l.take(m)
		}
	}
	p.cursor = answer.Cursor
	l.checkCursor(p.cursor)
	return true
}
