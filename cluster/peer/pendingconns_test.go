package peer

import (
	"net"
	"testing"
	"time"
)

func TestTheOldestPendingConnMakesRoom(t *testing.T) {
	var l PendingConns
	var outside []net.Conn
	var inside []net.Conn
	enter := func() {
		in, out := net.Pipe()
		inside, outside = append(inside, in), append(outside, out)
		l.Enter(in)
	}
	closed := func(i int) bool {
		return inside[i].SetDeadline(time.Time{}) != nil
	}
	for range maxPendingConns {
		enter()
	}
	l.Leave(inside[0])
	enter()
	if closed(0) || closed(1) {
		t.Fatal("somebody was shown out although there was room")
	}
	enter()
	if closed(0) || !closed(1) || closed(2) {
		t.Error("not the oldest one was shown out")
	}
	l.Close()
	enter()
	for i := 2; i < len(inside); i++ {
		if !closed(i) {
			t.Errorf("number %d is open after all were closed", i)
		}
	}
	if closed(0) {
		t.Error("one that had left was closed")
	}
	for _, conn := range append(outside, inside[0]) {
		conn.Close()
	}
}
