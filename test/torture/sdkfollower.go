package torture

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// sdkFollower follows all channels and publishes with the JavaScript SDK of sdk/js, in a
// process of its own. It records what that process says. Times of the process are not
// needed: a publish begins before it is told to the process, and what it says is
// recorded a little later than it happened.
type sdkFollower struct {
	*workload
	name   string
	random *rand.Rand
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.Reader

	mu      sync.Mutex
	last    map[string]uint64 // by channel
	pending map[string]Event  // publishes without an outcome, by id
	gone    bool              // the process has ended
}

// sdkEvent is what the process says.
type sdkEvent struct {
	Kind      Kind    `json:"kind"`
	Channel   string  `json:"channel"`
	Data      string  `json:"data"`
	ID        string  `json:"id"`
	Outcome   Outcome `json:"outcome"`
	Code      string  `json:"code"`
	Offset    uint64  `json:"offset"`
	Head      uint64  `json:"head"`
	Stamp     int64   `json:"stamp"`
	Replay    bool    `json:"replay"`
	Duplicate bool    `json:"duplicate"`
}

// startSDKFollower starts the process, whose program is in folder.
func startSDKFollower(w *workload, folder, name string, random *rand.Rand) (*sdkFollower, error) {
	f := &sdkFollower{workload: w, name: name, random: random}
	f.last, f.pending = make(map[string]uint64), make(map[string]Event)
	var endpoints []string
	for _, d := range f.doors() {
		endpoints = append(endpoints, "ws://"+d.address)
	}
	random.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })
	urls, err := json.Marshal(endpoints)
	if err != nil {
		return nil, err
	}
	names, err := json.Marshal(channels)
	if err != nil {
		return nil, err
	}
	f.cmd = exec.Command("node", filepath.Join(folder, "test", "follower.mjs"))
	f.cmd.Env = append(os.Environ(), "KEY="+w.serverKey, "ENDPOINTS="+string(urls), "CHANNELS="+string(names))
	f.cmd.Stderr = os.Stderr
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if f.out, err = f.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	for _, channel := range channels {
		f.recorder.Add(Event{Kind: Subscribe, Session: name, Channel: channel})
	}
	if err := f.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return f, nil
}

// run records what the process says until the end is reached.
func (f *sdkFollower) run() {
	var reading sync.WaitGroup
	reading.Go(f.read)
	for {
		if end := f.finish.Load(); end != nil && (f.reached(end.heads) || time.Now().After(end.deadline)) {
			f.caughtUp(f.name, "", end.heads)
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = f.in.Close() // the process ends with its input
	reading.Wait()
	if err := f.cmd.Wait(); err != nil {
		f.recorder.Add(Event{Kind: Died, Node: f.name, Note: err.Error()})
	}
}

func (f *sdkFollower) reached(heads map[string]uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, channel := range channels {
		if f.last[channel] < heads[channel] {
			return false
		}
	}
	return true
}

func (f *sdkFollower) read() {
	lines := bufio.NewScanner(f.out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e sdkEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			f.recorder.Add(Event{Kind: Died, Node: f.name, Note: "it says " + lines.Text()})
			continue
		}
		f.take(e)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
}

func (f *sdkFollower) take(e sdkEvent) {
	switch e.Kind {
	case Deliver:
		f.recorder.Add(Event{
			Kind: Deliver, Session: f.name, Channel: e.Channel, Tag: tagOf([]byte(e.Data)),
			Offset: e.Offset, Stamp: e.Stamp, Replay: e.Replay,
		})
		f.moved(e.Channel, e.Offset)
	case Gap:
		f.recorder.Add(Event{Kind: Gap, Session: f.name, Channel: e.Channel, Offset: e.Offset, Head: e.Head})
		f.moved(e.Channel, e.Head)
	case Reset:
		f.recorder.Add(Event{Kind: Reset, Session: f.name, Channel: e.Channel})
	case Publish:
		f.mu.Lock()
		p, known := f.pending[e.ID]
		delete(f.pending, e.ID)
		f.mu.Unlock()
		if !known {
			f.recorder.Add(Event{Kind: Died, Node: f.name, Note: "two outcomes of " + e.ID})
			return
		}
		p.Outcome, p.Code, p.Offset, p.Stamp, p.Duplicate = e.Outcome, e.Code, e.Offset, e.Stamp, e.Duplicate
		f.settle(p)
	default:
		f.recorder.Add(Event{Kind: Died, Node: f.name, Note: e.Channel + " " + e.Code})
	}
}

func (f *sdkFollower) moved(channel string, offset uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last[channel] = max(f.last[channel], offset)
}

// publish has the process publish until the workload ends, and waits for the outcomes.
func (f *sdkFollower) publish() {
	for !f.stopped() {
		e := Event{
			Kind: Publish, Session: f.name, Channel: channels[f.random.IntN(len(channels))],
			Tag: f.tag(f.name), Began: f.recorder.Now(),
		}
		e.ID = e.Tag
		line, err := json.Marshal(map[string]any{"channel": e.Channel, "data": payload(e.Tag), "id": e.ID})
		if err != nil {
			panic(err) // text and JSON
		}
		f.mu.Lock()
		f.pending[e.ID] = e
		f.mu.Unlock()
		if _, err := f.in.Write(append(line, '\n')); err != nil {
			break
		}
		f.pause(time.Duration(20+f.random.IntN(120)) * time.Millisecond)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && f.waits(); {
		time.Sleep(10 * time.Millisecond)
	}
	f.mu.Lock()
	left := f.pending
	f.pending = make(map[string]Event)
	f.mu.Unlock()
	for _, e := range left {
		e.Outcome, e.Code = Unknown, "no outcome"
		f.settle(e)
	}
}

func (f *sdkFollower) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pending) > 0 && !f.gone
}
