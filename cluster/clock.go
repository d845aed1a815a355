package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/internal/boottime"
)

const (
	// maxClockSkew bounds the distance between clocks that agree. Messages
	// and keys expire by time, and stamps never go back: a leader a day ahead would expire
	// everything for good.
	maxClockSkew = 5 * time.Second
	// agreementTimeout bounds a new leader's wait for the others' clocks, if the
	// last stamp is far from what its own one says.
	agreementTimeout = time.Second
)

// clusterClock gives a leader the time for its stamps. A majority of the voters' clocks sets
// it; until they agree again it goes on by the time since the machine started,
// which cannot be set. One voter alone is a majority, so its clock is asked only
// when it begins to lead; if it is set later by more than maxClockSkew, it is
// followed from the next start on.
type clusterClock struct{ set atomic.Pointer[clockSetting] }

type clockSetting struct {
	wall int64         // Unix ms
	at   time.Duration // boot time
}

// millis returns the cluster's time in Unix ms.
func (c *clusterClock) millis() int64 { return c.at(boottime.SinceStart()) }

// at returns 0 before the clock is set.
func (c *clusterClock) at(boot time.Duration) int64 {
	s := c.set.Load()
	if s == nil {
		return 0
	}
	return s.wall + (boot - s.at).Milliseconds()
}

// seedFromStamp begins from the last stamp. A cluster without one takes the first
// leader's clock.
func (c *clusterClock) seedFromStamp(boot time.Duration, own, stamp int64, voters int) {
	switch {
	case stamp == 0 || voters == 1 && c.set.Load() == nil:
		c.set.Store(&clockSetting{own, boot})
	case voters > 1:
		c.set.Store(&clockSetting{stamp, boot})
	}
}

// look follows the voters' clocks, if enough of them agree. It returns how far this
// node's own one is ahead of the cluster's time afterwards, and whether a majority
// says that it is wrong.
func (c *clusterClock) look(boot time.Duration, own int64, voters int, others []int64) (ahead time.Duration,
	wrong bool,
) {
	settled := c.at(boot)
	switch offset, agreed := majorityClock(voters, others); {
	case !agreed:
	case voters == 1 && (time.Duration(own-settled)*time.Millisecond).Abs() > maxClockSkew:
	default:
		settled, wrong = own+offset, offset != 0
		c.set.Store(&clockSetting{settled, boot})
	}
	return time.Duration(own-settled) * time.Millisecond, wrong
}

// majorityClock returns the offset from a voter's own clock to the one
// that more than half of all voters agree on: 0 if its own is among those. others
// are how many ms the clocks of other voters that can be asked are ahead of it.
func majorityClock(voters int, others []int64) (offset int64, agreed bool) {
	clocks := append([]int64{0}, others...)
	slices.Sort(clocks)
	majority := voters/2 + 1
	for i := 0; i+majority <= len(clocks); i++ {
		first, last := clocks[i], clocks[i+majority-1]
		switch {
		case last-first > maxClockSkew.Milliseconds():
		case first <= 0 && last >= 0:
			return 0, true
		default:
			offset, agreed = clocks[i+majority/2], true
		}
	}
	return offset, agreed
}

// setClock sets the clock when this node has begun to lead. After a
// time without a leader the last stamp is old. So that nothing is stamped with it the
// others' clocks are asked: a majority is there, or else no node would lead.
func (c *Cluster) setClock(ctx context.Context) {
	others := c.otherVoters()
	c.clock.seedFromStamp(boottime.SinceStart(), wallMillis(), c.proposer.machine.Stamp(), len(others)+1)
	if ahead, _ := c.lookAtClocks(); ahead.Abs() <= maxClockSkew {
		return
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, agreementTimeout)
	defer cancel()
	asked := make(chan struct{}, len(others))
	for _, node := range others {
		asking.Go(func() {
			if what, err := request[report](ctx, c.pool, node, peer.MethodReport, struct{}{}); err == nil {
				c.health.note(node, what, time.Now())
			}
			asked <- struct{}{}
		})
	}
	for range others {
		<-asked
		if ahead, wrong := c.lookAtClocks(); ahead.Abs() <= maxClockSkew || wrong {
			return
		}
	}
}

// trustClock follows the voters' clocks. It hands leadership over when a majority
// says that this node's is wrong.
func (c *Cluster) trustClock(ctx context.Context) error {
	ahead, wrong := c.lookAtClocks()
	alone := ahead.Abs() > maxClockSkew && !wrong
	if alone && !c.clockAlone {
		c.log.Warn("the cluster's time does not follow this node's clock: no majority agrees with it", "ahead",
			ahead.Round(time.Millisecond))
	}
	c.clockAlone = alone
	if !wrong {
		return nil
	}
	err := fmt.Errorf("its clock is %s ahead of what most voters agree on", ahead.Round(time.Millisecond))
	if transfer := c.TransferLeadership(ctx); transfer != nil {
		return fmt.Errorf("%w, and leadership could not be handed over: %w", err, transfer)
	}
	return err
}

// lookAtClocks has the cluster's clock look at those of the voters that were heard
// of lately.
func (c *Cluster) lookAtClocks() (ahead time.Duration, wrong bool) {
	now := time.Now()
	boot, own := boottime.SinceStart(), wallMillis()
	voters := c.otherVoters()
	return c.clock.look(boot, own, len(voters)+1, otherClocks(c.health.view(now), voters, own))
}

// otherClocks returns how many ms the clocks of nodes are ahead of own.
func otherClocks(heard map[string]leaderHeard, nodes []string, own int64) (ahead []int64) {
	for _, node := range nodes {
		h, ok := heard[node]
		if ok && !h.Silent && time.Duration(h.Age)*time.Millisecond <= reachableFor {
			ahead = append(ahead, h.Clock+h.Age-own)
		}
	}
	return ahead
}

// otherVoters lists those besides this node.
func (c *Cluster) otherVoters() (voters []string) {
	for _, s := range c.others() {
		if s.Suffrage == raft.Voter {
			voters = append(voters, string(s.ID))
		}
	}
	return voters
}

// stampSlew divides the pace of real time for stamps that are
// ahead of the cluster's time.
const stampSlew = 2

// stamper gives a leader's entries their stamps, which never go back. When the
// cluster's time falls behind the last stamp, because most clocks were ahead and were
// corrected, stamps do not wait for it: what ends by stamp, such as a rotated key,
// would live on for as long as the clocks were ahead. They go on more slowly than
// real time instead, until the cluster's time has caught up.
type stamper struct {
	wall func() int64         // the cluster's time, Unix ms
	boot func() time.Duration // time that cannot be set
	// stamps reach at least base at since, and go on from there.
	base  int64
	since time.Duration
}

// begin takes over from the last stamp.
func (s *stamper) begin(last int64) { s.base, s.since = last, s.boot() }

// next returns the stamp of an entry that is made now.
func (s *stamper) next() int64 {
	boot, wall := s.boot(), s.wall()
	slewed := s.base + (boot-s.since).Milliseconds()/stampSlew
	if wall < slewed {
		return slewed
	}
	s.base, s.since = wall, boot
	return wall
}
