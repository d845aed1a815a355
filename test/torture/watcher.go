package torture

import (
	"encoding/json"
	"time"
)

// watcher has one node tell it the members of all rooms, over one WebSocket after the other.
type watcher struct {
	*workload
	to door
}

func (w *watcher) run() {
	for {
		if socket, err := dial(w.to.address, w.serverKey); err == nil {
			session := w.tag("watcher-" + w.to.name)
			w.watch(socket, session)
			socket.close()
			w.recorder.Add(Event{Kind: Unwatched, Session: session, Node: w.to.name})
		}
		select {
		case <-w.leave:
			return
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// watch records what the node tells until the connection or the workload ends.
func (w *watcher) watch(socket *socket, session string) {
	for _, room := range rooms {
		if socket.send(map[string]any{"type": "subscribe", "channel": room, "presence": "members"}) != nil {
			return
		}
	}
	for heard := time.Now(); ; {
		select {
		case <-w.leave:
			return
		default:
		}
		f, err := socket.peek(200 * time.Millisecond)
		switch {
		case err == nil:
			heard = time.Now()
			if f.Type == "error" {
				return
			}
			w.take(f, Event{Session: session, Node: w.to.name, Channel: f.Channel})
		case !isTimeout(err) || time.Since(heard) > silence:
			return
		}
	}
}

func (w *watcher) take(f frame, e Event) {
	if f.Type != "presence" {
		return
	}
	add := func(kind Kind, id, tag, code string) {
		e.Kind, e.ID, e.Tag, e.Code = kind, id, tag, code
		w.recorder.Add(e)
	}
	if f.Sync != nil {
		var list []shownMember
		if err := json.Unmarshal(f.Members, &list); err != nil {
			add(Synced, "", "", err.Error())
			return
		}
		for _, m := range list {
			add(Listed, m.ID, m.Data, "")
		}
		if f.Sync.Last {
			e.Head = f.Count
			add(Synced, "", "", "")
		}
		return
	}
	for _, m := range f.Entered {
		add(Entered, m.ID, m.Data, "")
	}
	for _, m := range f.Updated {
		add(Updated, m.ID, m.Data, "")
	}
	for _, m := range f.Left {
		add(Left, m.ID, "", m.Reason)
	}
	e.Head = f.Count
	add(Counted, "", "", "")
}
