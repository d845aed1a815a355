package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// byClient marks what a member does by package client. Its connections are not known.
const byClient = "package client"

// clientMember is a user who is in a channel by package client, which comes back by itself and
// moves before its node stops.
type clientMember struct {
	*workload
	id       string
	channel  string
	random   *rand.Rand
	presence *client.Presence
	updates  int
}

func (m *clientMember) run() {
	defer m.standing.Done()
	c, err := client.New(client.Options{Endpoints: m.endpoints(m.random), APIKey: m.serverKey})
	if err != nil {
		panic(err) // the options are constants
	}
	m.members.Go(func() {
		<-m.leave
		c.Close()
	})
	m.presence = c.Presence(m.channel, client.PresenceOptions{ID: m.id})
	for m.do(Enter); !m.isStill(); m.linger(time.Duration(200+m.random.IntN(1500)) * time.Millisecond) {
		switch m.random.IntN(8) {
		case 0:
			m.do(Quit)
			m.linger(time.Duration(m.random.IntN(3000)) * time.Millisecond)
			m.do(Enter)
		case 1:
			m.do(Enter)
		default:
			m.do(Update)
		}
	}
	for end := time.Now().Add(patience); m.do(Enter) != OK && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
}

// do enters, updates or leaves, and records what came of it.
func (m *clientMember) do(kind Kind) Outcome {
	e := Event{
		Kind: kind, Session: m.id, Channel: m.channel, ID: m.id, Began: m.recorder.Now(), Outcome: OK, Note: byClient,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var err error
	if m.updates++; kind == Quit {
		err = m.presence.Leave(ctx)
	} else {
		e.Tag = fmt.Sprintf("%s.%d", m.id, m.updates)
		if kind == Enter {
			err = m.presence.Enter(ctx, e.Tag)
		} else {
			err = m.presence.Update(ctx, e.Tag)
		}
	}
	if err != nil { // even what was refused may be said again on the next connection
		e.Outcome, e.Code = Unknown, err.Error()
	}
	m.recorder.Add(e)
	return e.Outcome
}
