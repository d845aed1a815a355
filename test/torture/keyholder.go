package torture

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// keyholder makes one key after the other, has it used on several nodes, revokes
// it, and goes on trying.
type keyholder struct {
	*workload
	random *rand.Rand
}

// keyTried is for how long a key is still tried after it was revoked.
const keyTried = revokedWithin + 6*time.Second

func (k *keyholder) run() {
	var users sync.WaitGroup
	defer users.Wait()
	for !k.stopped() {
		began := k.recorder.Now()
		key, err := k.admin(k.pick(k.random)).CreateKey(context.Background(), k.project, "server", "torture")
		if err != nil {
			k.pause(300 * time.Millisecond)
			continue
		}
		k.recorder.Add(Event{Kind: Created, Key: key.ID, Began: began})
		over := make(chan struct{})
		for range 3 {
			u := &keyuser{workload: k.workload, key: key, over: over, random: rand.New(rand.NewPCG(k.random.Uint64(), 0))}
			users.Go(u.run)
		}
		k.pause(time.Duration(1000+k.random.IntN(3000)) * time.Millisecond)
		revoked := make(chan struct{})
		for range 2 {
			h := &holder{workload: k.workload, key: key, revoked: revoked, random: rand.New(rand.NewPCG(k.random.Uint64(), 0))}
			users.Go(h.run)
		}
		k.pause(time.Duration(k.random.IntN(300)) * time.Millisecond)
		k.revoke(key)
		close(revoked)
		users.Go(func() {
			k.pause(keyTried)
			close(over)
		})
	}
}

func (k *keyholder) admin(d door) *client.Admin {
	return &client.Admin{BaseURL: "http://" + d.address, Token: k.adminToken, HTTP: k.http}
}

// revoke revokes a key, however often it takes, unless the clients are abandoned.
func (k *keyholder) revoke(key client.Key) {
	began := k.recorder.Now()
	for tries, end := 0, time.Now().Add(patience); time.Now().Before(end) && k.finish.Load() == nil; tries++ {
		err := k.admin(k.pick(k.random)).RevokeKey(context.Background(), key.ID)
		var refusal *client.Error
		if err == nil || errors.As(err, &refusal) && refusal.Code == client.CodeNotFound && tries > 0 {
			k.recorder.Add(Event{Kind: Revoked, Key: key.ID, Began: began})
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// keyuser uses a key over one connection after the other: it listens and
// publishes.
type keyuser struct {
	*workload
	key    client.Key
	over   <-chan struct{}
	random *rand.Rand
}

func (u *keyuser) run() {
	for {
		select {
		case <-u.over:
			return
		default:
		}
		to := u.pick(u.random)
		session := u.tag("keyuser")
		e := Event{Kind: Opened, Session: session, Node: to.name, Key: u.key.ID, Began: u.recorder.Now()}
		s, err := dial(to.address, u.key.Text)
		if err != nil {
			e.Outcome, e.Code = Failed, refusalCode(err)
			u.recorder.Add(e)
			u.wait(time.Duration(300+u.random.IntN(700)) * time.Millisecond)
			continue
		}
		e.Outcome = OK
		u.recorder.Add(e)
		u.use(s, session, to.name)
		s.close()
	}
}

func (u *keyuser) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-u.over:
	}
}

// use listens to a channel and publishes to it as long as the connection lasts.
func (u *keyuser) use(s *socket, session, node string) {
	channel := channels[0]
	if s.send(map[string]any{"type": "subscribe", "channel": channel, "from": "live"}) != nil {
		return
	}
	p := &publishing{
		publisher: &publisher{workload: u.workload, name: "keyuser", random: u.random},
		socket:    s, session: session, node: node, key: u.key.ID,
	}
	defer p.lost()
	l := &listening{workload: u.workload, session: session, node: node, last: make(map[string]uint64)}
	heard := time.Now()
	next := time.Now()
	for {
		select {
		case <-u.over:
			return
		default:
		}
		if time.Now().After(next) && p.waiting() < 4 {
			next = time.Now().Add(500 * time.Millisecond)
			if !p.send(Event{Kind: Publish, Channel: channel, Tag: u.tag("keyuser")}) {
				return
			}
		}
		f, err := s.peek(100 * time.Millisecond)
		switch {
		case err == nil:
			heard = time.Now()
			if !u.take(p, l, f) {
				return
			}
		case !isTimeout(err) || time.Since(heard) > silence:
			return
		}
	}
}

// take records a frame and reports whether the connection is of further use.
func (u *keyuser) take(p *publishing, l *listening, f frame) bool {
	switch f.Type {
	case "published":
		p.answered(f, OK)
	case "subscribed":
		// It asked for what is new, so it begins behind the head of that moment.
		l.recorder.Add(Event{
			Kind: Subscribe, Session: l.session, Node: l.node, Channel: f.Channel, Offset: f.Offset,
			Head: f.Offset,
		})
	case "error":
		switch {
		case f.Channel == "":
			return false
		case f.Code == "outcome_unknown" || f.Code == "internal":
			p.answered(f, Unknown)
		default:
			p.answered(f, Failed)
		}
	default:
		ok, _ := l.take(f)
		return ok
	}
	return true
}
