package torture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// Kind says what an Event is.
type Kind string

// The kinds of events, and which fields they have besides At.
const (
	Publish   Kind = "publish"   // Began, Session, Seq, Node, Channel, Tag, ID, Key, Outcome, Code, Offset, Duplicate
	Subscribe Kind = "subscribe" // Session, Node, Channel, Offset (resumes after it), Head, Code (of a refusal)
	Deliver   Kind = "deliver"   // Session, Node, Channel, Tag, Offset, Stamp, Replay
	Gap       Kind = "gap"       // Session, Node, Channel, Offset, Head: first and last that will not come
	Reset     Kind = "reset"     // Session, Node, Channel: the client was told that its offset means nothing
	Fault     Kind = "fault"     // Note
	Broken    Kind = "broken"    // Node (empty for all), Note: a fault begins
	Mended    Kind = "mended"    // Node (empty for all), Note: it is over
	Slowed    Kind = "slowed"    // Began, Node, Note: the disk of who led was slow, and who leads at its end
	Opened    Kind = "opened"    // Began, Session, Node, Key, Outcome, Code: an authentication
	Created   Kind = "created"   // Began, Key
	Revoked   Kind = "revoked"   // Began, Key
	Died      Kind = "died"      // Node, Note: a node ended though nothing was done to it
	Healed    Kind = "healed"    // Note (the nodes there are): nothing is broken from here on
	Live      Kind = "live"      // Node: it serves again
	Read      Kind = "read"      // Node, Channel, Tag, Offset, Stamp: of the end
	Retained  Kind = "retained"  // Node, Channel, Offset (earliest), Head: what Read covers
	CaughtUp  Kind = "caught-up" // Session, Channel, Head: the session should have had all up to Head
	Killed    Kind = "killed"    // Node: its process is ended by SIGKILL

	// What members of channels do. Session is a connection, ID the member, Tag its data.
	Enter  Kind = "enter"  // Began, Session, Node, Channel, ID, Tag, Outcome, Code, Note (the session that it replaces)
	Update Kind = "update" // the same, without Note
	Quit   Kind = "leave"  // the same, without Tag
	Gone   Kind = "gone"   // Began (last sign of life), Session, Node, Channel, ID, Code ("closed": as one that leaves)
	Still  Kind = "still"  // all members have done what they do before the end
	Here   Kind = "here"   // Began (last sign of life), Session, Node, Channel, ID: a connection lives in the end

	// What watchers are told, and what nodes say in the end.
	Listed    Kind = "listed"    // Session, Node, Channel, ID, Tag: one member of a sync
	Synced    Kind = "synced"    // Session, Node, Channel, Head (the count): the sync is complete
	Entered   Kind = "entered"   // Session, Node, Channel, ID, Tag
	Updated   Kind = "updated"   // the same
	Left      Kind = "left"      // Session, Node, Channel, ID, Code (the reason)
	Counted   Kind = "counted"   // Session, Node, Channel, Head (the count): a difference is complete
	Unwatched Kind = "unwatched" // Session, Node: the watcher has lost its connection
	View      Kind = "view"      // Node, Channel, ID, Tag, Head (connections): one member of a list
	Viewed    Kind = "viewed"    // Began, Node, Channel, Head (the count), Code (why there is no list)
)

// Outcome is what became of an operation.
type Outcome string

// An operation that is neither known to have happened nor known not to have is
// Unknown.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Unknown Outcome = "unknown"
)

// Event is one line of a history. Times are nanoseconds since its beginning.
type Event struct {
	At        int64   `json:"at"`
	Began     int64   `json:"began,omitempty"`
	Kind      Kind    `json:"kind"`
	Session   string  `json:"session,omitempty"` // one connection; for package client and its reconnects, one client
	Seq       int     `json:"seq,omitempty"`     // order of sending within the session
	Node      string  `json:"node,omitempty"`
	Channel   string  `json:"channel,omitempty"`
	Tag       string  `json:"tag,omitempty"` // names the message
	ID        string  `json:"id,omitempty"`  // idempotency key
	Key       string  `json:"key,omitempty"` // id of the API key, where it is one that is revoked
	Outcome   Outcome `json:"outcome,omitempty"`
	Code      string  `json:"code,omitempty"`
	Offset    uint64  `json:"offset,omitempty"`
	Head      uint64  `json:"head,omitempty"`
	Stamp     int64   `json:"stamp,omitempty"` // Unix ms
	Duplicate bool    `json:"duplicate,omitempty"`
	Replay    bool    `json:"replay,omitempty"`
	Note      string  `json:"note,omitempty"`
}

// Recorder writes a history. It may be used by many goroutines.
type Recorder struct {
	began time.Time
	file  *os.File

	mu     sync.Mutex
	out    *bufio.Writer
	events []Event
	err    error
}

// NewRecorder begins a history in a new file.
func NewRecorder(path string) (*Recorder, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("begin history: %w", err)
	}
	return &Recorder{began: time.Now(), file: file, out: bufio.NewWriterSize(file, 1<<20)}, nil
}

// Now is the time in the history.
func (r *Recorder) Now() int64 { return int64(time.Since(r.began)) }

// Add stamps an event and writes it down.
func (r *Recorder) Add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = r.Now()
	r.events = append(r.events, e)
	line, err := json.Marshal(e)
	if err == nil {
		_, err = r.out.Write(append(line, '\n'))
	}
	r.err = errors.Join(r.err, err)
}

// Close ends the history and returns it.
func (r *Recorder) Close() ([]Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(r.err, r.out.Flush(), r.file.Close()); err != nil {
		return nil, fmt.Errorf("write history: %w", err)
	}
	return r.events, nil
}

// ReadHistory reads what a Recorder wrote.
func ReadHistory(r io.Reader) (history []Event, err error) {
	d := json.NewDecoder(bufio.NewReader(r))
	d.DisallowUnknownFields()
	for {
		var e Event
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return history, nil
		case err != nil:
			return nil, fmt.Errorf("read event %d of history: %w", len(history)+1, err)
		}
		history = append(history, e)
	}
}

// Of returns the events of some kinds so far.
func (r *Recorder) Of(kinds []Kind) (events []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if slices.Contains(kinds, e.Kind) {
			events = append(events, e)
		}
	}
	return events
}
