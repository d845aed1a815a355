package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// retention is what channels retain.
type retention struct {
	channels int
	messages uint64
	bytes    int64 // of payload
}

func (r retention) plus(s retention) retention {
	return retention{r.channels + s.channels, r.messages + s.messages, r.bytes + s.bytes}
}

const (
	// surveyInterval is the least time between two surveys of what channels retain.
	surveyInterval = 30 * time.Second
	// surveyPage is how many channels are looked at in a row, and surveyRest how many times as
	// long the survey then rests.
	surveyPage = 500
	surveyRest = 20
)

// survey has what the channels of each project retained when they were last looked at. The figures
// serve people and metrics only. No channel keeps a sum up to date for them.
type survey struct {
	mu       sync.Mutex
	projects map[string]retention
}

func (s *survey) last() map[string]retention {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.projects
}

// surveyRetained looks at all channels again and again until ctx ends. It takes a twentieth of a
// processor at most.
func (n *Node) surveyRetained(ctx context.Context) {
	for {
		found, err := n.lookAtRetained(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			n.log.Warn("what channels retain is not known", "err", err)
		default:
			n.survey.mu.Lock()
			n.survey.projects = found
			n.survey.mu.Unlock()
		}
		select {
		case <-time.After(surveyInterval):
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) lookAtRetained(ctx context.Context) (map[string]retention, error) {
	found := make(map[string]retention)
	for cursor := ""; ; {
		projects := n.state.Projects(cursor, surveyPage)
		for _, p := range projects {
			for after := ""; ; {
				began := time.Now()
				channels, err := n.state.Channels(p.ID, after, surveyPage)
				if errors.Is(err, fsm.ErrNotFound) {
					delete(found, p.ID) // it was deleted meanwhile
					break
				}
				if err != nil {
					return nil, err
				}
				sum := found[p.ID]
				for _, c := range channels {
					sum = sum.plus(retention{1, c.Head + 1 - c.Earliest, c.Bytes})
				}
				found[p.ID] = sum
				select {
				case <-time.After(surveyRest * time.Since(began)):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				if len(channels) < surveyPage {
					break
				}
				after = channels[len(channels)-1].Name
			}
		}
		if len(projects) < surveyPage {
			return found, nil
		}
		cursor = projects[len(projects)-1].ID
	}
}
