package fsm

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"
)

func TestAccessOfPublicKeys(t *testing.T) {
	all, none := Access{}, Access{Subscribe: []string{}}
	some := Access{
		Subscribe: []string{"public:*", "lobby"},
		Publish:   []PublishGrant{{"cursor:a", 1, 2}, {"cursor:*", 3, 4}},
	}
	for _, c := range []struct {
		access    Access
		channel   string
		subscribe bool
		rate      float64
	}{
		{all, "x", true, 0},
		{none, "x", false, 0},
		{some, "public:1", true, 0},
		{some, "public:", true, 0},
		{some, "public", false, 0},
		{some, "lobby", true, 0},
		{some, "lobby2", false, 0},
		{some, "cursor:a", false, 1},
		{some, "cursor:b", false, 3},
		{some, "cursor", false, 0},
	} {
		grant, ok := c.access.PublishGrant(c.channel)
		if got := c.access.MaySubscribe(c.channel); got != c.subscribe || grant.Rate != c.rate || ok != (c.rate > 0) {
			t.Errorf("%q under %+v: subscribe %t, publish %+v", c.channel, c.access, got, grant)
		}
	}
}

func TestAccessAndQuotasAreKept(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir)
	m.createProject()
	access, quotas := Access{
		Subscribe: []string{}, Publish: []PublishGrant{{"a", 0.5, 1}}, Presence: []string{"p:*"}, Members: []string{"m"},
	}, Quotas{1, 2, 3.5, 4, 5}
	m.must(UpdateProject{ID: projectID, Access: &access, Quotas: &quotas}.Encode())
	for _, bad := range []UpdateProject{
		{Access: &Access{Publish: []PublishGrant{{"a", math.NaN(), 1}}}},
		{Access: &Access{Publish: []PublishGrant{{"a", math.Inf(1), 1}}}},
		{Access: &Access{Publish: []PublishGrant{{"a", 1, -1}}}},
		{Quotas: &Quotas{Connections: -1}},
		{Quotas: &Quotas{Channels: -1}},
		{Quotas: &Quotas{Subscriptions: -1}},
		{Quotas: &Quotas{Members: -1}},
		{Quotas: &Quotas{PublishRate: -1}},
		{Rules: &[]Rule{{Presence: Presence{MaxMembers: 1, Grace: -time.Second}}}},
		{Rules: &[]Rule{{Presence: Presence{MaxMembers: 1, DataBytes: MaxPresenceDataBytes + 1}}}},
		{Quotas: &Quotas{PublishRate: math.NaN()}},
	} {
		bad.ID = projectID
		m.refused(ErrInvalid, bad.Encode())
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	p, _ := openMachine(t, dir).Project(projectID)
	if p.Access.MaySubscribe("a") || len(p.Access.Publish) != 1 || p.Access.Publish[0] != access.Publish[0] ||
		!p.Access.MayEnter("p:1") || p.Access.MayEnter("m") || !p.Access.MaySeeMembers("m") || p.Quotas != quotas {
		t.Errorf("access %+v, quotas %+v", p.Access, p.Quotas)
	}
}

func TestQuotaOfChannels(t *testing.T) {
	dir := t.TempDir()
	m := openMachine(t, dir)
	m.createProject()
	try := func(m *machine, channel string) error {
		_, err := DecodeReceipt(m.entry(1, Publish{Channel: ChannelKey{projectID, channel}, Data: []byte("1")}.Encode())[0])
		return err
	}
	quota := func(m *machine, n int) {
		m.must(UpdateProject{ID: projectID, Quotas: &Quotas{Channels: n}}.Encode())
	}
	for i := range 5 {
		if err := try(m, fmt.Sprint("c", i)); err != nil {
			t.Fatal(err)
		}
	}
	m.flushed()
	m.evictAll()
	if err := try(m, "resident"); err != nil { // counted once, in memory and on its way to the disk
		t.Fatal(err)
	}
	quota(m, 7)
	if err := try(m, "seventh"); err != nil {
		t.Error(err)
	}
	if err := try(m, "eighth"); !errors.Is(err, ErrRateLimited) ||
		err.Error() != `quota of 7 channels is used up: too many` {
		t.Errorf("channel beyond the quota: %v", err)
	}
	if info := m.info(ChannelKey{projectID, "eighth"}); info.Head != 0 {
		t.Errorf("what was refused made a channel: %+v", info)
	}
	for _, old := range []string{"c0", "seventh"} {
		if err := try(m, old); err != nil {
			t.Errorf("channel within the quota: %v", err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openMachine(t, dir)
	if err := try(m, "eighth"); !errors.Is(err, ErrRateLimited) {
		t.Errorf("after opening again: %v", err)
	}
	quota(m, 8)
	if err := try(m, "eighth"); err != nil {
		t.Error(err)
	}
	quota(m, 1)
	if err := try(m, "ninth"); !errors.Is(err, ErrRateLimited) {
		t.Errorf("under a smaller quota: %v", err)
	}
	quota(m, 0)
	if err := try(m, "ninth"); err != nil {
		t.Error(err)
	}
}

func TestPurgedChannelGoesOn(t *testing.T) {
	for _, stored := range []bool{true, false} {
		dir := t.TempDir()
		o := &told{}
		m := openMachine(t, dir, o.observe, lazy)
		m.createProject()
		m.publish(1, news, "1", "2", "3")
		other := ChannelKey{projectID, "other"}
		m.publish(1, other, "1")
		if stored {
			m.flushed()
			m.evictAll()
		}
		m.refused(ErrNotFound, PurgeChannel{Channel: ChannelKey{projectID, "never"}}.Encode())
		m.refused(ErrNotFound, PurgeChannel{Channel: ChannelKey{"p9", "news"}}.Encode())
		m.refused(ErrInvalid, PurgeChannel{Channel: ChannelKey{projectID, ""}}.Encode())
		m.must(PurgeChannel{By: alice, Channel: news}.Encode())
		if got, want := m.info(news), (ChannelInfo{"news", 3, 4, 0}); got != want {
			t.Errorf("purged channel %+v, want %+v", got, want)
		}
		m.publish(1, news, "4")
		if got := m.read(news, 0); got != "4" {
			t.Errorf("read %s", got)
		}
		// Wider rules bring nothing back.
		m.must(UpdateProject{ID: projectID, Rules: &[]Rule{rule(100, 1<<40, 0)}}.Encode())
		if got := m.read(news, 0) + "," + m.read(other, 0); got != "4,1" {
			t.Errorf("read %s under another rule", got)
		}
		for range 3 {
			m.tick(sweepPause)
			m.flushed()
		}
		if n := m.chunks() + m.tails(); n != 2 {
			t.Errorf("%d chunks and tails are stored, want those of what is retained", n)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		m = openMachine(t, dir)
		if got := m.read(news, 0); got != "4" {
			t.Errorf("read %s after opening again", got)
		}
	}
}
