package torture

import "time"

// agreeWithin is how long after the grace of the last member all nodes show the same.
const agreeWithin = 15 * time.Second

// memberEvents are the kinds that say something of members.
var memberEvents = []Kind{
	Enter, Update, Quit, Gone, Still, Here, Listed, Synced, Entered, Updated, Left, Counted, Unwatched, View,
	Viewed, Healed,
}

// agreeOnMembers has the members do nothing more. It waits until every node shows who they
// are, or for as long as that may take, and records what each shows. It returns how long that
// took.
func (s *site) agreeOnMembers(w *workload) time.Duration {
	close(w.still)
	standing := make(chan struct{})
	go func() {
		w.standing.Wait()
		close(standing)
	}()
	select {
	case <-standing:
	case <-time.After(patience):
		s.note("some members have not come to rest")
	}
	s.recorder.Add(Event{Kind: Still})
	still := time.Now()
	for {
		shown := s.views(w)
		took := time.Since(still)
		agreed := len(newLedger(append(s.recorder.Of(memberEvents), shown...)).everyNodeShowsTheMembers()) == 0
		if agreed || took > memberGrace+agreeWithin {
			for _, e := range shown {
				s.recorder.Add(e)
			}
			w.endMembers()
			return took
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// views returns what connected clients and every member of the cluster say of the rooms.
func (s *site) views(w *workload) (shown []Event) {
	for _, m := range w.users {
		for _, c := range m.all() {
			shown = append(shown, Event{
				Kind: Here, Began: c.alive.Load(), Session: c.session, Node: c.node, Channel: c.channel, ID: c.id,
			})
		}
	}
	for _, m := range w.clientUsers {
		shown = append(shown, Event{
			Kind: Here, Began: s.recorder.Now(), Session: m.id, Channel: m.channel, ID: m.id, Note: byClient,
		})
	}
	for _, i := range s.members() {
		for _, room := range rooms {
			e := Event{Kind: Viewed, Began: s.recorder.Now(), Node: s.cluster.Name(i), Channel: room}
			for m, err := range w.rest(s.door(i), w.serverKey).Members(s.t.Context(), room) {
				if err != nil {
					e.Code = err.Error()
					break
				}
				e.Head++
				shown = append(shown, Event{
					Kind: View, Node: e.Node, Channel: room, ID: m.ID, Tag: textOf(m.Data), Head: uint64(m.Connections),
				})
			}
			shown = append(shown, e)
		}
	}
	return shown
}

// endMembers ends users and watchers.
func (w *workload) endMembers() {
	w.leaveOnce.Do(func() {
		if !w.isStill() {
			close(w.still)
		}
		close(w.leave)
	})
	w.members.Wait()
}
