package test

import (
	"syscall"
	"testing"
	"time"
)

func TestStoppedLeaderComesBackAsFollower(t *testing.T) {
	c := startCluster(t, 3)
	l := startLoad(t, c, 10, 150)
	f := follow(t, c, l.channels)
	l.await(200)
	lead := leader(t, c)
	l.watch()
	if err := c.Signal(lead, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	l.await(300)
	// Promised, so asserted: publishing resumes within three seconds.
	if pause := l.pause(); pause > 3*time.Second {
		t.Errorf("publishing resumed after %v", pause)
	}
	t.Logf("longest pause between acknowledgements: %v", l.pause())
	// Long enough for everything the woken node believes to be out of date.
	<-time.After(time.Until(stopped.Add(10 * time.Second)))
	if err := c.Signal(lead, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	l.await(300)
	l.end()
	l.check()
	f.check(l)
}
