package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/aptlyd/aptlyd/client"
)

// settling is how long an ended key may be dead only on most nodes, when the write
// that ended it was answered before all fresh nodes had applied it. Such a write
// takes settleAfter or more.
const (
	settleAfter = time.Second
	settling    = 10 * time.Second
)

// keyring works with keys on all nodes of a cluster and writes down what happened.
type keyring struct {
	c       spawned
	project string
	began   time.Time
	http    *http.Client

	mu      sync.Mutex
	history keyHistory
	strict  int // ends that were answered before settleAfter
	keys    []client.Key
}

func (k *keyring) now() int64 { return int64(time.Since(k.began)) }

func (k *keyring) node(r *rand.Rand) *client.Admin {
	a := admin(k.c, r.IntN(k.c.Len()))
	a.HTTP = k.http
	return a
}

// pick returns one of the newest keys.
func (k *keyring) pick(r *rand.Rand) client.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) == 0 {
		return client.Key{}
	}
	return k.keys[len(k.keys)-1-r.IntN(min(4, len(k.keys)))]
}

func (k *keyring) made(key client.Key, began, ended int64) {
	k.history.add(key.ID, keyMade, began, ended, done)
	k.keys = append(k.keys, key)
}

func (k *keyring) create(ctx context.Context, r *rand.Rand) {
	began := k.now()
	key, err := k.node(r).CreateKey(ctx, k.project, "server", "k")
	if err != nil {
		return // nobody knows its text
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.made(key, began, k.now())
}

// end rotates a key without overlap, or revokes it.
func (k *keyring) end(ctx context.Context, r *rand.Rand) {
	key := k.pick(r)
	if key.ID == "" {
		return
	}
	began := k.now()
	var next client.Key
	var err error
	if r.IntN(2) == 0 {
		next, err = k.node(r).RotateKey(ctx, key.ID, 0)
	} else {
		err = k.node(r).RevokeKey(ctx, key.ID)
	}
	ended := k.now()
	out := unknown
	var refusal *client.Error
	switch {
	case err == nil:
		out = done
	case errors.As(err, &refusal) && refusal.Code == client.CodeNotFound:
		out = refused
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if next.ID != "" {
		k.made(next, began, ended)
	}
	if time.Duration(ended-began) >= settleAfter {
		ended += int64(settling)
	} else if out == done {
		k.strict++
	}
	k.history.end(key.ID, began, ended, out)
}

func (k *keyring) use(ctx context.Context, r *rand.Rand) {
	key := k.pick(r)
	if key.ID == "" {
		return
	}
	rest := &client.REST{BaseURL: url(k.c, r.IntN(k.c.Len())), APIKey: key.Text, HTTP: k.http}
	began := k.now()
	_, err := rest.History(ctx, "c", 0, 1)
	ended := k.now()
	out := done
	var refusal *client.Error
	switch {
	case err == nil:
	case errors.As(err, &refusal) && refusal.Code == client.CodeInvalidKey:
		out = refused
	default:
		return // the node did not judge the key
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.history.add(key.ID, keyUsed, began, ended, out)
}

// Keys are made, rotated, revoked and used on all nodes while leaders are killed.
// What was seen must be explained by one order of events for each key, in which no
// key is accepted after it has ended.
func TestKeyOperationsAreLinearizable(t *testing.T) {
	// Nobody is slowed for using keys that have ended.
	c := startCluster(t, 3, "--failed-auth-burst", "1000000", "--failed-auth-rate", "1000000")
	k := &keyring{
		c: c, project: defaultProject(t, c).ID, began: time.Now(),
		http: &http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
	}
	length, every := 16*time.Second, 7*time.Second
	if long() {
		length = 5 * time.Minute
	}
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var workers sync.WaitGroup
	work := func(pause time.Duration, do func(context.Context, *rand.Rand)) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 0))
		workers.Go(func() {
			for ctx.Err() == nil {
				do(context.WithoutCancel(ctx), r)
				time.Sleep(time.Duration(r.Int64N(int64(2 * pause)))) // the pace of the load
			}
		})
	}
	work(200*time.Millisecond, k.create)
	work(200*time.Millisecond, k.end)
	work(200*time.Millisecond, k.end)
	for range 4 {
		work(20*time.Millisecond, k.use)
	}
	for {
		select {
		case <-ctx.Done():
			workers.Wait()
			k.judge(t)
			return
		case <-time.After(every):
		}
		victim := leader(t, c)
		if err := c.Kill(victim); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(within(t, deadline), victim); err != nil {
			t.Fatal(err)
		}
	}
}

func (k *keyring) judge(t *testing.T) {
	counts := make(map[string]int)
	for _, o := range k.history {
		counts[fmt.Sprint([]string{"made", "ending", "ended", "used"}[o.Input.(keyInput).op], " ",
			[]string{"done", "refused", "unknown"}[o.Output.(keyOutcome)])]++
	}
	t.Logf("%v, %d ended strictly", counts, k.strict)
	if counts["used done"] < 50 || counts["used refused"] < 50 || k.strict < 5 {
		t.Error("too little happened to be of worth")
	}
	if result := k.history.linearizable(); result != porcupine.Ok {
		t.Errorf("the history of keys is %s", result)
		for _, part := range keyModel.Partition(k.history) {
			if porcupine.CheckOperations(keyModel, part) {
				continue
			}
			for _, o := range part {
				t.Logf("%+v from %v to %v: %v", o.Input, time.Duration(o.Call), time.Duration(o.Return), o.Output)
			}
		}
	}
}
