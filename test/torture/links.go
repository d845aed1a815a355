package torture

import "time"

// part loses what a node and all the others send to each other, in one direction or in
// both. Clients go on to reach it, unlike one whose link is cut.
func (s *site) part(step Step) func() {
	node := s.network.Hosts[step.Node]
	refuses := step.Fault == Isolate && step.Luck%2 == 0
	var undo []func()
	for i, other := range s.network.Hosts {
		if i == step.Node {
			continue
		}
		if refuses {
			node.Refuse(other)
			undo = append(undo, func() { node.Unrefuse(other) })
			continue
		}
		if step.Fault != Deaf {
			node.Mute(other)
			undo = append(undo, func() { node.Unmute(other) })
		}
		if step.Fault != Dumb {
			other.Mute(node)
			undo = append(undo, func() { other.Unmute(node) })
		}
	}
	return func() { runAll(undo) }
}

// flap takes the link of a node down and up again, by turns.
func (s *site) flap(step Step) func() {
	host := s.network.Hosts[step.Node]
	return alternate(host.Cut, host.Mend, turn(step.Luck, 100, 900), turn(step.Luck>>16, 100, 900))
}

// turn draws a time, in ms.
func turn(luck, least, most uint64) time.Duration {
	return time.Duration(least+luck%(most-least)) * time.Millisecond
}

// alternate begins something and ends it again, by turns, until stop, after which it has
// ended.
func alternate(begin, end func(), on, off time.Duration) (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			begin()
			stopped := rest(on, over)
			end()
			if stopped || rest(off, over) {
				return
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// rest waits, and reports whether it is over before that.
func rest(d time.Duration, over <-chan struct{}) bool {
	select {
	case <-time.After(d):
		return false
	case <-over:
		return true
	}
}
